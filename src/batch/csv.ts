/**
 * CSV (RFC 4180) and TSV: reading records with the physical line on which each begins, and writing cells. Reading keeps
 * one block of the file and its records in memory. What is no CSV at all (a quote out of place, other bytes than UTF-8)
 * ends it with the place and the cure: behind such a place nobody knows where a record begins.
 */
import { isUtf8 } from 'node:buffer';
import { CsvError, parse } from 'csv-parse';
import { AppError, messageOf } from '../errors.ts';
import { readBytes, type ByteSource } from './bytes.ts';
import { notUtf8Mark } from './decode.ts';
import { eachLine, longestLineBytes, readChunks } from './lines.ts';

export type CsvRecord = {
  /** 1-based physical line on which it begins. */
  line: number;
  cells: string[];
};

/**
 * Every record, the header among them; lines without a character are none. A value may hold line breaks when it is
 * quoted. Errors: `input` with the line.
 */
export async function* readCsv(file: ByteSource & { delimiter: string }): AsyncGenerator<CsvRecord[]> {
  let records: CsvRecord[] = [];
  const lines = new LineCounter();
  const parser = parse({
    bom: true,
    delimiter: file.delimiter,
    record_delimiter: ['\r\n', '\n', '\r'],
    skip_empty_lines: true,
    relax_column_count: true,
    // In TSV a quote inside a value is a quote: its rules know no other meaning.
    relax_quotes: file.delimiter === '\t',
    max_record_size: longestLineBytes,
    // Taken here and not from the stream, which drops what it holds when an error comes.
    on_record: (cells, { empty_lines: blankLines }) => {
      records.push({ line: lines.next(cells, blankLines), cells });
      return null;
    },
  });
  parser.on('error', () => {});
  try {
    const utf8 = new Utf8Check();
    for await (const block of readBytes(file)) {
      if (!utf8.accepts(block)) throw await notUtf8(file);
      // A copy: the parser looks at the end of one block together with the next.
      const error = await new Promise((resolve) => parser.write(Buffer.from(block), resolve));
      yield records;
      records = [];
      if (error) throw explain(file, error, lines.ahead);
    }
    if (!utf8.isWhole()) throw await notUtf8(file);
    const error = await new Promise((resolve) => parser.end(resolve));
    yield records;
    if (error) throw explain(file, error, lines.ahead);
  } finally {
    parser.destroy();
  }
}

/** Quoted where it must be (RFC 4180, 2.6 and 2.7), and where a space at an end could get lost. */
export function csvCell(text: string, delimiter: string): string {
  const isPlain = !/["\r\n]|^\s|\s$/.test(text) && !text.includes(delimiter);
  return isPlain ? text : `"${text.replaceAll('"', '""')}"`;
}

const candidates = [',', ';', '\t'];

/** The delimiter that the first record of a file has most of; a comma where it has none. */
export function sniffDelimiter(head: Buffer): string {
  const counts = new Map(candidates.map((candidate) => [candidate, 0]));
  let isQuoted = false;
  let isBlank = true;
  for (const character of head.toString('utf8').replace(/^\ufeff/, '')) {
    if (!isQuoted && !isBlank && (character === '\n' || character === '\r')) break;
    if (character === '"') isQuoted = !isQuoted;
    else if (!isQuoted && counts.has(character)) counts.set(character, (counts.get(character) ?? 0) + 1);
    if (character !== '\n' && character !== '\r') isBlank = false;
  }
  return candidates.toSorted((a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0))[0] as string;
}

/** The parser's own count takes a CRLF inside quotes for two lines. */
class LineCounter {
  /** Where the next record begins, but for blank lines before it. */
  ahead = 1;
  #blankLines = 0;

  next(cells: string[], blankLines: number): number {
    const line = this.ahead + blankLines - this.#blankLines;
    this.#blankLines = blankLines;
    this.ahead = line + 1;
    for (const cell of cells) {
      for (let at = cell.indexOf('\n'); at !== -1; at = cell.indexOf('\n', at + 1)) this.ahead += 1;
    }
    return line;
  }
}

/** UTF-8 in blocks that may end inside a character. */
class Utf8Check {
  #open = Buffer.alloc(0);

  accepts(block: Buffer): boolean {
    const bytes = this.#open.length > 0 ? Buffer.concat([this.#open, block]) : block;
    const whole = bytes.length - openBytes(bytes);
    this.#open = Buffer.from(bytes.subarray(whole));
    return isUtf8(bytes.subarray(0, whole));
  }

  isWhole(): boolean {
    return this.#open.length === 0;
  }
}

/** How many bytes at the end begin a character that does not end there. */
function openBytes(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? back : 0;
  }
  return 0;
}

async function notUtf8(file: ByteSource): Promise<AppError> {
  let place = file.source;
  const limits = { fromOffset: 0, fromLine: 1, maxLines: 8192, maxBytes: 256 * 1024 };
  search: for await (const chunk of readChunks(file, limits)) {
    if (!chunk.text.includes(notUtf8Mark)) continue;
    let found = 0;
    eachLine(chunk, (text, line) => {
      if (found === 0 && text.startsWith(notUtf8Mark)) found = line;
    });
    if (found === 0) continue;
    place = `${file.source}:${found}`;
    break search;
  }
  return new AppError(
    'input',
    `${place}: expected UTF-8, got other bytes (Latin-1 or Windows-1252, perhaps); convert the file: ` +
      'iconv -f WINDOWS-1252 -t UTF-8, or in a spreadsheet save it as "CSV UTF-8"',
  );
}

const quoting = 'a value that holds a quote, a delimiter or a line break is written "like ""this"""';

function explain(file: ByteSource, error: unknown, line: number): unknown {
  if (!(error instanceof CsvError)) return error;
  const fail = (message: string) => new AppError('input', `${file.source}:${line}: ${message}`, { cause: error });
  const index = typeof error['index'] === 'number' ? `value ${error['index'] + 1} of ` : '';
  const { code } = error;
  if (code === 'CSV_QUOTE_NOT_CLOSED') {
    return fail(`expected the end of ${index}the row that begins here, got the end of the file; close its quote`);
  }
  if (code === 'CSV_MAX_RECORD_SIZE') {
    const limit = `${longestLineBytes / 1024 / 1024} MiB`;
    return fail(`expected rows of at most ${limit}, got a longer one; is a quote never closed?`);
  }
  if (code === 'CSV_INVALID_CLOSING_QUOTE') {
    const where = `behind the closing quote of ${index}the row that begins here`;
    return fail(`expected a delimiter ${where}, got more; ${quoting}`);
  }
  if (code === 'INVALID_OPENING_QUOTE') {
    const came = `got one inside ${index}the row that begins here`;
    return fail(`expected a quote only at the very beginning of a value, ${came}; ${quoting}`);
  }
  return fail(messageOf(error));
}
