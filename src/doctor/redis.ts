/**
 * The Redis, as nightshift needs it: reachable, new enough, a primary, never evicting, with an append-only file that it
 * can write, and with memory left. Nothing is written; the server tells all this itself.
 */
import { serversOf, type Redis } from '../redis/client.ts';
import { AppError, messageOf } from '../errors.ts';
import { judge, oldestVersion, parseInfo, readFacts, type ServerFacts } from '../redis/checks.ts';
import { explainRedisError } from '../redis/trouble.ts';
import { redisTimeMs } from '../redis/time.ts';
import { checkClock } from './clock.ts';
import { about, type Finding } from './finding.ts';

const say = about('redis', 'redis');
const nearlyFullPart = 0.9;

/** `shown`: the server without its password. Of a Cluster each primary is looked at, of Sentinels the primary. */
export async function checkRedis(client: Redis, shown: string): Promise<Finding[]> {
  const servers = serversOf(client);
  if (servers.length === 0)
    return [say.problem('the Cluster has no primary', shown, 'look at: redis-cli CLUSTER NODES')];
  const each = await Promise.all(servers.map(({ server, address }) => checkServer(server, shown, address)));
  const findings = unite(each);
  try {
    const before = Date.now();
    const theirs = await redisTimeMs(client);
    findings.push(checkClock('redis', theirs - (before + Date.now()) / 2));
  } catch (error) {
    findings.push(redisProblem(error));
  }
  return findings;
}

/** `address`: of a Cluster's node. */
async function checkServer(server: Redis, shown: string, address: string | null): Promise<Finding[]> {
  try {
    const info = await server.info();
    const facts = readFacts(info, await askSetting(server, 'maxmemory-policy'));
    const fields = parseInfo(info);
    const ofServer = judgeServer(facts, shown, address !== null);
    const findings = [...ofServer, ...judgeMemory(fields), ...judgeWrites(fields)];
    if (address === null) return findings;
    return findings.map((finding) => ({ ...finding, evidence: `node ${address}: ${finding.evidence ?? ''}` }));
  } catch (error) {
    return [redisProblem(error)];
  }
}

/** What is well on every node is said once. */
function unite(each: readonly Finding[][]): Finding[] {
  const [first = [], ...others] = each;
  if (others.length === 0) return [...first];
  const all = each.flat();
  const isWell = (what: string) => all.every((finding) => finding.what !== what || finding.level === 'ok');
  const well = first.filter(({ level, what }) => level === 'ok' && isWell(what));
  return [
    ...well.map((finding) => ({ ...finding, evidence: `all ${each.length} primaries of the Cluster` })),
    ...all.filter(({ level }) => level !== 'ok'),
  ];
}

/** Of what came when it was opened or asked: the cause, and the cure behind its first semicolon. */
export function redisProblem(error: unknown): Finding {
  const known = error instanceof AppError ? error : explainRedisError(error);
  const [evidence = '', ...cure] = (known?.message ?? messageOf(error)).split('; ');
  const usual = 'start it, or correct the URL (REDIS_URL, --redis); without a URL nightshift starts its own';
  return say.problem('Redis cannot be used', evidence, cure.length > 0 ? cure.join('; ') : usual);
}

async function askSetting(client: Redis, name: string): Promise<string | null> {
  try {
    const reply: unknown = await client.config('GET', name);
    return Array.isArray(reply) && typeof reply[1] === 'string' ? reply[1] : null;
  } catch {
    return null;
  }
}

/** Each aspect is judged by itself, as if all the others were sound: one fault must not hide another. */
export function judgeServer(facts: ServerFacts, shown: string, isClusterClient = false): Finding[] {
  const sound: ServerFacts = {
    ...facts,
    redisVersion: `${oldestVersion}.0`,
    mode: 'standalone',
    isReadOnlyReplica: false,
    isAppendOnly: true,
    isAppendHealthy: true,
    evictionPolicy: 'noeviction',
  };
  const { redisVersion, mode, isReadOnlyReplica, isAppendOnly, isAppendHealthy, evictionPolicy } = facts;
  const aspects: [string, Partial<ServerFacts>, string][] = [
    ['its version is too old', { redisVersion }, `${facts.product} ${facts.version} answers at ${shown}`],
    ['it is reached in the wrong way', { mode }, 'its URL is of the right kind'],
    ['it is a replica', { isReadOnlyReplica }, 'it is a primary'],
    ['it may throw data away', { evictionPolicy }, `its eviction policy is ${evictionPolicy}`],
    ['it may forget', { isAppendOnly, isAppendHealthy }, 'it keeps an append-only file'],
  ];
  return aspects.map(([fault, aspect, fine]) => {
    const { refusal, warnings } = judge({ ...sound, ...aspect }, isClusterClient);
    const said = refusal ?? warnings.join('; ');
    if (said === '') return say.ok(fine);
    const [evidence = '', ...cure] = said.split('; ');
    const level = refusal === null ? 'warning' : 'problem';
    return say[level](fault, evidence, cure.join('; ') || 'ask whoever runs it');
  });
}

export function judgeMemory(info: ReadonlyMap<string, string>): Finding[] {
  const used = Number(info.get('used_memory') ?? Number.NaN);
  const most = Number(info.get('maxmemory') ?? 0);
  if (!Number.isFinite(used)) return [];
  const evidence = `${inMegabytes(used)} used${most > 0 ? ` of ${inMegabytes(most)}` : ', no maxmemory set'}`;
  const cure = 'raise its maxmemory (redis-cli CONFIG SET maxmemory …), or use a bigger one';
  if (most > 0 && used >= most) return [say.problem('its memory is full: it takes no more writes', evidence, cure)];
  if (most > 0 && used >= most * nearlyFullPart) return [say.warning('its memory is nearly full', evidence, cure)];
  return [say.ok('it has memory left', evidence)];
}

/** What the last attempts to reach its disk came to. */
export function judgeWrites(info: ReadonlyMap<string, string>): Finding[] {
  const failed = ['aof_last_write_status', 'aof_last_bgrewrite_status', 'rdb_last_bgsave_status'].filter(
    (field) => (info.get(field) ?? 'ok') !== 'ok',
  );
  if (failed.length === 0) return [say.ok('its last writes to disk worked')];
  const evidence = failed.map((field) => `${field}: ${info.get(field)}`).join(', ');
  return [say.problem('it cannot write to its disk', evidence, 'free some space there, and look at its log')];
}

function inMegabytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}
