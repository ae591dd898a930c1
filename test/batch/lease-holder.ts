/** A process that takes a batch's lease and holds it until it is killed. Arguments: Redis URL, namespace, batch id. */
import { Redis } from 'ioredis';
import { takeLease } from '../../src/batch/lease.ts';
import { createNames } from '../../src/redis/names.ts';

const [url = '', namespace = '', batchId = ''] = process.argv.slice(2);
const { token } = await takeLease(new Redis(url), createNames(namespace), batchId);
process.stdout.write(`${token}\n`);
