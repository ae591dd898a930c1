/** Everything about one key whose form is right: its verdict, models, aliases, budget and limits, and what it can send. */
import type { Redis } from '../redis/client.ts';
import type { Config } from '../config.ts';
import { parseJson, type Answer } from '../provider/answer.ts';
import type { Client } from '../provider/client.ts';
import type { Names } from '../redis/names.ts';
import { get, type Asked, type Timed } from './asking.ts';
import { checkDailyHeaders, checkOwnBudgets, checkStanding, checkUsage, usagePath } from './budget.ts';
import { about, type Finding } from './finding.ts';
import type { Forms, Patient } from './key-form.ts';
import { checkLimits } from './limits.ts';
import { readMemory, type Memory } from './memory.ts';
import { checkAliases, checkModels } from './models.ts';
import { sendTiny } from './sending.ts';
import { evidenceOf, findingOf, outcomeOf } from './verdict.ts';

export type KeyWorld = {
  client: Client;
  config: Config;
  forms: Forms;
  /** By key id; empty where Redis cannot be asked. */
  memories: ReadonlyMap<string, Memory>;
  /** Whether the API is at the provider's base URL. */
  isApi: boolean;
  send: boolean;
  timeoutMs: number;
};

export async function recall(
  redis: Redis,
  names: Names,
  patients: readonly Patient[],
): Promise<ReadonlyMap<string, Memory>> {
  const memories = patients.map(async ({ key }) => [key.keyId, await readMemory(redis, names, key)] as const);
  return new Map(await Promise.all(memories));
}

export async function examineKey(asked: Asked, world: KeyWorld): Promise<Finding[]> {
  const { patient, models, listing, proof } = asked;
  const { key } = patient;
  const memory = world.memories.get(key.keyId) ?? null;
  const own = memory === null ? [] : checkOwnBudgets(patient, memory, world.config.dailyBudgetNanoUsd);
  if (!world.isApi) return [...own, ...(memory === null ? [] : checkStanding(patient, memory, false))];

  const { finding, isAccepted } = judgeKey(asked, world.forms.redact);
  const findings = [finding];
  const answers = [listing, ...(proof ? [proof] : [])];
  if (models) findings.push(...checkModels(patient, models), ...checkAliases(patient, models, world.config));
  if (isAccepted && key.provider.kind === 'privatemind') {
    findings.push(...checkUsage(patient, await get(world.client, key, usagePath(Date.now()))));
  }
  if (world.send && isAccepted && models) {
    const aliases = world.config.aliases[key.provider.name] ?? {};
    const rules = { aliases, fallbacks: world.config.fallbacks };
    const { client, timeoutMs } = world;
    const sent = await sendTiny({ client, patient, models, rules, redact: world.forms.redact, timeoutMs });
    findings.push(...sent.findings);
    answers.push(...sent.answers);
  }
  findings.push(...checkDailyHeaders(patient, answers.map(headersOf)), ...own);
  const isWell = findings.every(({ level }) => level !== 'problem');
  if (memory !== null) findings.push(...standingUnlessSaid(patient, memory, findings, isWell));
  findings.push(...checkLimits(patient, answers, memory));
  if (isAccepted) return withBudget(patient, findings, world.send);
  // Beside a refusal, that nothing else is wrong says nothing.
  return findings.filter(({ check, level }) => level !== 'ok' || check !== 'limits');
}

type KeyVerdict = { finding: Finding; isAccepted: boolean };

/** The page that only a working key may read proves it; where there is none, the listing must do. */
function judgeKey({ patient, listing, proof, models }: Asked, redact: (text: string) => string): KeyVerdict {
  const say = about('key', patient.key.name);
  const proven = proof ?? listing;
  const accepted = (what: string, evidence: string) => ({ finding: say.ok(what, evidence), isAccepted: true });
  const { answer } = proven;
  if (isOk(answer) && (proof !== null || models !== null)) {
    const status = statusIn(answer);
    if (status === null || status === 'active') return accepted('the provider accepts it', `GET ${proven.path}: 200`);
    const cure = 'settle it with the provider (its owner or billing contact)';
    return { finding: say.problem(`the organisation is ${status}`, `GET ${proven.path}`, cure), isAccepted: false };
  }
  const outcome = outcomeOf(answer, patient, redact);
  const isRefused = outcome.tag === 'key_retired' || outcome.tag === 'org_retired';
  if (proof !== null && models !== null && !isRefused) {
    const seen = `GET ${proven.path}: ${evidenceOf(answer, outcome)}`;
    const cure = 'try it with --send; a proxy should let that path through';
    return { finding: say.warning('nothing proves that the key works', seen, cure), isAccepted: true };
  }
  return { finding: findingOf('key', answer, outcome, patient), isAccepted: false };
}

function isOk(answer: Answer): boolean {
  return answer.tag === 'http' && answer.status === 200;
}

/** Curate-Me's `/v1/admin/me` tells the organisation's. */
function statusIn(answer: Answer): string | null {
  const json = answer.tag === 'http' ? parseJson(answer.body) : null;
  if (typeof json !== 'object' || json === null || !('status' in json)) return null;
  return typeof json.status === 'string' ? json.status : null;
}

function headersOf({ answer }: Timed): Record<string, string> {
  return answer.tag === 'http' ? answer.headers : {};
}

/** The provider's own word about the same trouble, a moment ago, makes the memory of it superfluous. */
function standingUnlessSaid(
  patient: Patient,
  memory: Memory,
  findings: readonly Finding[],
  isWell: boolean,
): Finding[] {
  return checkStanding(patient, memory, isWell).filter(
    ({ check }) => !findings.some((said) => said.check === check && said.level === 'problem'),
  );
}

function withBudget(patient: Patient, findings: Finding[], isSent: boolean): Finding[] {
  if (findings.some(({ check }) => check === 'budget')) return findings;
  const how = isSent ? null : 'this provider tells only when a completion is refused; --send tries one';
  return [...findings, about('budget', patient.key.name).ok('nothing is known against its budget', how)];
}
