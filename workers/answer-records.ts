/** What an answered call leaves: its line's end in one of the files, and its row in the ledger. */
import { errorLine, outputLine, requestIdOf } from '../src/batch/result-line.ts';
import type { LineEnd } from '../src/keys/settle.ts';
import type { LedgerEntry } from '../src/ledger/entry.ts';
import { ledgerOutcomeOf } from '../src/provider/outcome.ts';
import type { AnsweredCall } from './call.ts';
import type { LineRun } from './line.ts';

export function completed({ request }: LineRun, { attemptId, answer, usage }: AnsweredCall): LineEnd {
  const body = answer.tag === 'http' ? answer.body : '';
  const text = outputLine(attemptId, request.customId, { status: 200, requestId: requestIdOf(answer), body });
  return { to: 'output', text, errorCode: null, inputTokens: usage.inputTokens, outputTokens: usage.outputTokens };
}

export function failed({ ctx, request, line }: LineRun, { attemptId, answer, outcome }: AnsweredCall): LineEnd {
  const { code, message } = 'code' in outcome ? outcome : { code: 'failed', message: '' };
  const text = errorLine(attemptId, request.customId, { code, message, line }, answer, ctx.keyring.redact);
  return { to: 'error', text, errorCode: code, inputTokens: null, outputTokens: null };
}

export function ledgerEntry({ batch, line, request }: LineRun, call: AnsweredCall): LedgerEntry {
  const { attemptId, chosen, answer, outcome, usage, startedAtMs } = call;
  return {
    attemptId,
    batchId: batch.batchId,
    customId: request.customId,
    line,
    provider: chosen.key.provider.name,
    keyId: chosen.key.keyId,
    keyName: chosen.key.name,
    requestedModel: request.model,
    resolvedModel: chosen.model,
    outcome: ledgerOutcomeOf(outcome),
    httpStatus: answer.tag === 'http' ? answer.status : null,
    errorCode: 'code' in outcome ? outcome.code : null,
    startedAtMs,
    durationMs: answer.durationMs,
    firstTokenMs: answer.tag === 'http' ? (answer.firstTokenMs ?? null) : null,
    requestId: requestIdOf(answer),
    ...usage,
  };
}
