/**
 * One row and the words of `--template` and its options → one short-form request line (request.ts), or the line that
 * holds what the row lacks. Pure.
 */
import { AppError } from '../errors.ts';
import { isObject } from './body.ts';
import { describeValue, type Fault } from './problem.ts';
import { rowProblemField } from './request.ts';
import type { Row, RowsFile } from './rows.ts';
import { describeKnown, listNames, lookUp, placeholdersOf, renderTemplate, textOf, type Template } from './template.ts';

export type RowsOptions = {
  template: Template;
  system: Template | null;
  model: string;
  maxTokens: number | null;
  temperature: number | null;
  /** Whose values are the custom_ids. Null: a column or field called custom_id, else the row's number. */
  idColumn: string | null;
  /** Of CSV; null: by the name, or the one that the header has most of. */
  delimiter: string | null;
};

/** One line of the rendered file. */
export function requestOf(row: Row, plan: RowsOptions): string {
  // No object: whoever reads the line sees what it is, and says it better.
  if (row.raw !== null) return row.raw;
  const id = idOf(row, plan);
  const customId = id.ok && id.customId !== null ? { custom_id: id.customId } : {};
  const system = plan.system && renderTemplate(plan.system, row.values);
  const user = renderTemplate(plan.template, row.values);
  const faults = [row.fault, id.ok ? null : id.fault, system?.ok === false ? system.fault : null];
  const fault = faults.find((one) => one !== null) ?? (user.ok ? null : user.fault);
  if (fault || !user.ok) return JSON.stringify({ ...customId, [rowProblemField]: fault });
  const { model, maxTokens, temperature } = plan;
  return JSON.stringify({
    ...customId,
    messages: [...(system?.ok ? [{ role: 'system', content: system.text }] : []), { role: 'user', content: user.text }],
    model,
    ...(maxTokens !== null && { max_tokens: maxTokens }),
    ...(temperature !== null && { temperature }),
  });
}

function idOf({ values }: Row, plan: RowsOptions): { ok: true; customId: string | null } | { ok: false; fault: Fault } {
  const name = plan.idColumn ?? 'custom_id';
  const value = lookUp(values, name);
  if (value === undefined || value === null) {
    if (plan.idColumn === null) return { ok: true, customId: null };
    const message = `expected a value for the custom_id (--id-column), got ${value === null ? 'null' : 'none'}`;
    return { ok: false, fault: { field: name, code: 'missing_value', message } };
  }
  const isRaw = isObject(value) && (JSON as typeof JSON & { isRawJSON: (of: object) => boolean }).isRawJSON(value);
  if (typeof value === 'string' || typeof value === 'number' || isRaw) return { ok: true, customId: textOf(value) };
  const message = `expected a string or a number for the custom_id, got ${describeValue(value)}`;
  return { ok: false, fault: { field: name, code: 'invalid_value', message } };
}

/** What can be said before any row is read; `columns` is null for JSONL, whose rows may differ. Errors: `usage`. */
export function checkNames(plan: RowsOptions, { source }: RowsFile, columns: string[] | null): void {
  const placeholders = [...placeholdersOf(plan.template), ...(plan.system ? placeholdersOf(plan.system) : [])];
  const known = columns === null ? '' : `; the columns of ${source}: ${listNames(columns)}`;
  if (placeholders.length === 0) {
    const message = `expected a column in --template, such as {{${columns?.[0] ?? 'text'}}}, got none: every row would be the same prompt`;
    throw new AppError('usage', message + known);
  }
  if (columns === null) return;
  for (const { name, place } of placeholders) {
    if (columns.includes(name)) continue;
    throw new AppError(
      'usage',
      `${place}: expected a column of ${source}, got {{${name}}}${describeKnown(name, columns, 'its columns')}`,
    );
  }
  if (plan.idColumn !== null && !columns.includes(plan.idColumn)) {
    const message = `--id-column: expected a column of ${source}, got "${plan.idColumn}"`;
    throw new AppError('usage', message + describeKnown(plan.idColumn, columns, 'its columns'));
  }
}
