/**
 * A process that takes a batch's lease and collects until it is killed or fails; the message goes to stderr.
 * Arguments: Redis URL, namespace, batch id.
 */
import { Redis } from 'ioredis';
import { loadBatch } from '../../src/batch/batch.ts';
import { openCollector } from '../../src/batch/collector.ts';
import { AppError } from '../../src/errors.ts';
import { createNames } from '../../src/redis/names.ts';

const [url = '', namespace = '', batchId = ''] = process.argv.slice(2);
const redis = new Redis(url);
const names = createNames(namespace);
const leaseToken = `test ${process.pid} collector`;
await redis.set(names.lease(batchId), leaseToken);
const record = await loadBatch(redis, names, batchId);
if (!record) throw new Error(`no batch ${batchId}`);
try {
  const collector = await openCollector({
    redis,
    blocking: new Redis(url),
    names,
    batchId,
    files: record,
    lease: { token: leaseToken, epoch: 1 },
    commit: record.collected,
  });
  process.stdout.write('open\n');
  for (;;) if ((await collector.collectOnce(100)) > 0) process.stdout.write('collected\n');
} catch (error) {
  process.stderr.write(error instanceof AppError ? `${error.code}: ${error.message}\n` : String(error));
  process.exit(1);
}
