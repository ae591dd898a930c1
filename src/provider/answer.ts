/**
 * What came back from one HTTP call, before anyone says what it means; and the reading of its error envelope, headers
 * and waiting times. Order of trust for a waiting time: body, `retry-after-ms`, `retry-after` (providers.md §3).
 */
import { z } from 'zod';

export type Answer =
  | { tag: 'http'; status: number; headers: Record<string, string>; body: string; durationMs: number }
  /** No whole answer: `code` is `timeout`, `connect`, `reset`, `cut` or `too_large`. */
  | { tag: 'failure'; code: string; message: string; durationMs: number };

export type ErrorBody = { code: string; type: string; message: string; retryable: boolean | null };

const errorShape = z.object({
  code: z.union([z.string(), z.number()]).nullish(),
  type: z.string().nullish(),
  message: z.string().nullish(),
  retryable: z.boolean().nullish(),
});
const envelope = z.object({ error: z.union([errorShape, z.string()]) });

/** The error a body carries: `{"error":{message, type, code, …}}`, or null where there is none. */
export function errorOf(json: unknown): ErrorBody | null {
  const parsed = envelope.safeParse(json);
  if (!parsed.success) return null;
  const { error } = parsed.data;
  if (typeof error === 'string') return { code: '', type: '', message: error, retryable: null };
  return {
    code: String(error.code ?? '').toLowerCase(),
    type: error.type ?? '',
    message: error.message ?? '',
    retryable: error.retryable ?? null,
  };
}

/** `undefined` where the text is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** How long the server asks to wait, in ms; null when it does not say. `nowMs` for HTTP dates. */
export function retryAfterMs(headers: Record<string, string>, nowMs: number): number | null {
  const ms = Number(headers['retry-after-ms'] ?? Number.NaN);
  if (Number.isFinite(ms) && ms >= 0) return Math.ceil(ms);
  const text = headers['retry-after'];
  if (text === undefined) return null;
  const seconds = Number(text);
  if (Number.isFinite(seconds)) return seconds >= 0 ? Math.ceil(seconds * 1000) : null;
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : Math.max(0, date - nowMs);
}
