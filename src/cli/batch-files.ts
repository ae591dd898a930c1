/** `--name` and `--out`: how a batch's files are called and where they go. */
import { InvalidArgumentError } from 'commander';
import type { InputFile } from '../batch/input.ts';
import { AppError } from '../errors.ts';

/** File systems take 255; what is put before and behind a name has up to 32. */
const longestNameBytes = 200;

/** One file name, not a path: `../tonight` would write beside `--out`. */
export function parseName(text: string): string {
  if (text === '') throw new InvalidArgumentError('expected a name such as tonight, got nothing: is a variable unset?');
  if (text === '.' || text === '..' || /[/\\]/.test(text)) {
    throw new InvalidArgumentError('expected a name without / and \\, such as tonight; the directory goes into --out');
  }
  if (isTooLong(text)) throw new InvalidArgumentError(`expected a name of at most ${longestNameBytes} bytes`);
  return text;
}

export function parseDirectory(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('expected a directory (. is this one), got nothing: is a variable unset?');
}

/** Errors: `usage`, where the input's name is too long. */
export function nameOfBatch(given: string | undefined, input: InputFile): string {
  const name = given ?? input.name;
  if (!isTooLong(name)) return name;
  throw new AppError(
    'usage',
    `${input.source}: its name is too long for a batch (at most ${longestNameBytes} bytes); give another with --name`,
  );
}

function isTooLong(name: string): boolean {
  return Buffer.byteLength(name) > longestNameBytes;
}
