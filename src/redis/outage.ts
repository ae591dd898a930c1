/**
 * When Redis is away, and when it is back. Of one server the client's connection tells. A Cluster's client keeps its
 * connections to other nodes while ours is gone, so the Cluster itself is asked whether it is whole.
 */
import type { Cluster } from 'ioredis';
import { messageOf, systemErrorCode } from '../errors.ts';
import type { Redis } from './client.ts';

export type OutageEvents = {
  /** Once for every failed attempt, too. */
  onAway: (cause: string) => void;
  onBack: () => void;
};

export type WatchOutage = (events: OutageEvents) => Disposable;

const clusterLookEveryMs = 1_000;

export function watchConnection(client: Redis): WatchOutage {
  return ({ onAway, onBack }) => {
    let lastError = '';
    // An error of several addresses (localhost) has a code and no message.
    const onError = (error: Error) => (lastError = messageOf(error) || systemErrorCode(error) || error.name);
    // A server that is killed ends its connections without an error.
    const onClose = () => onAway(lastError || 'it closed the connection');
    const onReady = () => {
      lastError = '';
      onBack();
    };
    // Sentinels that do not answer are an error without an end of a connection.
    client.on('error', onError).on('close', onClose).on('ready', onReady);
    return {
      [Symbol.dispose]: () => void client.off('error', onError).off('close', onClose).off('ready', onReady),
    };
  };
}

export function watchCluster(client: Cluster): WatchOutage {
  return ({ onAway, onBack }) => {
    let isAsking = false;
    const look = async () => {
      if (client.status !== 'ready') return onAway(client.status);
      // Still no answer to the last question.
      if (isAsking) return onAway('no answer');
      isAsking = true;
      try {
        const info = await client.cluster('INFO');
        if (/^cluster_state:(?!ok)/m.test(info)) onAway('cluster_state:fail');
        else onBack();
      } catch (error) {
        onAway(messageOf(error));
      } finally {
        isAsking = false;
      }
    };
    const timer = setInterval(() => void look(), clusterLookEveryMs);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  };
}
