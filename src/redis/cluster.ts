/**
 * A Cluster, for a program whose keys all lie in one slot (names.ts). ioredis sends commands without a key (TIME, INFO,
 * CONFIG) to any node; here they go to the one that has the keys, so that the clock is the scripts' own and what is
 * found out about a server is about the one that matters. Its end is mended as in single.ts.
 */
import { Cluster, type ClusterNode, type ClusterOptions } from 'ioredis';

type Sent = Parameters<Cluster['sendCommand']>[0];

export class OneSlotCluster extends Cluster {
  readonly #nodes: ClusterNode[];
  #slot: number | null = null;

  constructor(nodes: ClusterNode[], options: ClusterOptions & { redisOptions: object }) {
    super(nodes, options as ClusterOptions & { redisOptions: { replyMapping?: 'legacy' } });
    this.#nodes = nodes;
  }

  override sendCommand(...args: Parameters<Cluster['sendCommand']>): unknown {
    const [command] = args;
    const slot = command.getSlot();
    if (slot !== null) this.#slot = slot;
    else if (this.#slot !== null && !isAboutCluster(command)) {
      const ours = this.#slot;
      command.getSlot = () => ours;
    }
    return super.sendCommand(...args);
  }

  override disconnect(reconnect = false): void {
    const isBetweenAttempts = this.status === 'reconnecting' && !reconnect;
    super.disconnect(reconnect);
    if (!isBetweenAttempts) return;
    this.connect().catch(() => {});
    super.disconnect();
  }

  override duplicate(_: ClusterNode[] = [], override: ClusterOptions = {}): never {
    const { redisOptions, ...options } = { ...this.options, ...override };
    return new OneSlotCluster(this.#nodes, { ...options, redisOptions: { ...redisOptions } }) as never;
  }
}

/** Any node may be asked, and a node that is gone must not be waited for. */
function isAboutCluster({ name }: Sent): boolean {
  return name.toLowerCase() === 'cluster';
}
