/** A process that uses the embedded Redis of the directory in its first argument until its input ends. */
import { createLog } from '../../src/log.ts';
import { openEmbeddedRedis } from '../../src/redis/embedded.ts';

const embedded = await openEmbeddedRedis({ dataDir: process.argv[2] ?? '', log: createLog('silent') });
process.stdout.write(`${JSON.stringify({ pid: embedded.pid, joined: embedded.joined })}\n`);
process.stdin.resume();
process.stdin.on('end', () => void embedded.close().then(() => process.stdout.write('closed\n')));
