/**
 * ioredis' client of one server (or of a primary behind Sentinels), with one thing mended: ended between two attempts to
 * connect, ioredis forgets the next attempt and never says that it has ended, so that whoever waits for the end
 * (BullMQ's `close`, ours) waits for ever, and so do the commands that it still has.
 */
import { Redis, type RedisOptions } from 'ioredis';

export class SingleClient extends Redis {
  constructor(options: RedisOptions) {
    super(options as RedisOptions & { replyMapping?: 'legacy' });
  }

  override disconnect(reconnect = false): void {
    const isBetweenAttempts = this.status === 'reconnecting' && !reconnect;
    super.disconnect(reconnect);
    if (!isBetweenAttempts) return;
    // Without a connection there is no end of one: begin one, and end it.
    this.connect().catch(() => {});
    super.disconnect();
  }

  /** BullMQ makes its blocking connection so. `never`: what ioredis promises cannot be named outside of it. */
  override duplicate(override?: Partial<RedisOptions>): never {
    return new SingleClient({ ...this.options, ...override }) as never;
  }
}
