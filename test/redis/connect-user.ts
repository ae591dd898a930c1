/** A process that opens the Redis of the URL in its first argument, prints the answer to PING, and ends. */
import { createLog } from '../../src/log.ts';
import { openRedis } from '../../src/redis/connect.ts';

await using handle = await openRedis({ url: process.argv[2] ?? '', dataDir: '/nonexistent', log: createLog('silent') });
process.stdout.write(`${await handle.client.ping()}\n`);
