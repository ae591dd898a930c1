/**
 * One streamed call, watched as it arrives: how its events are spread over time. A proxy that buffers a stream hands it
 * on whole, at the end, which looks like a model that thinks long and then writes in an instant.
 */
import { Agent, request } from 'undici';
import { messageOf } from '../errors.ts';
import type { Answer } from '../provider/answer.ts';
import type { Sender } from '../provider/client.ts';
import { profileOf } from '../provider/profile.ts';

export type StreamTiming = {
  answer: Answer;
  isEventStream: boolean;
  /** `data:` lines. */
  events: number;
  /** Pieces in which they came off the wire. */
  pieces: number;
  /** From sending to the first and to the last piece. */
  firstMs: number;
  lastMs: number;
};

export type Arrival = 'spread' | 'buffered' | 'too_quick_to_tell';

/** A stream over sooner than this may well have been sent in one piece. */
const shortestTellingMs = 250;
const fewestTellingEvents = 5;
/** All within this part of the whole time is all at once. */
const atOncePart = 0.1;
const largestBodyChars = 1024 * 1024;

export function arrivalOf({ events, pieces, firstMs, lastMs }: StreamTiming): Arrival {
  if (events < fewestTellingEvents) return 'too_quick_to_tell';
  const isAtOnce = lastMs - firstMs <= lastMs * atOncePart && pieces * 3 <= events;
  if (!isAtOnce) return 'spread';
  return lastMs < shortestTellingMs ? 'too_quick_to_tell' : 'buffered';
}

export async function timeStream(sender: Sender, body: string, timeoutMs: number): Promise<StreamTiming> {
  const profile = profileOf(sender.provider.kind);
  const agent = new Agent({ connections: 1, headersTimeout: 0, bodyTimeout: 0 });
  const timing: StreamTiming = {
    answer: { tag: 'failure', code: 'timeout', message: `no whole answer within ${timeoutMs} ms`, durationMs: 0 },
    isEventStream: false,
    events: 0,
    pieces: 0,
    firstMs: 0,
    lastMs: 0,
  };
  const sentAt = performance.now();
  const sinceSent = () => Math.round(performance.now() - sentAt);
  try {
    const response = await request(new URL(sender.provider.baseUrl + profile.chatPath), {
      method: 'POST',
      headers: {
        ...profile.authHeaders(sender),
        'content-type': 'application/json',
        accept: 'text/event-stream',
      },
      body,
      dispatcher: agent,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const headers = Object.fromEntries(
      Object.entries(response.headers).map(([name, value]) => [name, [value].flat().join(', ')]),
    );
    timing.isEventStream = headers['content-type']?.startsWith('text/event-stream') ?? false;
    let text = '';
    for await (const piece of response.body as AsyncIterable<Buffer>) {
      timing.pieces += 1;
      timing.lastMs = sinceSent();
      if (timing.pieces === 1) timing.firstMs = timing.lastMs;
      if (text.length < largestBodyChars) text += piece.toString();
    }
    timing.events = text.match(/^data:/gm)?.length ?? 0;
    timing.answer = { tag: 'http', status: response.statusCode, headers, body: text, durationMs: sinceSent() };
  } catch (error) {
    const isLate = error instanceof Error && error.name === 'TimeoutError';
    const code = isLate ? 'timeout' : timing.pieces > 0 ? 'cut' : 'connect';
    timing.answer = { tag: 'failure', code, message: messageOf(error), durationMs: sinceSent() };
  } finally {
    await agent.destroy();
  }
  return timing;
}
