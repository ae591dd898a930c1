/**
 * The processes of the benchmark: started, watched through /proc, spoken to, and gone when the benchmark is, whatever
 * ends it. A small shell holds a pipe of ours and the list of what runs; at the pipe's end it kills what is left.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

export type Usage = {
  /** User and system time since the start, of all threads. */
  cpuMicros: number;
  rssBytes: number;
  peakRssBytes: number;
};

export type Child = AsyncDisposable & {
  pid: number;
  /** Null once it has ended. */
  usage: () => Usage | null;
  /** What it has printed. */
  stdout: () => string;
  stderr: () => string;
  /** Resolves with the exit code, or the signal's name. */
  ended: Promise<number | string>;
  send: (message: object) => void;
  /** The next message of this type; fails when the process ends before it. */
  until: <T extends object>(type: string) => Promise<T>;
  /** Resolves once it has printed this; fails when it ends first. */
  untilPrinted: (pattern: RegExp) => Promise<void>;
  /** SIGTERM, and waits for the end. */
  stop: () => Promise<void>;
};

const reaperScript = `
all=" "
while read -r sign pid; do
  case "$sign" in
    +) all="$all$pid " ;;
    -) all="\${all%% $pid *} \${all#* $pid }" ;;
  esac
done
for pid in $all; do kill -KILL "$pid" 2>/dev/null; done
`;

let reaper: ChildProcess | null = null;

function tellReaper(line: string): void {
  if (!reaper) {
    reaper = spawn('sh', ['-c', reaperScript], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    reaper.stdin?.on('error', () => {});
    (reaper.stdin as unknown as { unref?: () => void }).unref?.();
    reaper.unref();
  }
  reaper.stdin?.write(`${line}\n`);
}

/** Runs `node <args>`. */
export function startNode(args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Child {
  return startProgram(process.execPath, args, { ...options, ipc: true });
}

export function startProgram(
  program: string,
  args: string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; ipc?: boolean } = {},
): Child {
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', ...(options.ipc ? (['ipc'] as const) : [])],
  });
  const pid = child.pid ?? 0;
  if (pid > 0) tellReaper(`+ ${pid}`);
  const what = [program, ...args].join(' ');
  let stdout = '';
  let stderr = '';
  const news = new EventTarget();
  const announce = () => news.dispatchEvent(new Event('news'));
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    announce();
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    announce();
  });
  const messages: { type: string }[] = [];
  child.on('message', (message) => {
    messages.push(message as { type: string });
    announce();
  });
  let isRunning = true;
  const ended = (async () => {
    const end = once(child, 'close').catch((error: unknown) => [null, String(error)]);
    const [code, signal] = (await end) as [number | null, string | null];
    isRunning = false;
    tellReaper(`- ${pid}`);
    announce();
    return code ?? signal ?? 'unknown';
  })();
  const untilNews = async <T>(look: () => T | undefined, wanted: string): Promise<T> => {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (!isRunning) throw new Error(`${what} ended before ${wanted}; it said:\n${stdout}${stderr}`);
      await once(news, 'news');
    }
  };
  const stop = async () => {
    if (isRunning) child.kill('SIGTERM');
    await ended;
  };
  return {
    pid,
    usage: () => (isRunning ? readUsage(pid) : null),
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    send: (message) => void child.send?.(message),
    until: <T extends object>(type: string) =>
      untilNews(() => {
        const at = messages.findIndex((message) => message.type === type);
        return at === -1 ? undefined : (messages.splice(at, 1)[0] as unknown as T);
      }, `it sent "${type}"`),
    async untilPrinted(pattern) {
      await untilNews(() => (pattern.test(stdout + stderr) ? true : undefined), `it printed ${pattern}`);
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Linux counts a process' time in hundredths of a second here, whatever the kernel's own tick. */
const microsPerTick = 10_000;

/** Null when there is no such process any more. */
export function readUsage(pid: number): Usage | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const cpuMicros = (Number(fields[11]) + Number(fields[12])) * microsPerTick;
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const bytes = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
    const rssBytes = bytes('VmRSS');
    return rssBytes === 0 ? null : { cpuMicros, rssBytes, peakRssBytes: bytes('VmHWM') };
  } catch {
    return null;
  }
}

/** Keeps the latest reading of processes that may end at any moment. */
export function watchUsage(children: Record<string, Child>, everyMs = 100) {
  const latest: Record<string, Usage> = {};
  const look = () => {
    for (const [name, child] of Object.entries(children)) {
      const usage = child.usage();
      if (usage) latest[name] = usage;
    }
  };
  const timer = setInterval(look, everyMs);
  look();
  return {
    look(): Record<string, Usage> {
      look();
      return structuredClone(latest);
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
