import type { Server } from './servers.ts';

/** The least rights that a user of nightshift needs, as the README has them, for the namespace `nightshift`. */
export const leastRights =
  'resetkeys ~{nightshift}:* resetchannels -@all +@read +@write +@connection +@transaction -@dangerous +eval +evalsha +time +info +config|get'.split(
    ' ',
  );

/** Of a Cluster, on each node: its client asks which node has which keys. */
export const leastRightsInCluster = [...leastRights, '+cluster|slots', '+cluster|info'];

/** What users were refused; logins are not counted. */
export async function deniedIn(server: Server): Promise<string[]> {
  const log = (await server.ask('ACL', 'LOG')) as string[][];
  return log
    .map((entry) => new Map(Array.from({ length: entry.length / 2 }, (_, at) => [entry[at * 2], entry[at * 2 + 1]])))
    .filter((entry) => entry.get('reason') !== 'auth')
    .map((entry) => `${entry.get('username')}: ${entry.get('reason')} ${entry.get('object')}`);
}
