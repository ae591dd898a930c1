/**
 * What `--send` may spend, per key: one completion of one token, and one short streamed one to see whether its pieces
 * come as they are written. Neither is in the ledger nor in the keys' windows: they belong to no batch.
 */
import { parseJson, type Answer } from '../provider/answer.ts';
import type { Client } from '../provider/client.ts';
import { resolveModel, type Listing, type Model, type ResolveRules } from '../provider/models.ts';
import type { Outcome } from '../provider/outcome.ts';
import { createStreamAssembler } from '../provider/stream.ts';
import { usageOf } from '../provider/usage.ts';
import { formatUsd } from '../ledger/report.ts';
import type { Timed } from './asking.ts';
import { about, type Finding } from './finding.ts';
import type { Patient } from './key-form.ts';
import { arrivalOf, timeStream, type StreamTiming } from './stream-timing.ts';
import { evidenceOf, findingOf, outcomeOf } from './verdict.ts';

export type Sending = {
  client: Client;
  patient: Patient;
  models: Listing;
  rules: ResolveRules;
  redact: (text: string) => string;
  timeoutMs: number;
};

export type Sent = { findings: Finding[]; answers: Timed[] };

/** Enough pieces to see them come. */
const streamedTokens = 40;

export async function sendTiny(sending: Sending): Promise<Sent> {
  const { client, patient, models, rules, redact } = sending;
  const { key } = patient;
  const say = about('completion', key.name);
  const model = chooseModel(models, rules);
  if (!model) return { findings: [], answers: [] };

  let limit = 'max_tokens';
  const ask = async () => {
    const body = JSON.stringify({ ...bodyFor(model, 'Say OK.'), [limit]: 1 });
    const answer = await client.chat({ sender: key, body });
    return { answer, outcome: outcomeOf(answer, patient, redact) };
  };
  let { answer, outcome } = await ask();
  if (refusesMaxTokens(answer, outcome)) {
    limit = 'max_completion_tokens';
    ({ answer, outcome } = await ask());
  }
  const answers = [{ path: 'completion', answer, atMs: Date.now() }];
  if (outcome.tag !== 'complete') return { findings: [refusal(answer, outcome, model, patient)], answers };
  const findings = [say.ok(`${model.id} answers in ${answer.durationMs} ms`, costIn(answer, model))];
  if (model.supportedParameters && !model.supportedParameters.has('stream')) return { findings, answers };

  const streamed = { ...bodyFor(model, 'Count from 1 to 20.'), stream: true, [limit]: streamedTokens };
  const timing = await timeStream(key, JSON.stringify(streamed), sending.timeoutMs);
  findings.push(judgeStream(timing, patient, redact));
  return { findings, answers: [...answers, { path: 'stream', answer: timing.answer, atMs: Date.now() }] };
}

/** `fast` where there is one, else the cheapest that tells its price, else the first. */
function chooseModel(models: Listing, rules: ResolveRules): Model | null {
  const fast = resolveModel(models, 'fast', rules);
  const price = (model: Model) => model.price?.outputUsdPerMTok ?? Number.POSITIVE_INFINITY;
  const callable = [...models.values()].filter((model) => model.callable);
  return fast ?? callable.toSorted((a, b) => price(a) - price(b))[0] ?? null;
}

function bodyFor(model: Model, content: string) {
  return { model: model.id, messages: [{ role: 'user', content }] };
}

/** Newer OpenAI models want `max_completion_tokens` in its place. */
function refusesMaxTokens(answer: Answer, outcome: Outcome): boolean {
  return answer.tag === 'http' && outcome.tag === 'reject' && /max_completion_tokens|max_tokens/.test(answer.body);
}

function refusal(answer: Answer, outcome: Outcome, model: Model, patient: Patient): Finding {
  const finding = findingOf('completion', answer, outcome, patient);
  if (finding.check !== 'models') return finding;
  const name = patient.key.name;
  return {
    ...finding,
    what: `${model.id} is listed, but not for this key`,
    cure: `add ${model.id} to the allowed models of "${name}", or ask for another of GET /v1/models`,
  };
}

function costIn(answer: Answer, model: Model): string | null {
  if (answer.tag !== 'http') return null;
  const prices = { header: answer.headers['x-cm-cost'], listing: model.price, configured: null };
  const { costNanoUsd } = usageOf(parseJson(answer.body), prices);
  return costNanoUsd === null ? 'cost unknown' : `cost ${formatUsd(costNanoUsd)}`;
}

function judgeStream(timing: StreamTiming, patient: Patient, redact: (text: string) => string): Finding {
  const say = about('streaming', patient.key.name);
  const { answer, events, pieces, firstMs, lastMs } = timing;
  if (answer.tag === 'failure' || answer.status !== 200) {
    const outcome = outcomeOf(answer, patient, redact);
    if (answer.tag === 'http') return findingOf('streaming', answer, outcome, patient);
    const cure = 'look at the proxies on the way, and their time-outs; without --stream nightshift needs no streaming';
    return say.warning('a stream does not come through', evidenceOf(answer, outcome), cure);
  }
  const seen = `${events} events in ${pieces} pieces, the first after ${firstMs} ms, the last after ${lastMs} ms`;
  if (!timing.isEventStream) {
    const cure = 'run without --stream: whole answers are what comes anyway';
    return say.warning('a stream was asked for, a whole answer came', `content-type ${contentType(answer)}`, cure);
  }
  const assembler = createStreamAssembler();
  assembler.push(answer.body);
  const end = assembler.end();
  if (end.tag !== 'whole') {
    const evidence = end.tag === 'cut' ? `${seen}; ${end.message}` : `${seen}; it ended with ${end.body}`;
    const cure = 'look at the proxies on the way, and their time-outs; or run without --stream';
    return say.warning('the stream did not come to its end', evidence, cure);
  }
  const arrival = arrivalOf(timing);
  if (arrival === 'spread') return say.ok('streams come as they are written', seen);
  if (arrival === 'too_quick_to_tell') return say.ok('the stream was whole, too quick to tell more', seen);
  const length = answer.headers['content-length'];
  const evidence = `${seen}${length === undefined ? '' : `; content-length ${length}`}`;
  const cure =
    'turn buffering off in the proxy before the provider (nginx: proxy_buffering off), or run without --stream';
  return say.problem('buffering proxy: the stream comes all at once', evidence, cure);
}

function contentType(answer: Answer): string {
  return (answer.tag === 'http' ? answer.headers['content-type'] : undefined) ?? 'none';
}
