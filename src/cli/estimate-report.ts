/** An estimate in words, as a table for people and as an object for programs. Pure. */
import {
  assumedMaxTokens,
  assumedShortAnswerTokens,
  fewestBytesPerToken,
  mostCharsPerToken,
  mostTokensPerMessage,
  type InputEstimate,
  type ModelEstimate,
  type Uses,
} from '../batch/estimate.ts';
import type { InputFile } from '../batch/input.ts';
import type { Range, SendingTime } from '../batch/sending-time.ts';
import { formatCount, formatDuration, formatUsd } from '../ledger/report.ts';
import { renderTable } from './table.ts';

export function estimateTable({ models, total }: InputEstimate): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  return renderTable(
    [
      { title: 'Model' },
      right('Requests'),
      right('Prompt tokens'),
      right('Completion tokens'),
      right('Cost'),
      right('Time'),
    ],
    models.map((model) => [nameOf(model), ...cellsOf(model, model.plan.isOffered)]),
    [['Total', ...cellsOf(total, true, total.unpricedRequests > 0)]],
  );
}

function nameOf({ requested, plan }: ModelEstimate): string {
  if (!plan.isOffered) return `${requested} (no key offers it)`;
  const others = plan.resolved.filter((id) => id !== requested);
  return others.length > 0 ? `${requested} → ${others.join(', ')}` : requested;
}

function cellsOf(uses: Uses, isOffered: boolean, isPart = false): string[] {
  const counts = [uses.promptTokens, uses.completionTokens].map((tokens) => range(tokens, formatCount));
  const cost = uses.costNanoUsd === null ? 'unknown' : (isPart ? '≥ ' : '') + range(uses.costNanoUsd, formatUsd);
  return [formatCount(uses.requests), ...counts, isOffered ? cost : '', isOffered ? timeOf(uses.time) : ''];
}

function range({ low, high }: Range, format: (value: number) => string): string {
  const [from, to] = [format(low), format(high)];
  return from === to ? from : `${from} – ${to}`;
}

function timeOf({ ms, limitedBy }: SendingTime): string {
  if (ms === null) return 'unknown';
  return limitedBy === 'nothing' ? 'no wait' : `${range(ms, formatDuration)} (${limitedBy})`;
}

/** What a reader must know to believe the numbers. */
export function estimateRemarks(input: InputFile, result: InputEstimate): string[] {
  const { models, total, invalid, notOffered, unbounded, withMedia } = result;
  const remarks: string[] = [];
  const offered = models.filter(({ plan }) => plan.isOffered);
  const assumed = offered.filter(({ plan }) => plan.shortAnswerTokens === null);
  remarks.push(
    `Prompts: at least a token per ${mostCharsPerToken} characters, at most one per ${fewestBytesPerToken} bytes and ` +
      `${mostTokensPerMessage} per message. Answers: at most max_tokens.`,
  );
  if (assumed.length < offered.length) {
    remarks.push('Answers at least as long as the shortest quarter of those in the ledger, per model.');
  }
  if (assumed.length > 0) {
    remarks.push(
      `Nothing is known yet of answers of ${listOf(assumed.map(({ requested }) => requested))}: at least ` +
        `${assumedShortAnswerTokens} tokens assumed, or a quarter of max_tokens where that is less.`,
    );
  }
  if (unbounded > 0) {
    remarks.push(
      `${requests(unbounded)} without max_tokens: taken for at most ${formatCount(assumedMaxTokens)} tokens.`,
    );
  }
  if (withMedia > 0) remarks.push(`${requests(withMedia)} with pictures or files, whose tokens are not counted.`);
  if (total.unpricedRequests > 0) {
    remarks.push(`${requests(total.unpricedRequests)} of unknown price: "prices" in the configuration can name it.`);
  }
  if (notOffered > 0) remarks.push(`${requests(notOffered)} for models that no key offers: not in the total.`);
  if (invalid > 0) {
    remarks.push(`${invalid} bad ${invalid === 1 ? 'line' : 'lines'}, not counted: nightshift check ${input.source}`);
  }
  const { ms, limitedBy } = total.time;
  if (ms !== null) {
    const by = { requests: 'their requests per window', tokens: 'their tokens per window' };
    remarks.push(
      limitedBy === 'requests' || limitedBy === 'tokens'
        ? `The limits of the keys spread this over ${range(ms, formatDuration)}; what binds is ${by[limitedBy]}.`
        : 'The limits of the keys admit all of it at once.',
    );
  }
  return remarks;
}

const mostListed = 5;

function listOf(names: string[]): string {
  const more = names.length - mostListed;
  return names.slice(0, mostListed).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function requests(count: number): string {
  return `${formatCount(count)} ${count === 1 ? 'request' : 'requests'}`;
}

export function estimateJson(input: InputFile, result: InputEstimate): Record<string, unknown> {
  const { models, total, invalid, notOffered, unbounded, withMedia } = result;
  return {
    input: input.source,
    name: input.name,
    ...usesJson(total),
    unpricedRequests: total.unpricedRequests,
    notOfferedRequests: notOffered,
    invalidLines: invalid,
    requestsWithoutMaxTokens: unbounded,
    requestsWithMedia: withMedia,
    models: models.map(({ requested, plan, ...uses }) => ({
      requested,
      resolved: plan.resolved,
      isOffered: plan.isOffered,
      ...usesJson(uses),
      // Where the low end of completionTokens comes from.
      shortAnswers: plan.shortAnswerTokens === null ? 'assumed' : 'ledger',
      shortAnswerTokens: plan.shortAnswerTokens,
    })),
  };
}

function usesJson({ requests: count, promptTokens, completionTokens, costNanoUsd, time }: Uses) {
  return {
    requests: count,
    promptTokens,
    completionTokens,
    costUsd: costNanoUsd && { low: costNanoUsd.low / 1e9, high: costNanoUsd.high / 1e9 },
    timeMs: time.ms && { low: Math.round(time.ms.low), high: Math.round(time.ms.high) },
    limitedBy: time.limitedBy,
  };
}
