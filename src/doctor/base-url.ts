/**
 * Is the API at the base URL? Read from what the keys of a provider were answered; only where it is not, a few
 * neighbouring URLs of the same host are asked for the model listing, to name the right one.
 */
import { baseUrlVariableOf, type ProviderConfig, type ProviderKind } from '../config.ts';
import { errorOf, parseJson, type Answer } from '../provider/answer.ts';
import type { Client } from '../provider/client.ts';
import { profileOf } from '../provider/profile.ts';
import { get, modelsOf, type Asked } from './asking.ts';
import { about, type Finding } from './finding.ts';
import { evidenceOf, outcomeOf } from './verdict.ts';

export type BaseUrlVerdict = {
  findings: Finding[];
  /** False: nothing that came from there says anything about the keys. */
  isApi: boolean;
};

const usual: Record<ProviderKind, string> = {
  privatemind: 'https://api.privatemind.com',
  'curate-me': 'https://api.curate-me.ai',
  openai: 'https://api.openai.com',
};

/** `asked`: the keys of this provider, at least one. */
export async function checkBaseUrl(
  client: Client,
  asked: readonly Asked[],
  redact: (text: string) => string,
): Promise<BaseUrlVerdict> {
  const best = asked.find(({ models }) => models) ?? asked.find(speaksApi) ?? asked[0];
  if (!best) return { findings: [], isApi: false };
  const { provider } = best.patient.key;
  const say = about('base-url', provider.baseUrl);
  if (best.models || speaksApi(best)) return { findings: [say.ok('the API answers')], isApi: true };
  const { answer, path } = best.listing;
  const seen = `GET ${provider.baseUrl}${path}: ${evidenceOf(answer, outcomeOf(answer, best.patient, redact))}`;
  const { what, cure } = await explain(client, best, answer);
  return { findings: [say.problem(what, seen, cure)], isApi: false };
}

/** An error in the API's own words, or a refusal that a server in front of it would not give. */
function speaksApi({ listing: { answer } }: Asked): boolean {
  if (answer.tag === 'failure') return false;
  const { status } = answer;
  if (status < 400 || status >= 500 || status === 404 || status === 405 || status === 407) return false;
  return status === 401 || status === 402 || status === 429 || errorOf(parseJson(answer.body)) !== null;
}

function settingOf({ name, kind }: ProviderConfig): string {
  const field = `providers.${name}.baseUrl`;
  return name === kind ? `${baseUrlVariableOf(kind)} (or ${field})` : field;
}

type Explanation = { what: string; cure: string };

async function explain(client: Client, asked: Asked, answer: Answer): Promise<Explanation> {
  const { provider } = asked.patient.key;
  const setting = settingOf(provider);
  if (answer.tag === 'failure') {
    return {
      what: 'the provider cannot be reached',
      cure: `check the network, the firewall and the host in ${setting} (usually ${usual[provider.kind]})`,
    };
  }
  const { status, headers } = answer;
  if (status === 407) return { what: 'a proxy on the way wants a password', cure: 'let this machine pass the proxy' };
  if (status === 403) {
    const cure = `let this machine through to ${provider.baseUrl} (firewall, VPN, allowed addresses)`;
    return { what: 'a firewall or proxy before the provider refuses', cure };
  }
  if (status >= 500) {
    const cure = 'try again after a while; if it lasts, see the provider\u2019s status page';
    return { what: 'the provider, or a proxy before it, is in trouble', cure };
  }
  const target = status >= 300 && status < 400 ? URL.parse(headers['location'] ?? '', provider.baseUrl) : null;
  if (target) return redirected(provider, target, setting);
  return (await findNear(client, asked, setting)) ?? elsewhere(provider, answer, setting);
}

function redirected(provider: ProviderConfig, target: URL, setting: string): Explanation {
  const base = (target.origin + target.pathname).replace(/\/v1\/models\/?$/, '').replace(/\/+$/, '');
  const isUpgrade = provider.baseUrl.startsWith('http:') && target.protocol === 'https:';
  return {
    what: isUpgrade ? 'http is redirected to https' : 'the URL is redirected elsewhere',
    cure: `write ${setting} as ${base}: a redirect is not followed, it would carry the key to another place`,
  };
}

function elsewhere(provider: ProviderConfig, answer: Answer & { tag: 'http' }, setting: string): Explanation {
  const { kind, baseUrl } = provider;
  const isPage = /^\s*<(!doctype|html)/i.test(answer.body);
  const hasPath = URL.parse(baseUrl)?.pathname !== '/';
  const why = hasPath ? 'wrong host or path' : 'wrong host';
  return {
    what: isPage ? `${why}: a web site answers, not the API` : `${why}: what answers is not the API`,
    cure: `correct ${setting}: usually ${usual[kind]}, without a path (nightshift adds ${profileOf(kind).modelsPath} and so on)`,
  };
}

/** With the same key, at the same host: it goes nowhere that it has not been. */
async function findNear(client: Client, { patient }: Asked, setting: string): Promise<Explanation | null> {
  const { provider } = patient.key;
  const { modelsPath } = profileOf(provider.kind);
  const { origin, pathname } = new URL(provider.baseUrl);
  const own = pathname.replace(/\/+$/, '');
  const lists = async (base: string, path: string) =>
    modelsOf((await get(client, { ...patient.key, provider: { ...provider, baseUrl: base } }, path)).answer) !== null;

  const cutAtV1 = own.replace(/\/v1(\/.*)?$/, '').replace(/\/(chat\/completions|completions|models|chat)$/, '');
  for (const path of new Set([cutAtV1, '', '/api'])) {
    if (path === own || !(await lists(origin + path, modelsPath))) continue;
    const what = own.endsWith('/v1') ? 'wrong path: /v1 is there twice' : 'wrong path behind the host';
    return { what, cure: `write ${setting} as ${origin}${path}: nightshift adds /v1 and what follows by itself` };
  }
  if (!(await lists(provider.baseUrl, modelsPath.replace(/^\/v1/, '')))) return null;
  return {
    what: 'path without /v1: what answers there has the API, but not under /v1',
    cure: `have the proxy serve it under ${provider.baseUrl}/v1, or write ${setting} as ${usual[provider.kind]}`,
  };
}
