/**
 * The blows, struck for real: signals to processes, cut connections, a full file system, and what a provider's console
 * does to a key. Each returns when it is over, mended where the bench mends it.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlChange } from '../../src/simulator/changes.ts';
import type { Blow } from './blows.ts';
import type { Child } from './child.ts';
import type { Place, Provider } from './place.ts';

type Faults = Extract<ControlChange, { change: 'set_faults' }>['faults'];

/** Broken answers are not billed, so that a call billed and delivered whole is a good answer. */
const storms = {
  storm_429: [{ kind: 'refuse', reason: 'rate_limit', rate: 0.5 }],
  storm_5xx: [
    { kind: 'status', status: 500, rate: 0.15 },
    { kind: 'status', status: 503, rate: 0.15 },
    { kind: 'html_502', rate: 0.1 },
    { kind: 'reset', rate: 0.1 },
    { kind: 'cut_body', rate: 0.1 },
    { kind: 'garbage', rate: 0.1, billed: false },
    { kind: 'empty_200', rate: 0.1, billed: false },
  ],
  storm_hang: [{ kind: 'hang', rate: 0.3 }],
} satisfies Record<string, Faults>;

/** What the second of two runs has to say before the first is woken up. */
const takeOverMs = 1500;
/** A run that was taken over must notice and end. */
const noticeWithinMs = 30_000;

export async function strike(place: Place, { kind, lastsMs, draw }: Blow, say: (text: string) => void): Promise<void> {
  const worker = Math.floor(draw * place.workers.length);
  const { provider, key } = targetOf(place, draw);
  const control = (...changes: ControlChange[]) => provider.simulator.control(changes);
  switch (kind) {
    case 'kill_worker':
      await killWorker(place, worker);
      return;
    case 'kill_run':
      // The same command again is the person's part (round.ts).
      place.run().signal('SIGKILL');
      return;
    case 'kill_redis':
      await place.redis.crash(lastsMs);
      return;
    case 'stop_worker':
    case 'stop_worker_long':
      await stopFor(place.workers[worker] as Child, lastsMs);
      return;
    case 'stop_run':
      await stopFor(place.run(), lastsMs);
      return;
    case 'stop_run_long':
      await outstayLease(place, lastsMs, say);
      return;
    case 'cut_network':
    case 'drop_network':
      provider.gate?.set(kind === 'cut_network' ? 'reset' : 'drop');
      await sleep(lastsMs);
      provider.gate?.set('open');
      return;
    case 'storm_429':
    case 'storm_5xx':
    case 'storm_hang':
      control({ change: 'set_faults', faults: storms[kind] });
      await sleep(lastsMs);
      control({ change: 'set_faults', faults: [] });
      return;
    case 'revoke_key':
      control({ change: 'revoke_key', key });
      return;
    case 'exhaust_key':
      control({ change: 'set_key_budget', key, budgetUsd: 0 });
      return;
    case 'exhaust_org':
      control({ change: 'set_org_budget', org: provider.name, budgetUsd: 0 });
      return;
    case 'fill_disk':
      fillDisk(place);
      return;
    case 'step_clock':
      // Up to an hour, to either side.
      place.stepClock(Math.round((draw - 0.5) * 7_200_000));
      return;
    default:
      kind satisfies never;
  }
}

/** The provider and its key that a blow is for. */
export function targetOf(place: Place, draw: number): { provider: Provider; key: string } {
  const provider = place.providers[Math.floor(draw * place.providers.length)] as Provider;
  const { keys } = provider.simulator;
  return { provider, key: keys[Math.floor(draw * 97) % keys.length]?.name as string };
}

/** What a person does when the run has stopped: pays, makes new keys of the old ones, makes space. */
export function mendAll(place: Place): void {
  for (const { name, simulator } of place.providers) {
    simulator.control([
      { change: 'set_org_budget', org: name, budgetUsd: null },
      ...simulator.keys.flatMap(({ name: key }): ControlChange[] => [
        { change: 'restore_key', key },
        { change: 'set_key_budget', key, budgetUsd: null },
      ]),
    ]);
  }
  freeDisk(place);
}

async function killWorker(place: Place, index: number): Promise<void> {
  const worker = place.workers[index] as Child;
  worker.signal('SIGKILL');
  await worker.ended;
  // Two blows may have hit the same one.
  if (place.workers[index] === worker) place.replaceWorker(index);
}

async function stopFor(child: Child, ms: number): Promise<void> {
  child.signal('SIGSTOP');
  await sleep(ms);
  child.signal('SIGCONT');
}

async function outstayLease(place: Place, ms: number, say: (text: string) => void): Promise<void> {
  const first = place.run();
  first.signal('SIGSTOP');
  await sleep(ms);
  // Killed or replaced meanwhile by another blow: nothing to take over.
  if (first.isRunning() && place.run() === first) {
    place.startRun();
    await sleep(takeOverMs);
  }
  first.signal('SIGCONT');
  if (place.run() === first) return;
  const ended = await Promise.race([first.ended, sleep(noticeWithinMs, 'late', { ref: false })]);
  if (ended !== 'late') return;
  say('a run that was taken over did not end by itself');
  first.signal('SIGKILL');
}

const filler = (place: Place) => path.join(place.outDir, 'filler');

function fillDisk(place: Place): void {
  if (!place.ownsDisk) {
    // Without the right to mount: the run's own limit on the size of a file, for all files alike.
    execFileSync('prlimit', ['--pid', String(place.run().pid), '--fsize=1:1'], { stdio: 'ignore' });
    return;
  }
  const file = openSync(filler(place), 'a');
  const bytes = Buffer.alloc(64 * 1024);
  try {
    for (;;) writeSync(file, bytes);
  } catch {
    // Full: what it was for.
  } finally {
    closeSync(file);
  }
}

export function freeDisk(place: Place): void {
  rmSync(filler(place), { force: true });
}
