/**
 * Settling: hands an answer's consequences to settle.lua, in micro-batches. What the fields do is written there.
 */
import type { Redis } from '../redis/client.ts';
import type { LedgerEntry } from '../ledger/entry.ts';
import { createBatcher } from '../redis/batcher.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';
import { lineRef } from './intent.ts';
import type { Key } from './keyring.ts';
import { distinct } from './limiter.ts';
import { windowShape } from './window.ts';

/** What an answer does to the key that gave it, or to all keys of its organisation. */
export type KeyAct =
  | { kind: 'ok' }
  | { kind: 'neutral' }
  /** `limit`: a limit on requests was hit, there is something to learn. */
  | { kind: 'cool'; reason: string; retryAfterMs: number | null; limit: Pick<Key, 'rpm' | 'provider'> | null }
  /** Too many calls at once: what is in flight now is the ceiling. Where that is nothing, the key cools. */
  | { kind: 'ceiling'; reason: string; retryAfterMs: number | null }
  | { kind: 'retire'; reason: string; backInMs: number | null; keyIds: string[] };

export type Call = {
  attemptId: string;
  keyId: string;
  bucketId: string;
  act: KeyAct;
  /** `release`: never sent, the slot is given back. `unknown`: its sender died. Absent: it was answered, or failed. */
  fate?: 'release' | 'unknown';
  /** Real usage; null keeps the estimate in the window. */
  tokens: number | null;
  costNanoUsd: number | null;
  /** Where that is null: there may be a cost all the same, so what was reserved for it is spent. */
  mayHaveCost?: boolean;
  /** Where it is null, and nothing is reserved for the call (any more): what is spent, unsure, with the line's end. */
  assumedNanoUsd?: number;
  /** It was sent, and no whole answer came: counted as possibly billed. */
  isUnanswered?: boolean;
  /** One of the line's attempts? */
  countsAsAttempt: boolean;
  ledger: LedgerEntry | null;
  /** Requests per window that a response header named. */
  toldRpm?: number | null;
  /** The line waits for a person's approval; kept so that whoever takes the line up asks instead of sending again. */
  hold?: string | null;
};

/** How a line ends: one line of the output or the error file, without the line break. */
export type LineEnd = {
  to: 'output' | 'error';
  text: string;
  /** Why it failed; counted in the manifest. */
  errorCode: string | null;
  inputTokens: number | null;
  outputTokens: number | null;
};

export type SettleRequest = { batchId: string; line: number; call: Call | null; end: LineEnd | null };

export type SettleReply = {
  /** False: this call had been settled before. */
  settled: boolean;
  /** True: this settle ended the line. False: it goes on, or had ended before. */
  ended: boolean;
  attemptsSpent: number;
  /** The key's new standing where this settle changed it. */
  standing: { now: string; untilMs: number | null } | null;
};

export type Settle = (request: SettleRequest) => Promise<SettleReply>;

/** Cool-downs without a word from the server: 1, 2, 4, … 30 s with jitter (providers.md §1, "Backoff asked for"). */
const coolBaseMs = 1000;
const coolMaxMs = 30_000;
const maxItemsPerCall = 64;

/** As settle.lua returns it, for each item. */
type Reply = [settled: number, ended: number, attemptsSpent: number, standing: string, until: string];

export function createSettle(options: { redis: Redis; names: Names; now?: () => number }): Settle {
  const { names } = options;
  const script = loadScript(options.redis, 'settle.lua', import.meta.url);
  return createBatcher(maxItemsPerCall, async (requests: SettleRequest[]) => {
    const keys = distinct<string>();
    const batches = distinct<string>();
    const buckets = distinct<string>();
    const texts: string[] = [];
    const text = (value: string) => texts.push(value) + 2;
    const items = requests.map(({ batchId, line, call, end }) => ({
      ref: lineRef(batchId, line),
      batch: batches.indexOf(batchId),
      line: String(line),
      ...(call && {
        attempt: call.attemptId,
        key: keys.indexOf(call.keyId),
        bucket: buckets.indexOf(call.bucketId),
        release: call.fate === 'release',
        unknown: call.fate === 'unknown',
        tokens: call.tokens ?? undefined,
        cost: call.costNanoUsd ?? undefined,
        unsure: call.mayHaveCost,
        assumed: call.assumedNanoUsd,
        unanswered: call.isUnanswered,
        count: call.countsAsAttempt,
        act: shapeAct(call.act, (keyId) => keys.indexOf(keyId)),
        told: call.toldRpm ?? undefined,
        hold: call.hold ?? undefined,
        ledger: call.ledger ? text(JSON.stringify(call.ledger)) : undefined,
      }),
      ...(end && {
        final: {
          to: end.to === 'output' ? 'o' : 'e',
          code: end.errorCode ?? undefined,
          input: end.inputTokens ?? undefined,
          output: end.outputTokens ?? undefined,
        },
        result: text(end.text),
      }),
    }));
    const shape = { batches: batches.values.length, keys: keys.values.length };
    const reply = await script(
      [
        names.inflight,
        names.spend,
        names.reaped,
        ...batches.values.flatMap((id) => [
          names.batch(id),
          names.done(id),
          names.attempts(id),
          names.results(id),
          names.held(id),
          names.ledger(id),
        ]),
        ...keys.values.map((id) => names.key(id)),
        ...buckets.values.map((id) => names.bucket(id)),
      ],
      [options.now ? String(options.now()) : '', JSON.stringify({ shape, items }), ...texts],
    );
    return (reply as Reply[]).map(([settled, ended, attemptsSpent, standing, until]) => ({
      settled: settled === 1,
      ended: ended === 1,
      attemptsSpent,
      standing: standing === '' ? null : { now: standing, untilMs: until === '0' ? null : Number(until) },
    }));
  });
}

function shapeAct(act: KeyAct, keyIndex: (keyId: string) => number) {
  switch (act.kind) {
    case 'ok':
    case 'neutral':
      return act;
    case 'ceiling':
    case 'cool':
      return {
        kind: act.kind,
        reason: act.reason,
        retryAfterMs: act.retryAfterMs ?? undefined,
        limit: act.kind === 'cool' && act.limit ? shapeLimit(act.limit) : undefined,
        baseMs: coolBaseMs,
        maxMs: coolMaxMs,
        jitter: Math.random(),
      };
    case 'retire':
      return {
        kind: act.kind,
        reason: act.reason,
        backInMs: act.backInMs ?? undefined,
        keys: act.keyIds.map((keyId) => keyIndex(keyId)),
      };
    default:
      return act satisfies never;
  }
}

function shapeLimit({ rpm, provider }: Pick<Key, 'rpm' | 'provider'>) {
  const { windowMs, sliceMs, guardMs } = windowShape(provider.windowMs);
  return { auto: rpm === 'auto', rpm: typeof rpm === 'number' ? rpm : undefined, windowMs, sliceMs, widenMs: guardMs };
}
