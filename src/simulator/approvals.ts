/**
 * Requests that are held until a person approves them. A held request is not forwarded and not charged; it is when it
 * is approved, once, however often it is asked for. Only the 202, its id and the path to poll are documented: what a
 * poll answers is the scenario's to say.
 */
import { z } from 'zod';
import { bookCall, countedCall, envelopeOf } from './booking.ts';
import { completionBody, type CompletionPlan } from './completion.ts';
import type { CountedCall } from './account.ts';
import type { Key } from './keyring.ts';
import { fingerprintOf } from './seeded.ts';
import type { World } from './world.ts';

export const decisionSchema = z.enum(['approved', 'rejected']);
export type Decision = z.infer<typeof decisionSchema>;
export type ApprovalState = 'pending' | Decision;

export const approvalsSchema = z.strictObject({
  /** The share of requests that is held; the same prompt meets the same fate. */
  rate: z.number().min(0).max(1).default(0),
  /** With this poll comes the decision; null: only by `decide_approval`. */
  decideAfterPolls: z.number().int().positive().nullable().default(null),
  decision: decisionSchema.default('approved'),
  /** How the states are called. */
  states: z
    .strictObject({
      pending: z.string().default('pending'),
      approved: z.string().default('approved'),
      rejected: z.string().default('rejected'),
    })
    .prefault({}),
  /** Where the completion stands once it is approved; null: nowhere. */
  responseField: z.string().min(1).nullable().default('response'),
});

type Held = {
  readonly id: string;
  readonly key: Key;
  readonly plan: CompletionPlan;
  readonly counted: CountedCall;
  readonly heldAtMs: number;
  readonly decision: Decision;
  state: ApprovalState;
  polls: number;
  isCollected: boolean;
};

export class Approvals {
  readonly #world: World;
  readonly #held = new Map<string, Held>();
  /** Prompts that have been held. */
  readonly #prompts = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  countIfSentAgain(lastUserMessage: string): void {
    if (this.#prompts.size === 0 || !this.#prompts.has(fingerprintOf(lastUserMessage))) return;
    this.#world.account.approvals.sentAgain += 1;
  }

  /** By marker, or by chance. */
  mustHold(text: string, fingerprint: string): boolean {
    const { approvals, markers } = this.#world.scenario;
    // A fingerprint is 53 bits of hash: evenly spread.
    const draw = Number.parseInt(fingerprint, 16) / 2 ** 53;
    return draw < approvals.rate || text.includes(markers.hold) || text.includes(markers.holdAndReject);
  }

  /** The body and the headers of the 202. */
  hold(
    requestId: string,
    key: Key,
    { plan, text, windowTokens }: { plan: CompletionPlan; text: string; windowTokens: number },
    nowMs: number,
  ): { body: object; headers: Record<string, string> } {
    const { approvals, markers } = this.#world.scenario;
    const id = `apr_${requestId}`;
    const counted = countedCall(key, plan, windowTokens);
    this.#held.set(id, {
      id,
      key,
      plan,
      counted,
      heldAtMs: nowMs,
      decision: text.includes(markers.holdAndReject) ? 'rejected' : approvals.decision,
      state: 'pending',
      polls: 0,
      isCollected: false,
    });
    this.#prompts.add(plan.fingerprint);
    this.#world.account.held(counted, nowMs);
    return {
      body: { approval_id: id, status: approvals.states.pending },
      headers: { 'X-CM-Approval-ID': id },
    };
  }

  /** What a poll by this key answers; null where there is no such approval in its organisation. */
  poll(id: string, by: Key): object | null {
    const held = this.#held.get(id);
    if (!held || held.key.org !== by.org) return null;
    const { account, scenario } = this.#world;
    const { decideAfterPolls, states, responseField } = scenario.approvals;
    account.approvals.polls += 1;
    held.polls += 1;
    if (held.state === 'pending' && decideAfterPolls !== null && held.polls >= decideAfterPolls) {
      this.#decide(held, held.decision);
    }
    const status = { approval_id: id, status: states[held.state] };
    if (held.state !== 'approved' || responseField === null) return status;
    if (!held.isCollected) account.collected(held.key.name);
    held.isCollected = true;
    const completion: unknown = JSON.parse(completionBody(held.plan, envelopeOf(this.#world, id, held.heldAtMs)));
    return { ...status, [responseField]: completion };
  }

  /** One, or all that are pending. False when there is no such approval. */
  decide(id: string | undefined, decision: Decision): boolean {
    if (id !== undefined && !this.#held.has(id)) return false;
    for (const held of this.#held.values()) {
      if (held.state === 'pending' && (id === undefined || held.id === id)) this.#decide(held, decision);
    }
    return true;
  }

  ids(): string[] {
    return [...this.#held.keys()];
  }

  #decide(held: Held, decision: Decision): void {
    const { account } = this.#world;
    held.state = decision;
    account.approvals[decision] += 1;
    if (decision === 'rejected') return;
    const latencyMs = this.#world.now() - held.heldAtMs;
    bookCall(this.#world, held.key, held.counted, { id: held.id, billed: true, statusCode: 200, latencyMs });
  }
}
