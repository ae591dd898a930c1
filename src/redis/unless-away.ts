import { setTimeout as sleep } from 'node:timers/promises';

/** A Redis that is away is not waited for. */
const patienceMs = 3000;

/** What was asked of Redis, or null when it refuses or gives no answer soon: on the way out, things end without it. */
export async function unlessAway<Reply>(asked: Promise<Reply>): Promise<Reply | null> {
  const tooLong = sleep(patienceMs, null, { ref: false });
  return Promise.race([asked, tooLong]).catch(() => null);
}
