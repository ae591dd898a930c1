/**
 * How long an answer is worth waiting for. A connection that hangs would hold its line for the whole attempt time-out,
 * minutes in which the model answers everybody else in seconds. So a call is taken for hung once it has lasted several
 * times as long as the slowest of the model's last answers, and is sent again.
 *
 * To be wrong is to pay twice, so it is not believed often: only of requests that ask for no more tokens than those
 * that have been answered; once for each request, the next attempt has the whole time; and never of more than a small
 * share of the calls, since when many are slow it is the provider that is.
 */

export type Patience = {
  /** An answer came after `durationMs` to a request for at most `maxTokens` (null: as many as the model likes). */
  learn: (model: string, maxTokens: number | null, durationMs: number) => void;
  /** Is a call that has lasted for `elapsedMs` hung? A yes is meant: it uses up some of the willingness to say so. */
  isHung: (model: string, maxTokens: number | null, elapsedMs: number) => boolean;
};

/** Fewer answers tell too little of how slow a model can be. */
const fewestAnswers = 100;
/** The slowest is of this many answers at least, and of twice as many at most. */
const answersRemembered = 500;
const timesTheSlowest = 4;
/** Networks and gateways hiccup for seconds however fast a model is. */
const leastMs = 5000;
/** One call in twenty, and a few at once. */
const creditPerAnswer = 0.05;
const mostCredit = 10;

type Seen = { answers: number; slowestMs: number; slowestBeforeMs: number; mostTokens: number; credit: number };

export function createPatience(): Patience {
  const models = new Map<string, Seen>();
  return {
    learn(model, maxTokens, durationMs) {
      let seen = models.get(model);
      if (!seen) models.set(model, (seen = { answers: 0, slowestMs: 0, slowestBeforeMs: 0, mostTokens: 0, credit: 0 }));
      seen.answers += 1;
      // Two halves: what was slow a thousand answers ago is forgotten.
      if (seen.answers % answersRemembered === 0) {
        seen.slowestBeforeMs = seen.slowestMs;
        seen.slowestMs = 0;
      }
      seen.slowestMs = Math.max(seen.slowestMs, durationMs);
      seen.mostTokens = Math.max(seen.mostTokens, maxTokens ?? Number.POSITIVE_INFINITY);
      seen.credit = Math.min(mostCredit, seen.credit + creditPerAnswer);
    },
    isHung(model, maxTokens, elapsedMs) {
      const seen = models.get(model);
      if (!seen || seen.answers < fewestAnswers || seen.credit < 1) return false;
      if ((maxTokens ?? Number.POSITIVE_INFINITY) > seen.mostTokens) return false;
      const slowestMs = Math.max(seen.slowestMs, seen.slowestBeforeMs);
      if (elapsedMs < Math.max(leastMs, timesTheSlowest * slowestMs)) return false;
      seen.credit -= 1;
      return true;
    },
  };
}
