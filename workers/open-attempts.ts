/**
 * The attempts that this process has under way, from before their slot is asked for until their call is settled. An
 * intent of ours that belongs to none of them was left behind by an error: nobody will settle it, and as long as we live
 * everybody else would wait for us to do so. It is given up as a dead worker's would be.
 */
import type { Intent } from '../src/keys/intent.ts';

export type OpenAttempts = {
  /** Does the work of an attempt, which is open all the while. */
  during: <Result>(attemptId: string, work: () => Promise<Result>) => Promise<Result>;
  /** Has this process left that call behind? */
  hasLost: (intent: Pick<Intent, 'workerId' | 'attemptId'>) => boolean;
  /** Whether an attempt has ended with an error since this was asked last; true when its intent is to be looked for. */
  takeLosses: () => boolean;
  /** The looking was in vain: it is to be done again. */
  lookAgain: () => void;
};

export function createOpenAttempts(workerId: string): OpenAttempts {
  const open = new Set<string>();
  let mayHaveLost = false;
  return {
    async during(attemptId, work) {
      open.add(attemptId);
      try {
        return await work();
      } catch (error) {
        mayHaveLost = true;
        throw error;
      } finally {
        open.delete(attemptId);
      }
    },
    hasLost: (intent) => intent.workerId === workerId && !open.has(intent.attemptId),
    takeLosses() {
      const hadLosses = mayHaveLost;
      mayHaveLost = false;
      return hadLosses;
    },
    lookAgain: () => void (mayHaveLost = true),
  };
}
