/** Booking a call: on all the purses it is paid from, in the account, and in what the key's usage listing shows. */
import type { CountedCall } from './account.ts';
import { completionTokensOf, type CompletionPlan, type Envelope } from './completion.ts';
import type { Key } from './keyring.ts';
import { spend } from './purse.ts';
import type { World } from './world.ts';

/** `windowTokens`: as the limit counts them. */
export function countedCall(key: Key, plan: CompletionPlan, windowTokens: number): CountedCall {
  return {
    keyName: key.name,
    modelId: plan.request.model.id,
    inputTokens: plan.request.promptTokens,
    outputTokens: completionTokensOf(plan),
    windowTokens,
    costNanoUsd: plan.costNanoUsd ?? 0,
    fingerprint: plan.fingerprint,
  };
}

export type BookedCall = { id: string; billed: boolean; statusCode: number; latencyMs: number };

export function bookCall(world: World, key: Key, counted: CountedCall, call: BookedCall): void {
  const { id, billed, statusCode, latencyMs } = call;
  const { modelId, inputTokens, outputTokens, costNanoUsd } = counted;
  if (billed) {
    // What midnight cuts in two is paid on the new day.
    world.startDay(key.org);
    spend(key.purses, costNanoUsd);
    world.account.billed(counted);
  }
  key.usage.add({
    id,
    model: modelId,
    promptTokens: billed ? inputTokens : 0,
    completionTokens: billed ? outputTokens : 0,
    costNanoUsd: billed ? costNanoUsd : 0,
    latencyMs,
    statusCode,
    createdAtMs: world.now(),
  });
}

export function envelopeOf({ scenario: { dialect, reportCost } }: World, requestId: string, atMs: number): Envelope {
  return { id: `chatcmpl-${requestId}`, createdAtMs: atMs, reportCost: reportCost && dialect.costInUsage };
}
