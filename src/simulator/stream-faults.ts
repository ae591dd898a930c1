/** What goes wrong once a stream has begun: it is cut, it fails, it ends too soon, or it falls silent. */
import type { Fault, StreamErrorShape } from './faults.ts';
import type { Exchange } from './respond.ts';
import { doneFrame, frameOf, type StreamedAnswer } from './stream.ts';
import type { Timers } from './timers.ts';

/** The connection closes between two chunks. */
export function cutStream(fault: Fault, { response }: Exchange, stream: StreamedAnswer): void {
  response.write(beginning(fault, stream), () => response.socket?.destroy());
}

export function endOpen(fault: Fault, { response }: Exchange, stream: StreamedAnswer): void {
  response.end(beginning({ afterChunks: stream.frames.length, ...fault }, stream));
}

export function failInStream(fault: Fault, { response }: Exchange, stream: StreamedAnswer, error: object): void {
  response.end(beginning(fault, stream) + errorFrames(fault.shape ?? 'object', stream.head, error));
}

/** Without `stallMs` nothing more comes, and the connection stays open until the client closes it. */
export function stall(fault: Fault, { response }: Exchange, stream: StreamedAnswer, timers: Timers): void {
  const said = beginning(fault, stream);
  response.write(said);
  if (fault.stallMs === undefined) return;
  timers.after(fault.stallMs, () => {
    if (!response.destroyed) response.end((stream.frames.join('') + stream.ending).slice(said.length));
  });
}

function beginning({ afterChunks }: Pick<Fault, 'afterChunks'>, { frames }: StreamedAnswer): string {
  return frames.slice(0, afterChunks ?? frames.length >> 1).join('');
}

/** `error` is a whole body, `{"error": {…}}`. */
function errorFrames(shape: StreamErrorShape, head: object, error: object): string {
  switch (shape) {
    case 'object':
      return frameOf(error);
    case 'event':
      return `event: error\n${frameOf(error)}`;
    case 'choice':
      return frameOf({ ...head, ...error, choices: [{ index: 0, delta: { content: '' }, finish_reason: 'error' }] });
    case 'flat': {
      const inner = 'error' in error && typeof error.error === 'object' ? error.error : error;
      return frameOf({ object: 'error', ...inner }) + doneFrame;
    }
    case 'text':
      return 'data: upstream connect error or disconnect/reset before headers\n\n';
    case 'bare':
      return `${JSON.stringify(error)}\n\n`;
    default:
      return shape satisfies never;
  }
}
