/**
 * The doctor: walks what the providers' troubleshooting pages name, for every key, and what nightshift itself needs.
 * Nothing that goes wrong on the way is an error; it is a finding, and the rest is examined all the same. It spends
 * nothing unless `send` is set.
 *
 *   configuration ─► form of each key ─► ask each key ─► base URL ─► key, models, aliases, budget, limits ─► completion
 *   machine · Redis ────────────────────────────────────────────────► what Redis remembers ──┘
 */
import type { Config, ConfigOptions } from '../config.ts';
import { messageOf } from '../errors.ts';
import { createKeyring } from '../keys/keyring.ts';
import type { Log } from '../log.ts';
import { createClient, type Client } from '../provider/client.ts';
import { openRedis, type RedisHandle } from '../redis/connect.ts';
import { createNames } from '../redis/names.ts';
import { askKey, type Asked } from './asking.ts';
import { checkBaseUrl } from './base-url.ts';
import { checkClock, skewOf } from './clock.ts';
import { readConfiguration } from './configuration.ts';
import { cleaned, type Finding } from './finding.ts';
import { checkForms, type Forms } from './key-form.ts';
import { examineKey, recall } from './key.ts';
import { checkDisk, checkLedger, checkNode } from './machine.ts';
import type { Memory } from './memory.ts';
import { checkRedis, redisProblem } from './redis.ts';

export type DoctorOptions = {
  /** Where the configuration comes from. */
  from?: ConfigOptions;
  /** Whether each key may send two tiny completions, which cost money. */
  send?: boolean;
  log: Log;
  /** How long an absent Redis is waited for. */
  redisGiveUpAfterMs?: number | undefined;
};

/** `ok`: there is no problem; there may be warnings. */
export type DoctorReport = { ok: boolean; findings: Finding[] };

const mostConnections = 16;
/** A tiny completion that takes longer is in trouble. */
const longestSendMs = 60_000;
/** A Redis that goes away while it is looked at is a finding. */
const redisPatienceMs = 10_000;

export async function examine(options: DoctorOptions): Promise<DoctorReport> {
  const { config, findings: configuration } = readConfiguration(options.from ?? {});
  if (config === null) {
    const { redact } = createKeyring({ keys: [], providers: {} });
    return reportOf([...configuration, checkNode()], redact);
  }
  const forms = checkForms(config);
  const machine = [checkNode(), ...checkDisk(config.dataDir), checkLedger(config.dataDir)];
  const timeoutMs = Math.min(config.attemptTimeoutMs, longestSendMs);
  const client = createClient({ connections: mostConnections, attemptTimeoutMs: timeoutMs });
  try {
    const [asked, redis] = await Promise.all([
      Promise.all(forms.patients.map((patient) => askKey(client, patient))),
      examineRedis(config, forms, options),
    ]);
    const world = { client, config, forms, memories: redis.memories, send: options.send ?? false, timeoutMs };
    const providers = await examineProviders(asked, world);
    return reportOf([...configuration, ...forms.findings, ...providers, ...redis.findings, ...machine], forms.redact);
  } finally {
    await client.close();
  }
}

function reportOf(findings: readonly Finding[], redact: (text: string) => string): DoctorReport {
  return {
    ok: findings.every(({ level }) => level !== 'problem'),
    findings: findings.map((finding) => cleaned(finding, redact)),
  };
}

type Remembered = { findings: Finding[]; memories: ReadonlyMap<string, Memory> };

async function examineRedis(config: Config, forms: Forms, options: DoctorOptions): Promise<Remembered> {
  let redis: RedisHandle;
  try {
    redis = await openRedis({
      url: config.redisUrl,
      dataDir: config.dataDir,
      log: options.log,
      giveUpAfterMs: options.redisGiveUpAfterMs,
      patienceMs: redisPatienceMs,
    });
  } catch (error) {
    return { findings: [redisProblem(error)], memories: new Map() };
  }
  try {
    const findings = await checkRedis(redis.client, redis.describe());
    const names = createNames(config.namespace);
    return { findings, memories: await recall(redis.client, names, forms.patients) };
  } catch (error) {
    return { findings: [redisProblem(error)], memories: new Map() };
  } finally {
    await redis.close().catch((error: unknown) => options.log.debug(messageOf(error)));
  }
}

type World = {
  client: Client;
  config: Config;
  forms: Forms;
  memories: ReadonlyMap<string, Memory>;
  send: boolean;
  timeoutMs: number;
};

async function examineProviders(asked: readonly Asked[], world: World): Promise<Finding[]> {
  const byProvider = Map.groupBy(asked, ({ patient }) => patient.key.provider);
  const parts = [...byProvider].map(async ([provider, ofProvider]) => {
    const { findings, isApi } = await checkBaseUrl(world.client, ofProvider, world.forms.redact);
    const skews = ofProvider.map(({ listing }) => skewOf(listing)).filter((skew) => skew !== null);
    const [skew] = skews.toSorted((a, b) => Math.abs(a) - Math.abs(b));
    const clock = skew === undefined || !isApi ? [] : [checkClock(provider.baseUrl, skew)];
    const keys = await Promise.all(ofProvider.map((each) => examineKey(each, { ...world, isApi })));
    return [...findings, ...clock, ...keys.flat()];
  });
  return (await Promise.all(parts)).flat();
}
