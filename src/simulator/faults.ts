/**
 * Scripted faults: what goes wrong, for which calls, how often. The first fault of the list that matches a call is its
 * fault. This file chooses; fault-delivery.ts does the damage.
 */
import { z } from 'zod';
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
] as const;
export type FaultKind = (typeof faultKinds)[number];

const callNumber = z.number().int().nonnegative();

export const faultSchema = z
  .strictObject({
    kind: z.enum(faultKinds),
    rate: z.number().min(0).max(1).default(1),
    status: z.number().int().min(200).max(599).optional(),
    /** Text is sent as it is, anything else as JSON. For `status`, `html_502`, `garbage`, `error_200`. */
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
  .refine((fault) => (fault.kind === 'status') === (fault.status !== undefined), {
    path: ['status'],
    message: 'expected with kind "status" and only there',
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
};

export function isBilled(fault: Fault): boolean {
  return fault.billed ?? billedByDefault[fault.kind];
}

/** `refusal`: in place of the checks. `answer`: in place of the answer, once the call has its place in the window. */
export type FaultStage = 'refusal' | 'answer';

function stageOf(fault: Fault): FaultStage {
  return fault.status !== undefined && fault.status >= 400 && fault.status < 500 ? 'refusal' : 'answer';
}

export type FaultTarget = { callNumber: number; keyName: string; modelId: string };

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

function isAimedAt(fault: Fault, { callNumber: number, keyName, modelId }: FaultTarget): boolean {
  return (
    number > fault.afterCalls &&
    number <= (fault.untilCalls ?? number) &&
    (fault.keys?.includes(keyName) ?? true) &&
    (fault.models?.includes(modelId) ?? true)
  );
}
