/**
 * The lease on a batch: one process produces and collects it. It names its holder (machine, process), so that a second
 * command can say who runs it, and so that a holder killed on this machine is replaced at once instead of after the
 * lease ran out. One that cannot be seen from here (another machine, another container) is watched: it lives when it
 * renews its lease. Fencing is the token: commit.lua refuses whoever lost the lease. Who took it last is remembered for
 * longer than it is held: a process that did not run while another took the batch and left it finds nobody there.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from '../redis/client.ts';
import { AppError } from '../errors.ts';
import { hostOf, isProcessGone, thisMachine } from '../process-gone.ts';
import type { Names } from '../redis/names.ts';

/** One hold on a batch. `epoch`: the how manieth it is, as far as Redis remembers. */
export type Hold = { token: string; epoch: number };

export type Lease = Hold & {
  /** Errors: `usage`, naming who has the batch, or had it last, when it was taken over. */
  assertOurs: () => Promise<void>;
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
 * Returns the epoch; 0 when somebody has it. One step, and the same when it is sent again because its first answer was
 * lost with the connection: then it finds our own token.
 */
const takeUnlessHeld = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
local epoch = tonumber(string.match(redis.call('GET', KEYS[2]) or '', '^%d+') or '0')
if holder then return epoch end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], (epoch + 1) .. ' ' .. ARGV[1], 'PX', ARGV[3])
return epoch + 1`;
/**
 * Also takes a lease that ran out in an outage and was taken by nobody since; an older epoch than ours is that of a Redis
 * which was restarted with older data.
 */
const extendUnlessTaken = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
local last = ARGV[4] .. ' ' .. ARGV[1]
local known = redis.call('GET', KEYS[2])
if known and known ~= last and tonumber(string.match(known, '^%d+') or '0') >= tonumber(ARGV[4]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], last, 'PX', ARGV[3])
return 1`;

/** No process sleeps for longer and goes on as if nothing were. */
const lastHolderKeptMs = 7 * 86_400_000;

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
  const both = [name, names.lastHolder(batchId)] as const;
  const token = `${thisMachine()} ${process.pid} ${randomBytes(8).toString('hex')}`;
  // Before Redis has it: another run in this process may see it there sooner than we hear that it is ours.
  heldHere.add(token);
  let epoch: number;
  try {
    while ((epoch = Number(await redis.eval(takeUnlessHeld, 2, ...both, token, leaseMs, lastHolderKeptMs))) === 0) {
      const holder = await redis.get(name);
      if (holder === null) continue;
      if (isDead(holder)) await redis.eval(deleteIfOurs, 1, name, holder);
      else if (isAliveHere(holder) || !(await runsOut(redis, name, holder, interrupted)))
        throw new AppError('usage', alreadyRunning(await asNamed(redis, names, batchId), holder, leaseMs));
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
    if ((await redis.eval(extendUnlessTaken, 2, ...both, token, leaseMs, lastHolderKeptMs, epoch)) === 1) return;
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
    epoch,
    lost,
    async assertOurs() {
      const [holder = null, last = null] = await redis.mget(...both);
      refuseOvertaken(batchId, { token, epoch }, { holder, last });
    },
    async release() {
      end();
      await redis.eval(deleteIfOurs, 1, name, token);
    },
  };
}

/**
 * `holder` and `last`: what the lease and the last holder's name say. Free and not taken since is ours. Errors: `usage`,
 * naming who has the batch, or had it last.
 */
export function refuseOvertaken(
  batchId: string,
  hold: Hold,
  { holder, last }: { holder: string | null; last: string | null },
): void {
  const by = holder === null ? takerSince(hold, last) : holder;
  if (by === null || by === hold.token) return;
  throw new AppError(
    'usage',
    `another process took ${batchId} over (${describeHolder(by)}); this one stops, nothing is lost; ` +
      'see it with: nightshift status',
  );
}

function takerSince({ epoch }: Hold, last: string | null): string | null {
  const [, lastEpoch, token] = /^(\d+) (.+)$/.exec(last ?? '') ?? [];
  return token !== undefined && Number(lastEpoch) >= epoch ? token : null;
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

function alreadyRunning(batch: string, holder: string, leaseMs: number): string {
  const cure = `the same command works once it has been silent for ${Math.ceil(leaseMs / 1000)} seconds`;
  return (
    `${batch} is already running (${describeHolder(holder)}); see it with: nightshift status; ` +
    `if that process is dead or hangs, ${cure}`
  );
}

/** By the name that a person gave it, where it has one by now. */
async function asNamed(redis: Redis, names: Names, batchId: string): Promise<string> {
  const name = await redis.hget(names.batch(batchId), 'name');
  return name ? `${name} (${batchId})` : batchId;
}

function describeHolder(holder: string): string {
  const [machine = '', pid] = holder.split(' ');
  return `process ${pid} on ${hostOf(machine)}`;
}
