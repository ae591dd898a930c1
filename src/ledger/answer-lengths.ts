/** How long the answers of each model have been of late, from the ledger: for the estimate of a batch to come. */
import { existsSync } from 'node:fs';
import { explainSqliteError, openLedgerFile } from './sqlite-file.ts';

/** Looked at from the newest backwards: the work does not grow with the ledger. */
const mostAttempts = 50_000;
/** Fewer say nothing. */
const fewestAnswers = 20;

const sql = `
  with latest as (select resolved_model, outcome, output_tokens from ledger order by started_at desc limit ?),
    answers as (
      select resolved_model as model, output_tokens as tokens,
        row_number() over (partition by resolved_model order by output_tokens) as place,
        count(*) over (partition by resolved_model) as answers
      from latest where outcome = 'completed' and output_tokens is not null)
  select model, tokens from answers where answers >= ? and place = (answers + 3) / 4`;

/** Resolved model → the length in tokens that a quarter of its answers stay under. Errors: AppError `disk`. */
export function readShortAnswers(file: string): Map<string, number> {
  if (!existsSync(file)) return new Map();
  const database = openLedgerFile(file);
  try {
    const rows = database.prepare(sql).all(mostAttempts, fewestAnswers);
    return new Map(rows.map(({ model, tokens }) => [String(model), Number(tokens)]));
  } catch (error) {
    throw explainSqliteError(file, error);
  } finally {
    database.close();
  }
}
