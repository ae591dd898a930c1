/**
 * Approvals: a 202 is no completion, the gateway holds the call until a person decides (providers.md §2). We ask about
 * it and never send it again. What a status answer looks like beyond its address is not documented: it is read by what
 * it must contain to mean something, and otherwise the call counts as undecided.
 */
import { z } from 'zod';
import type { Answer } from './answer.ts';
import { parseJson } from './answer.ts';

export type Approval =
  | { tag: 'pending' }
  /** Approved, and here is the completion. */
  | { tag: 'answered'; body: string }
  | { tag: 'refused'; message: string }
  /** Approved, but the completion is not in the answer. */
  | { tag: 'approved' };

const idShape = z.object({ approval_id: z.string().min(1) });

/** Of a 202: from the body, else from the header. */
export function approvalIdOf(json: unknown, headers: Record<string, string>): string | null {
  const body = idShape.safeParse(json);
  return body.success ? body.data.approval_id : (headers['x-cm-approval-id'] ?? null);
}

const words = z.string().nullish().catch(null);
const statusShape = z.looseObject({ status: words, state: words, decision: words, message: words, reason: words });

// The whole word: `pending_approval` is none yet. What is not known is undecided, and asked about again.
const refused = /^\s*(reject(ed)?|den(y|ied)|refused?|declined?|cancel(l?ed)?|expired?)\s*$/i;
const approved = /^\s*(approved?|accept(ed)?|completed?|granted)\s*$/i;

/** Null when the answer says nothing about the approval (an outage, a dead key): ask again later. */
export function readApproval(answer: Answer): Approval | null {
  if (answer.tag !== 'http' || answer.status >= 300) return null;
  const json = parseJson(answer.body);
  const completion = findCompletion(json, 3);
  if (completion) return { tag: 'answered', body: JSON.stringify(completion) };
  const parsed = statusShape.safeParse(json);
  if (!parsed.success) return null;
  const { status, state, decision, message, reason } = parsed.data;
  const said = [decision, status, state].find((word) => word) ?? '';
  if (refused.test(said)) return { tag: 'refused', message: reason ?? message ?? said };
  return approved.test(said) ? { tag: 'approved' } : { tag: 'pending' };
}

/** An object with choices, at the top or a few levels down. */
function findCompletion(json: unknown, depth: number): object | null {
  if (typeof json !== 'object' || json === null) return null;
  if ('choices' in json && Array.isArray(json.choices) && json.choices.length > 0) return json;
  if (depth === 0) return null;
  for (const value of Object.values(json)) {
    const found = findCompletion(value, depth - 1);
    if (found) return found;
  }
  return null;
}
