/**
 * The circuit: what a run of failures says about a provider as a whole. A pure state machine per provider and process.
 *
 *   closed ── `failuresToOpen` failures in a row ──► open ── pause over ──► one trial ── success ──► closed
 *                                                      ▲                        │
 *                                                      └── failure: pause × 2 ──┘
 *
 * While it is open, nothing is sent but the trials, so an outage costs a few attempts, not five of every line. If
 * nothing has succeeded for `giveUpAfterMs`, the batch pauses with the cause. That verdict goes stale when nobody has
 * asked for a while: who resumes later, in the same process, begins with a trial and not with yesterday's verdict.
 */

export type Circuit = {
  /** May a call go out now? Otherwise ask again after the ms given. A `go` while open is the one trial. */
  ask: (nowMs: number) => { tag: 'go' } | { tag: 'wait'; waitMs: number } | { tag: 'give_up'; cause: string };
  succeeded: () => void;
  failed: (nowMs: number, cause: string) => void;
  /** A trial that was never sent, or said nothing about the provider. */
  undecided: () => void;
  /** Would `ask` say `give_up`? Asks for nothing. */
  hasGivenUp: (nowMs: number) => boolean;
};

export type CircuitEvents = { onOpen: (cause: string) => void; onClose: () => void };

export type CircuitRules = {
  failuresToOpen: number;
  firstPauseMs: number;
  longestPauseMs: number;
  giveUpAfterMs: number;
};

export const defaultCircuitRules: CircuitRules = {
  // More than a bad minute of scattered 5xx brings about in a row; few enough that an outage burns little.
  failuresToOpen: 12,
  firstPauseMs: 1000,
  longestPauseMs: 30_000,
  giveUpAfterMs: 600_000,
};

export function createCircuit(rules: CircuitRules = defaultCircuitRules, events?: CircuitEvents): Circuit {
  let failuresInRow = 0;
  let failingSinceMs = 0;
  let pauseMs = rules.firstPauseMs;
  let opensAtMs = 0;
  let trial = false;
  let lastCause = '';
  /** When somebody last waited, tried or failed. */
  let lastSignMs = 0;
  /** While there is work, somebody asks at least every `longestPauseMs`. */
  const wasIdle = (nowMs: number) => nowMs - lastSignMs > 2 * rules.longestPauseMs;

  return {
    ask(nowMs) {
      if (failuresInRow < rules.failuresToOpen) return { tag: 'go' };
      if (wasIdle(nowMs)) {
        failingSinceMs = nowMs;
        pauseMs = rules.firstPauseMs;
        trial = false;
      }
      if (nowMs - failingSinceMs >= rules.giveUpAfterMs) return { tag: 'give_up', cause: lastCause };
      lastSignMs = nowMs;
      if (trial) return { tag: 'wait', waitMs: rules.firstPauseMs };
      if (nowMs < opensAtMs) return { tag: 'wait', waitMs: opensAtMs - nowMs };
      trial = true;
      return { tag: 'go' };
    },
    succeeded() {
      const wasOpen = failuresInRow >= rules.failuresToOpen;
      failuresInRow = 0;
      pauseMs = rules.firstPauseMs;
      trial = false;
      if (wasOpen) events?.onClose();
    },
    failed(nowMs, cause) {
      if (failuresInRow === 0 || (failuresInRow < rules.failuresToOpen && wasIdle(nowMs))) failingSinceMs = nowMs;
      failuresInRow += 1;
      lastCause = cause;
      lastSignMs = nowMs;
      if (failuresInRow < rules.failuresToOpen) return;
      // Calls that were out when it opened fail too; only the opening one and trials lengthen the pause.
      if (trial) pauseMs = Math.min(rules.longestPauseMs, pauseMs * 2);
      if (trial || failuresInRow === rules.failuresToOpen) opensAtMs = nowMs + pauseMs;
      trial = false;
      if (failuresInRow === rules.failuresToOpen) events?.onOpen(cause);
    },
    undecided() {
      trial = false;
    },
    hasGivenUp(nowMs) {
      const isOpen = failuresInRow >= rules.failuresToOpen && !wasIdle(nowMs);
      return isOpen && nowMs - failingSinceMs >= rules.giveUpAfterMs;
    },
  };
}
