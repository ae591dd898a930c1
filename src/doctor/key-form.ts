/**
 * The form of each key by itself: half a token, spaces, another provider's prefix, the same key twice. A key whose form
 * is wrong is not sent anywhere; the good ones go on, with everything that knows how to keep their secrets out of sight.
 */
import type { Config, KeyConfig, ProviderKind } from '../config.ts';
import { createKeyring, type Key } from '../keys/keyring.ts';
import { profileOf } from '../provider/profile.ts';
import { about, type Finding } from './finding.ts';

/** A key that may be asked about, and the variable that holds it, for cures. */
export type Patient = { key: Key; secretFrom: string };

export type Forms = {
  patients: Patient[];
  findings: Finding[];
  /** Knows the secrets of the malformed keys too. */
  redact: (text: string) => string;
};

const cures: Record<ProviderKind, (variable: string) => string> = {
  privatemind: (variable) =>
    `copy the whole token, <access_key_id>:<secret> with the colon, from Settings → API Keys into ${variable}`,
  'curate-me': (variable) => `set ${variable} to the gateway key: it starts with cm_sk_ and holds no spaces`,
  openai: (variable) => `set ${variable} to the key alone, without quotes, spaces or line breaks`,
};

export function checkForms(config: Config): Forms {
  const good: KeyConfig[] = [];
  const bad: KeyConfig[] = [];
  const findings: Finding[] = [];
  const owners = new Map<string, string>();
  for (const key of config.keys) {
    const provider = config.providers[key.provider];
    if (!provider) continue;
    const fault = faultOf(key, provider.kind);
    const twin = owners.get(key.secret);
    const say = about('key', key.name);
    if (fault) findings.push(say.problem(fault.what, fault.evidence, cures[provider.kind](key.secretFrom)));
    else if (twin !== undefined) {
      const cure = `put another key into ${key.secretFrom}, or take "${key.name}" out: one key has one limit`;
      findings.push(say.problem('the key is there twice', `it holds the same secret as "${twin}"`, cure));
    } else owners.set(key.secret, key.name);
    (fault || twin !== undefined ? bad : good).push(key);
  }
  const keyring = createKeyring({ keys: good, providers: config.providers });
  const sources = new Map(good.map(({ name, secretFrom }) => [name, secretFrom]));
  return {
    patients: keyring.keys.map((key) => ({ key, secretFrom: sources.get(key.name) ?? '' })),
    findings,
    redact: (text) => hideMalformed(keyring.redact(text), bad),
  };
}

function faultOf(key: KeyConfig, kind: ProviderKind): { what: string; evidence: string } | null {
  const { secret, upstreamSecret } = key;
  const evidence = profileOf(kind).secretProblem(secret);
  if (evidence !== null) return { what: nameFault(secret, kind), evidence };
  const cannotBeSent = [secret, upstreamSecret ?? ''].some((text) => /[^\x21-\x7e]|^["'`]|["'`]$/.test(text));
  if (!cannotBeSent) return null;
  return {
    what: 'the key cannot be put into a header',
    evidence: 'it holds quotes, spaces or characters outside ASCII',
  };
}

function nameFault(secret: string, kind: ProviderKind): string {
  if (/\s/.test(secret)) return 'the key holds spaces or line breaks';
  const prefix = { privatemind: 'PMIND', 'curate-me': 'cm_sk_', openai: '' }[kind];
  if (kind === 'privatemind' && !secret.includes(':')) return 'half a token';
  return secret.startsWith(prefix) ? 'the key is not whole' : 'the key has the wrong prefix';
}

/** Shorter ones could be ordinary words, and tell little. */
const shortestHidden = 8;

function hideMalformed(text: string, keys: readonly KeyConfig[]): string {
  let clean = text;
  for (const { name, secret, upstreamSecret } of keys) {
    const parts = [secret, upstreamSecret ?? '', ...secret.split(/[\s:]+/)];
    for (const part of parts) if (part.length >= shortestHidden) clean = clean.replaceAll(part, `[key ${name}]`);
  }
  return clean;
}
