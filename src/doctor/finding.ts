/**
 * A finding: what one check of `nightshift doctor` saw of one subject, how bad it is, and the one line that cures it.
 * Every text in it may hold a stranger's words: whoever shows findings has them cleaned first (`cleaned`).
 */

export const checks = [
  'configuration',
  'keys',
  'key',
  'base-url',
  'models',
  'aliases',
  'budget',
  'limits',
  'completion',
  'streaming',
  'clock',
  'redis',
  'disk',
  'node',
  'ledger',
] as const;
export type Check = (typeof checks)[number];

export type Finding = {
  check: Check;
  /** A key's name, a provider's URL, `redis`, or what else was looked at. */
  subject: string;
  /** `warning`: works, but not as it should or not for long. `problem`: does not work. */
  level: 'ok' | 'warning' | 'problem';
  what: string;
  /** What was seen, in the other side's words where it said any. */
  evidence: string | null;
  /** What to do, in the words of the provider's page; null where all is well. */
  cure: string | null;
};

/** Findings of one check about one subject. */
export function about(check: Check, subject: string) {
  return {
    ok: (what: string, evidence: string | null = null): Finding => ({
      check,
      subject,
      level: 'ok',
      what,
      evidence,
      cure: null,
    }),
    warning: (what: string, evidence: string | null, cure: string): Finding => ({
      check,
      subject,
      level: 'warning',
      what,
      evidence,
      cure,
    }),
    problem: (what: string, evidence: string | null, cure: string): Finding => ({
      check,
      subject,
      level: 'problem',
      what,
      evidence,
      cure,
    }),
  };
}

const longestText = 500;

/** On one line, without control characters, and without secrets. */
export function cleaned(finding: Finding, redact: (text: string) => string): Finding {
  const clean = (text: string) =>
    cut(
      redact(text)
        .replaceAll(/[\p{Cc}\s]+/gu, ' ')
        .trim(),
    );
  const { subject, what, evidence, cure } = finding;
  return {
    ...finding,
    subject: clean(subject),
    what: clean(what),
    evidence: evidence === null ? null : clean(evidence),
    cure: cure === null ? null : clean(cure),
  };
}

function cut(text: string): string {
  return text.length > longestText ? `${text.slice(0, longestText).toWellFormed()}…` : text;
}
