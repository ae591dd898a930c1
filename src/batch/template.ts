/**
 * Prompt templates: text in which `{{name}}` stands for a row's value. Pure.
 *
 *   {{text}}  {{ text }}     the value of the column or field "text"
 *   {{user.name}}            a field inside a field, where no column is called "user.name"; {{tags.0}} an array's first
 *   {{ {{ }}  {{ }} }}       braces alone, with a space on either side, stand for themselves
 *
 * Single braces and a `}}` that closes nothing are plain text, so most JSON needs no escaping. Values go in verbatim:
 * what looks like a placeholder in a value stays as it is. Anything but a string goes in as JSON.
 */
import { AppError } from '../errors.ts';
import { isObject, type JsonObject } from './body.ts';
import { nearest, quote, type Fault } from './problem.ts';

export type Placeholder = {
  name: string;
  /** "--template, line 1, column 12" */
  place: string;
};

export type Template = { parts: readonly (string | Placeholder)[] };

export type Rendered = { ok: true; text: string } | { ok: false; fault: Fault };

const bracesAlone = /\s+([{}]+)\s+\}\}/y;
const name = /\s*([^{}\s](?:[^{}]*[^{}\s])?)\s*\}\}/y;

/** `origin` is how messages call it: "--template". Errors: `usage`, with line and column. */
export function parseTemplate(text: string, origin: string): Template {
  const parts: (string | Placeholder)[] = [];
  let rest = 0;
  for (let at = text.indexOf('{{'); at !== -1; at = text.indexOf('{{', rest)) {
    if (at > rest) parts.push(text.slice(rest, at));
    const place = `${origin}, ${placeIn(text, at)}`;
    bracesAlone.lastIndex = name.lastIndex = at + 2;
    const braces = bracesAlone.exec(text);
    const named = braces ? null : name.exec(text);
    if (braces) parts.push(braces[1] as string);
    else if (named) parts.push({ name: named[1] as string, place });
    else throw new AppError('usage', `${place}: ${whatCame(text, at)}`);
    rest = (braces ? bracesAlone : name).lastIndex;
  }
  if (rest < text.length) parts.push(text.slice(rest));
  return { parts };
}

export function placeholdersOf(template: Template): Placeholder[] {
  return template.parts.filter((part) => typeof part !== 'string');
}

/** The template with a row's values in it, or what the row lacks. */
export function renderTemplate(template: Template, values: JsonObject): Rendered {
  let text = '';
  for (const part of template.parts) {
    if (typeof part === 'string') {
      text += part;
      continue;
    }
    const value = lookUp(values, part.name);
    if (value === undefined || value === null) return { ok: false, fault: missingValue(part, value, values) };
    text += textOf(value);
  }
  return { ok: true, text };
}

/** Own fields only: "constructor" is no value of a row. */
export function lookUp(values: JsonObject, path: string): unknown {
  if (Object.hasOwn(values, path)) return values[path];
  if (!path.includes('.')) return undefined;
  let value: unknown = values;
  for (const step of path.split('.')) {
    const isInside = isObject(value) ? Object.hasOwn(value, step) : Array.isArray(value) && /^\d+$/.test(step);
    if (!isInside) return undefined;
    value = (value as JsonObject)[step];
  }
  return value;
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** `, did you mean "text"? Known: id, text` */
export function describeKnown(wanted: string, known: readonly string[], what: string): string {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[-_ ]/g, '');
  const meant = nearest(plain(wanted), known.map(plain), Math.min(3, wanted.length));
  const index = meant === null ? -1 : known.findIndex((candidate) => plain(candidate) === meant);
  const advice = index === -1 ? '' : `; did you mean ${quote(known[index] as string)}?`;
  return `${advice}${advice === '' ? '; ' : ' '}${what}: ${listNames(known)}`;
}

const mostNames = 30;

export function listNames(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  const more = names.length > mostNames ? ` … and ${names.length - mostNames} more` : '';
  return names.slice(0, mostNames).join(', ') + more;
}

function missingValue({ name: wanted, place }: Placeholder, value: unknown, values: JsonObject): Fault {
  const message =
    value === null
      ? `expected a value for {{${wanted}}} (${place}), got null; fill it in, or remove the row`
      : `expected a value for {{${wanted}}} (${place}), got none${describeKnown(wanted, Object.keys(values), 'the fields here')}`;
  return { field: wanted, code: 'missing_value', message };
}

function placeIn(text: string, at: number): string {
  const before = text.slice(0, at);
  return `line ${before.split('\n').length}, column ${at - before.lastIndexOf('\n')}`;
}

function whatCame(text: string, at: number): string {
  const seen = quote(text.slice(at, at + 30));
  const braces = 'braces that are to stand in the prompt are written {{ {{ }}, {{ { }} or {{ }} }}';
  if (text.startsWith('{{{', at)) {
    return `expected {{name}}, got three braces or more: ${seen}; write two, and ${braces}`;
  }
  if (!text.includes('}}', at)) return `expected {{name}}, got {{ without its }}: ${seen}; close it; ${braces}`;
  return `expected the name of a column between {{ and }}, got ${seen}; ${braces}`;
}
