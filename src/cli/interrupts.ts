/** Ctrl-C and SIGTERM: the first stops in good order, the second ends the calls in flight as well. */

export type Interrupts = { stop: AbortSignal; abort: AbortSignal; close: () => void };

export function createInterrupts(say: (text: string) => void): Interrupts {
  const stop = new AbortController();
  const abort = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) {
      say('Ending the calls in flight.');
      abort.abort();
    } else {
      say('Stopping: calls in flight may end (30 s at most; once more to end them now).');
      stop.abort();
    }
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return {
    stop: stop.signal,
    abort: abort.signal,
    close() {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}
