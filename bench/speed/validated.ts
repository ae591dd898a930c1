/** Preloaded into nightshift: tells the benchmark when the input has been validated. */
import { subscribe } from 'node:diagnostics_channel';
import { validatedChannel } from '../../src/batch/validate.ts';

subscribe(validatedChannel, () => {
  process.send?.({ type: 'validated', atMs: performance.timeOrigin + performance.now() });
});
