/**
 * What came back from one HTTP call, before anyone says what it means; and the reading of its error envelope, headers
 * and waiting times. Order of trust for a waiting time: the body, `retry-after-ms`, `retry-after` (providers.md §3).
 */
import { z } from 'zod';

export type Answer =
  | {
      tag: 'http';
      status: number;
      headers: Record<string, string>;
      body: string;
      durationMs: number;
      /** From sending to the first piece of the answer, where it was streamed. */
      firstTokenMs?: number | null;
    }
  /** No whole answer: `code` is `timeout`, `hung`, `idle`, `connect`, `reset`, `cut`, `too_large`, `unsent` or `aborted`. */
  | { tag: 'failure'; code: string; message: string; durationMs: number };

export type ErrorBody = {
  /** As it came; '' where there is none, as in all fields of text. */
  code: string;
  type: string;
  message: string;
  /** The field of the request that is to blame. */
  param: string;
  retryable: boolean | null;
  /** OpenRouter: which of its limits a 402 is about. */
  limitSource: string;
  /** When to try again by the body's own word, Unix ms, where it says so. */
  retryAtMs: number | null;
  /** The provider's id of the error, beside the one in the headers. */
  requestId: string;
  /** Each field that a 422 finds fault with. */
  faults: string[];
  /**
   * Whether it is the completions API that speaks: `{"error":{…}}`. Servers and proxies in front of it have their own
   * ways of saying that a path is not there: `{"error":"Not Found"}`, `{"message":…}`, `{"detail":…}`.
   */
  enveloped: boolean;
};

// One odd field must not hide the others: each falls back by itself.
const words = z.string().nullish().catch(null);
const errorShape = z.object({
  code: z.union([z.string(), z.number()]).nullish().catch(null),
  type: words,
  message: words,
  param: words,
  retryable: z.boolean().nullish().catch(null),
  request_id: words,
  retry_after: z.number().nonnegative().nullish().catch(null),
  reset_at: z.union([z.string(), z.number()]).nullish().catch(null),
  metadata: z.object({ limit_source: words }).nullish().catch(null),
  errors: z
    .array(z.object({ field: words, message: words }))
    .nullish()
    .catch(null),
});
const bodyShape = z.object({ error: z.unknown().optional(), message: words, detail: words });

/** The error a body carries, in whichever shape, or null where there is none. */
export function errorOf(json: unknown, nowMs = Date.now()): ErrorBody | null {
  const body = bodyShape.safeParse(json);
  if (!body.success) return null;
  const error = errorShape.safeParse(body.data.error);
  if (error.success) {
    const { code, type, message, param, retryable, errors } = error.data;
    return {
      code: String(code ?? ''),
      type: type ?? '',
      message: message ?? '',
      param: param ?? '',
      retryable: retryable ?? null,
      limitSource: error.data.metadata?.limit_source ?? '',
      retryAtMs: retryAtOf(error.data, nowMs),
      requestId: error.data.request_id ?? '',
      faults: (errors ?? []).map((fault) => [fault.field, fault.message].filter(Boolean).join(': ')),
      enveloped: true,
    };
  }
  const said = [body.data.error, body.data.message, body.data.detail].filter((part) => typeof part === 'string');
  if (said.length === 0) return null;
  return { ...nothingSaid, message: said.join(': ') };
}

const nothingSaid: ErrorBody = {
  code: '',
  type: '',
  message: '',
  param: '',
  retryable: null,
  limitSource: '',
  retryAtMs: null,
  requestId: '',
  faults: [],
  enveloped: false,
};

/** A time of reset beats a number of seconds. A bare number above 10⁹ is a Unix time (providers.md §3). */
function retryAtOf(error: z.infer<typeof errorShape>, nowMs: number): number | null {
  const { reset_at: reset, retry_after: seconds } = error;
  const resetMs =
    typeof reset === 'number' ? reset * (reset > earliestUnixTime ? 1000 : Number.NaN) : Date.parse(reset ?? '');
  if (Number.isFinite(resetMs)) return Math.max(nowMs, resetMs);
  return seconds === null || seconds === undefined ? null : nowMs + Math.ceil(seconds * 1000);
}

/** `undefined` where the text is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** No server that asks for longer means this batch; and a timer holds no more than 24 days. */
const longestRetryAfterMs = 86_400_000;
/** A bare number above this is a Unix time, a smaller one is a number of seconds (providers.md §3). */
const earliestUnixTime = 1e9;

/** How long the server asks to wait, in ms, at most a day; null when it does not say. `nowMs` for dates. */
export function retryAfterMs(headers: Record<string, string>, nowMs: number): number | null {
  const ms = numberIn(headers['retry-after-ms']) ?? waitOf(headers['retry-after'] ?? '', nowMs);
  return ms === null ? null : Math.min(longestRetryAfterMs, Math.max(0, Math.ceil(ms)));
}

function waitOf(header: string, nowMs: number): number | null {
  const seconds = numberIn(header);
  if (seconds !== null) return seconds > earliestUnixTime ? seconds * 1000 - nowMs : seconds * 1000;
  // Date.parse takes nearly anything for a date; every form of an HTTP date has a time of day.
  const date = /\d\d:\d\d/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? null : date - nowMs;
}

/** Not negative and finite; an empty header is no 0. */
function numberIn(header: string | undefined): number | null {
  return header !== undefined && /^\s*\d+(\.\d*)?\s*$/.test(header) ? Number(header) : null;
}
