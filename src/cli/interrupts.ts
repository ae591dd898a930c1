/**
 * Ctrl-C and SIGTERM: the first stops in good order, the second ends the calls in flight as well, and the third does
 * not wait for anything (a Redis or a disk that does not answer): the next run goes on as after a crash.
 */

export type Interrupts = { stop: AbortSignal; abort: AbortSignal; close: () => void };

export function createInterrupts(say: (text: string) => void): Interrupts {
  const stop = new AbortController();
  const abort = new AbortController();
  const onSignal = () => {
    if (abort.signal.aborted) process.exit(130);
    if (stop.signal.aborted) {
      say('Ending the calls in flight (once more to leave at once).');
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
