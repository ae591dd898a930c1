/** Lines that repeat a custom_id, in a batch that skips what is invalid. */
import type { Redis } from '../redis/client.ts';
import type { Keyring } from '../keys/keyring.ts';
import { lineRef } from '../keys/intent.ts';
import { createSettle } from '../keys/settle.ts';
import type { Names } from '../redis/names.ts';
import type { BatchOptions, BatchRecord } from './batch.ts';
import type { InputFile } from './input.ts';
import { eachLine, readChunks } from './lines.ts';
import { parseRequest } from './request.ts';
import { errorLine } from './result-line.ts';
import type { Validation } from './validate.ts';

type DuplicatesOptions = {
  redis: Redis;
  names: Names;
  input: InputFile;
  options: Pick<BatchOptions, 'model'>;
  keyring: Keyring;
};

/**
 * With --skip-invalid, lines whose custom_id was used before end here: only a reading of the whole file can tell them
 * from good ones. All other bad lines are recognised, and ended, by the worker that gets them.
 */
export async function endDuplicates(
  { redis, names, input, options, keyring }: DuplicatesOptions,
  record: BatchRecord,
  validation: Validation,
) {
  if (!validation.problemCounts.has('duplicate_custom_id')) return;
  const settle = createSettle({ redis, names });
  const { batchId } = record;
  for await (const chunk of readChunks(input, { fromOffset: 0, fromLine: 1, maxLines: 1000, maxBytes: 1 << 20 })) {
    const ends: Promise<unknown>[] = [];
    eachLine(chunk, (text, line) => {
      if (!validation.isDuplicate(line)) return;
      const parsed = parseRequest(text, line, { model: options.model });
      const customId = parsed.ok ? parsed.request.customId : parsed.problem.customId;
      const error = {
        code: 'invalid_request:duplicate_custom_id',
        message: 'an earlier line has the same custom_id',
        line,
      };
      const result = errorLine(lineRef(batchId, line), customId, error, null, keyring.redact);
      const end = { to: 'error' as const, text: result, errorCode: error.code, inputTokens: null, outputTokens: null };
      ends.push(settle({ batchId, line, call: null, end }));
    });
    await Promise.all(ends);
  }
}
