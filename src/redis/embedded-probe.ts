/**
 * One question to the embedded Redis's socket: is it there, is it still reading its file, which process is it?
 * A raw socket, no client: a client would reconnect and queue, and here a "no" is an answer.
 */
import { connect } from 'node:net';

export type ProbeAnswer = {
  /** `absent`: nobody accepts connections there, or no reply came in time. */
  state: 'ready' | 'loading' | 'absent';
  pid: number | null;
};

/** A server that reads a big file answers between two chunks of it; one that is busy with a script is slow too. */
const replyWithinMs = 3_000;
const absent: ProbeAnswer = { state: 'absent', pid: null };

export function probe(socketPath: string): Promise<ProbeAnswer> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    let reply = '';
    const finish = (answer: ProbeAnswer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setEncoding('latin1');
    socket.setTimeout(replyWithinMs, () => finish(absent));
    socket.on('connect', () => socket.write('INFO\r\n'));
    socket.on('error', () => finish(absent));
    socket.on('close', () => finish(absent));
    socket.on('data', (chunk: string) => {
      reply += chunk;
      const answer = parseInfoReply(reply);
      if (answer) finish(answer);
    });
  });
}

/** The answer in a reply to INFO, or null while the reply is not complete. */
export function parseInfoReply(reply: string): ProbeAnswer | null {
  const headEnd = reply.indexOf('\r\n');
  if (headEnd === -1) return null;
  // An error is a sign of life too: BUSY (a long script), or too many clients.
  if (reply.startsWith('-')) return { state: reply.startsWith('-LOADING') ? 'loading' : 'ready', pid: null };
  const sizeBytes = Number(reply.slice(1, headEnd));
  if (reply.length < headEnd + 2 + sizeBytes) return null;
  const pid = /^process_id:(\d+)/m.exec(reply)?.[1];
  return { state: /^loading:1/m.test(reply) ? 'loading' : 'ready', pid: pid === undefined ? null : Number(pid) };
}
