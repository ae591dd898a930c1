/** Says what is wrong with a scenario or a control change: one line per mistake, each naming its field. */
import type { z } from 'zod';

export function describeIssues(error: z.ZodError, knownAtTop?: readonly string[]): string[] {
  return error.issues.map((issue) => {
    const place = placeOf(issue.path);
    if (issue.code === 'unrecognized_keys') {
      const known = issue.path.length === 0 && knownAtTop ? ` (known: ${knownAtTop.join(', ')})` : '';
      return `${place}: unknown field ${issue.keys.map((key) => `"${key}"`).join(', ')}${known}`;
    }
    return `${place}: ${issue.message}`;
  });
}

function placeOf(path: readonly PropertyKey[]): string {
  const place = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  return place === '' ? 'the top level' : place.replace(/^\./, '');
}
