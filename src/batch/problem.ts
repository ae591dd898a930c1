/**
 * What can be wrong with a line, and the words for it: "expected X, got Y", how to mend it, and for a misspelt field
 * the one that was probably meant. Knows nothing of the forms a line may have.
 */

export type ProblemCode =
  | 'invalid_json_line'
  | 'invalid_encoding'
  | 'invalid_value'
  | 'invalid_method'
  | 'invalid_url'
  | 'missing_required_parameter'
  | 'missing_model'
  | 'unknown_parameter'
  | 'duplicate_custom_id'
  /** Of a row, see render.ts. */
  | 'missing_value'
  | 'wrong_field_count';

/** One bad line. `field` is a path such as `body.messages[2].role`; null where the line as a whole is meant. */
export type LineProblem = {
  /** 1-based physical line of the input file. */
  line: number;
  field: string | null;
  code: string;
  message: string;
  /** Null where the line has none that could be read. */
  customId: string | null;
};

/** A problem before it is known which line it is on. */
export type Fault = { field: string | null; code: ProblemCode; message: string };

/** A value at `field` that is missing, of the wrong type or out of range. */
export function wrongValue(field: string, expected: string, value: unknown, cure = ''): Fault {
  const code = value === undefined ? 'missing_required_parameter' : 'invalid_value';
  return { field, code, message: `expected ${expected}, got ${describeValue(value)}${cure && `; ${cure}`}` };
}

/** A value in a few words: what it is and, where that is short, what it says. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === '') return 'an empty string';
  if (typeof value === 'string') return `the string ${quote(value)}`;
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  // Not JSON for all: Infinity, which is what 1e999 is read as, would become null.
  return typeof value === 'number' ? value.toString() : JSON.stringify(value);
}

const longestQuote = 60;

/** Foreign text for a message: quoted, control characters escaped, cut. */
export function quote(text: string): string {
  const cut = text.length > longestQuote ? `${text.slice(0, longestQuote)}…` : text;
  return JSON.stringify(cut.toWellFormed());
}

export function unknownField(field: string, name: string, known: readonly string[]): Fault {
  const meant = nearest(name, known);
  const advice = meant === null ? `known here: ${known.join(', ')}` : `did you mean "${meant}"?`;
  return { field, code: 'unknown_parameter', message: `unknown field ${quote(name)}, ${advice}` };
}

/** The known name that a typing mistake or two (fewer than `below`) turn into `name`; null when none is that near. */
export function nearest(name: string, known: readonly string[], below = name.length <= 4 ? 2 : 3): string | null {
  // Longer than any known name by more than a slip: not a slip.
  if (name.length > 40) return null;
  const plain = name.toLowerCase().replaceAll(/[-_ ]/g, '');
  let best: string | null = null;
  let bestDistance = below;
  for (const candidate of known) {
    const distance = editDistance(plain, candidate.replaceAll('_', ''));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
