/**
 * The lease on a batch: one process produces and collects it. It names its holder (machine, process), so that a second
 * command can say who runs it, and so that a holder killed on this machine is replaced at once instead of after the
 * lease ran out. One that cannot be seen from here (another machine, another container) is watched: it lives when it
 * renews its lease. Fencing is the token: commit.lua refuses whoever lost the lease.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from '../redis/client.ts';
import { AppError } from '../errors.ts';
import { hostOf, isProcessGone, thisMachine } from '../process-gone.ts';
import type { Names } from '../redis/names.ts';

export type Lease = {
  token: string;
  /** Resolves with nothing when the lease is lost; never rejects. */
  lost: Promise<void>;
  release: () => Promise<void>;
};

export type LeaseTiming = { leaseMs: number; renewEveryMs: number };
export type LeaseOptions = LeaseTiming & {
  /** Ends the wait for a lease that may run out. */
  interrupted: AbortSignal;
};

/** Compare-and-delete, the usual one for a lock with a token. */
const deleteIfOurs = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;
/**
 * Also takes a lease that ran out in an outage and was taken by nobody. One step, and the same when it is sent again: a
 * SET NX whose answer was lost with the connection would find our own token the second time.
 */
const extendUnlessTaken = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`;

/** How often a lease that may run out is looked at. */
const watchEveryMs = 200;

/** Tokens of this process. */
const heldHere = new Set<string>();

/**
 * Waits for a lease that nobody renews to run out. Errors: `usage` when another living process holds it; `interrupted`
 * when that came while it waited, and the holder keeps its lease.
 */
export async function takeLease(
  redis: Redis,
  names: Names,
  batchId: string,
  { leaseMs = 15_000, renewEveryMs = 3000, interrupted }: Partial<LeaseOptions> = {},
): Promise<Lease> {
  const name = names.lease(batchId);
  const token = `${thisMachine()} ${process.pid} ${randomBytes(8).toString('hex')}`;
  // Before Redis has it: another run in this process may see it there sooner than we hear that it is ours.
  heldHere.add(token);
  try {
    while ((await redis.set(name, token, 'PX', leaseMs, 'NX')) !== 'OK') {
      const holder = await redis.get(name);
      // Sent twice, because its first answer was lost with the connection.
      if (holder === token) break;
      if (holder === null) continue;
      if (isDead(holder)) await redis.eval(deleteIfOurs, 1, name, holder);
      else if (isAliveHere(holder) || !(await runsOut(redis, name, holder, interrupted)))
        throw new AppError('usage', alreadyRunning(batchId, holder));
    }
  } catch (error) {
    heldHere.delete(token);
    throw error;
  }

  let onLost: () => void = () => {};
  const lost = new Promise<void>((resolve) => (onLost = resolve));
  const timer = setInterval(() => {
    // A Redis that does not answer just now is asked again by the next tick.
    renew().catch(() => undefined);
  }, renewEveryMs);

  async function renew(): Promise<void> {
    if ((await redis.eval(extendUnlessTaken, 1, name, token, leaseMs)) === 1) return;
    // For good: what others did meanwhile is not undone by their leaving.
    end();
    onLost();
  }

  function end(): void {
    clearInterval(timer);
    heldHere.delete(token);
  }

  return {
    token,
    lost,
    async release() {
      end();
      await redis.eval(deleteIfOurs, 1, name, token);
    },
  };
}

/** Null when another process holds it that is not known to be dead. */
export async function takeLeaseUnlessHeld(redis: Redis, names: Names, batchId: string): Promise<Lease | null> {
  if (await isHeld(redis, names, batchId)) return null;
  return takeLease(redis, names, batchId).catch((error: unknown) => {
    if (error instanceof AppError && error.code === 'usage') return null;
    throw error;
  });
}

/** Does a living process, as far as can be told, produce and collect this batch? */
export async function isHeld(redis: Redis, names: Names, batchId: string): Promise<boolean> {
  const holder = await redis.get(names.lease(batchId));
  return holder !== null && !isDead(holder);
}

function isDead(holder: string): boolean {
  const [machine, pid] = holder.split(' ');
  return isProcessGone(machine, pid, heldHere.has(holder));
}

/** On this machine, where a process is seen to live: no need to watch. */
function isAliveHere(holder: string): boolean {
  return holder.startsWith(`${thisMachine()} `) && !isDead(holder);
}

/** Watches until the lease is gone (true), or longer than it was: a living holder has renewed it. */
async function runsOut(redis: Redis, name: string, holder: string, interrupted?: AbortSignal): Promise<boolean> {
  let leftMs = Infinity;
  for (;;) {
    const [current, nowLeftMs] = await Promise.all([redis.get(name), redis.pttl(name)]);
    if (current !== holder) return true;
    // -1: it never runs out.
    if (nowLeftMs === -1 || nowLeftMs > leftMs) return false;
    leftMs = nowLeftMs;
    await sleep(Math.min(watchEveryMs, Math.max(leftMs, 1)));
    if (interrupted?.aborted) throw new AppError('interrupted', 'interrupted');
  }
}

function alreadyRunning(batchId: string, holder: string): string {
  const [machine = '', pid] = holder.split(' ');
  return `${batchId} is already running (process ${pid} on ${hostOf(machine)}); see it with: nightshift status`;
}
