/**
 * Scripted faults: what goes wrong, for which calls, how often. The first fault of the list that matches a call is its
 * fault. This file chooses; fault-delivery.ts does the damage.
 */
import { z } from 'zod';
import { refusalReasons } from './refusal.ts';
import { createRandom, type Random } from './seeded.ts';

export const faultKinds = [
  /** Answers with `status`, `body` and `headers`. A 4xx stands in for the checks: it takes no place in the window. */
  'status',
  /** Takes the request and never answers. */
  'hang',
  /** Resets the connection (RST) instead of answering. */
  'reset',
  /** Sends half of the answer, then closes. */
  'cut_body',
  /** A proxy's HTML page with status 502. */
  'html_502',
  /** 200 with a body that is not JSON. */
  'garbage',
  /** 200, the right answer, `dripBytes` every `intervalMs`. */
  'slow_drip',
  /** 200 with no body. */
  'empty_200',
  /** 200 with an error object for a body; in a stream, an error frame after the first chunk. */
  'error_200',
  /** Refuses for `reason`, in the provider's words, whatever the checks say; takes no place in the window. */
  'refuse',
  // These strike only what is streamed.
  /** An error within the stream, of the given `shape`; then the stream ends. */
  'stream_error',
  /** The stream ends as if all were well, without finish_reason and without [DONE]. */
  'open_end',
  /** The stream falls silent: for `stallMs`, or for good. */
  'stall',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** How errors in mid-stream look in the wild. */
export const streamErrorShapes = [
  /** A frame that is an error object: `{"error": {…}}`. */
  'object',
  /** The same, as an event called `error`. */
  'event',
  /** A chunk with an `error` beside its choices and `finish_reason: "error"`, as OpenRouter sends it. */
  'choice',
  /** `{"object": "error", "message": …}` and then [DONE], as vLLM sends it. */
  'flat',
  /** A frame that is not JSON, as a proxy sends it. */
  'text',
  /** The error object alone on its line: no frame at all. */
  'bare',
] as const;
export type StreamErrorShape = (typeof streamErrorShapes)[number];

const streamOnly: ReadonlySet<FaultKind> = new Set(['stream_error', 'open_end', 'stall']);

const callNumber = z.number().int().nonnegative();

/** Which field goes with which kind, and whether it must be there. */
const belongings = [
  ['status', 'status', true],
  ['reason', 'refuse', true],
  ['retryAfterMs', 'refuse', false],
  ['shape', 'stream_error', false],
  ['stallMs', 'stall', false],
] as const;

export const faultSchema = z
  .strictObject({
    kind: z.enum(faultKinds),
    rate: z.number().min(0).max(1).default(1),
    status: z.number().int().min(200).max(599).optional(),
    reason: z.enum(refusalReasons).optional(),
    /** For `refuse`, where the provider says when to come back. */
    retryAfterMs: z.number().int().positive().optional(),
    shape: z.enum(streamErrorShapes).optional(),
    stallMs: z.number().positive().optional(),
    /** Chunks that go out first, in a stream. Default: half of them. For `cut_body` and the faults of streams. */
    afterChunks: z.number().int().nonnegative().optional(),
    /** In the error's body, where the provider says so: its code, and whether trying again may help. */
    code: z.string().optional(),
    retryable: z.boolean().optional(),
    /** Text is sent as it is, anything else as JSON. For the faults that answer something wrong. */
    body: z.union([z.string(), z.record(z.string(), z.unknown())]).optional(),
    headers: z.record(z.string(), z.string()).default({}),
    /** Spares the first so many calls (all keys together). */
    afterCalls: callNumber.default(0),
    /** Ends with this call. */
    untilCalls: callNumber.optional(),
    /** Strikes at most so often. */
    times: z.number().int().positive().optional(),
    /** Names of keys; without it, all. */
    keys: z.array(z.string()).optional(),
    /** Model ids; without it, all. */
    models: z.array(z.string()).optional(),
    /** Whether the call is charged all the same. Default: `billedByDefault`. */
    billed: z.boolean().optional(),
    intervalMs: z.number().positive().default(1000),
    dripBytes: z.number().int().positive().default(1),
  })
  .superRefine((fault, context) => {
    for (const [field, kind, isNeeded] of belongings) {
      const isGiven = fault[field] !== undefined;
      const belongs = fault.kind === kind;
      if (isGiven ? belongs : !belongs || !isNeeded) continue;
      context.addIssue({ code: 'custom', path: [field], message: `expected with kind "${kind}" and only there` });
    }
  });
export type Fault = z.infer<typeof faultSchema>;

/** Charged is what the upstream has worked out and sent on its way; the rest failed before or instead. */
const billedByDefault: Record<FaultKind, boolean> = {
  status: false,
  hang: false,
  reset: false,
  html_502: false,
  error_200: false,
  cut_body: true,
  garbage: true,
  slow_drip: true,
  empty_200: true,
  refuse: false,
  stream_error: false,
  open_end: true,
  stall: true,
};

export function isBilled(fault: Fault): boolean {
  return fault.billed ?? billedByDefault[fault.kind];
}

/** Whether the answer is right in the end: late, but all of it. */
export function arrivesWhole({ kind }: Fault): boolean {
  return kind === 'slow_drip' || kind === 'stall';
}

/** `refusal`: in place of the checks. `answer`: in place of the answer, once the call has its place in the window. */
export type FaultStage = 'refusal' | 'answer';

function stageOf(fault: Fault): FaultStage {
  const isRefused = fault.status !== undefined && fault.status >= 400 && fault.status < 500;
  return isRefused || fault.kind === 'refuse' ? 'refusal' : 'answer';
}

export type FaultTarget = { callNumber: number; keyName: string; modelId: string; stream: boolean };

export class FaultScript {
  readonly #seed: number;
  #script: { fault: Fault; random: Random; left: number }[] = [];

  constructor(faults: readonly Fault[], seed: number) {
    this.#seed = seed;
    this.replace(faults);
  }

  replace(faults: readonly Fault[]): void {
    this.#script = faults.map((fault, index) => ({
      fault,
      random: createRandom(this.#seed + index * 7919),
      left: fault.times ?? Number.POSITIVE_INFINITY,
    }));
  }

  /** The fault that strikes this call at this stage, if any; counts it against `times`. */
  strike(stage: FaultStage, target: FaultTarget): Fault | null {
    for (const entry of this.#script) {
      if (entry.left === 0 || stageOf(entry.fault) !== stage || !isAimedAt(entry.fault, target)) continue;
      if (entry.fault.rate < 1 && entry.random() >= entry.fault.rate) continue;
      entry.left -= 1;
      return entry.fault;
    }
    return null;
  }
}

function isAimedAt(fault: Fault, { callNumber: number, keyName, modelId, stream }: FaultTarget): boolean {
  return (
    (stream || !streamOnly.has(fault.kind)) &&
    number > fault.afterCalls &&
    number <= (fault.untilCalls ?? number) &&
    (fault.keys?.includes(keyName) ?? true) &&
    (fault.models?.includes(modelId) ?? true)
  );
}
