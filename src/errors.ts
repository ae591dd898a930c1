/**
 * Operating errors: things that go wrong although the program is right (a bad file, an absent Redis, an empty wallet).
 * Each carries a message that says what was expected, what came and what to do, and one code that decides the exit
 * code. Answers of a provider are not errors but values (provider/outcome.ts); mistakes of ours crash (node:assert).
 */

export type AppErrorCode =
  | 'usage'
  | 'config'
  | 'input'
  | 'budget'
  | 'credentials'
  | 'provider'
  | 'redis'
  | 'disk'
  | 'interrupted';

/** The contract with scripts that call us (README, "Exit codes"). 1 is "finished, some lines failed": not an error. */
const exitCodes: Record<AppErrorCode, number> = {
  usage: 2,
  config: 2,
  input: 2,
  budget: 3,
  credentials: 4,
  provider: 5,
  redis: 5,
  disk: 5,
  interrupted: 130,
};

export class AppError extends Error {
  readonly code: AppErrorCode;

  constructor(code: AppErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'AppError';
    this.code = code;
  }

  get exitCode(): number {
    return exitCodes[this.code];
  }
}

/** The errno name of a failed system call (`ENOENT`, `EACCES`, `ENOSPC`, …), or undefined for any other error. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
