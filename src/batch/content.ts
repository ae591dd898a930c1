/**
 * What the first bytes of a file say it is. Answers only for what surely is not lines of UTF-8 text, each with the
 * way to get there; anything else is left to the check of every line.
 */

type Magic = { bytes: string; looksLike: string };

/** Bytes as Latin-1. */
const magics: Magic[] = [
  { bytes: '\xff\xfe', looksLike: 'UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8' },
  { bytes: '\xfe\xff', looksLike: 'UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8' },
  {
    bytes: 'PK\x03\x04',
    looksLike: 'a zip archive or an Excel workbook; unpack it, or export it as CSV (UTF-8) or JSONL',
  },
  { bytes: '\x28\xb5\x2f\xfd', looksLike: 'a zstd file; unpack it: zstd -d' },
  { bytes: 'BZh', looksLike: 'a bzip2 file; unpack it: bunzip2' },
  { bytes: '\xfd7zXZ\0', looksLike: 'an xz file; unpack it: unxz' },
  { bytes: '7z\xbc\xaf', looksLike: 'a 7z archive; unpack it' },
  { bytes: '\x1f\x8b', looksLike: 'gzip inside gzip; unpack it once: gunzip' },
  { bytes: 'PAR1', looksLike: 'a Parquet file; export it as JSONL' },
  { bytes: 'ARROW1', looksLike: 'an Arrow file; export it as JSONL' },
  { bytes: 'SQLite format 3\0', looksLike: 'an SQLite database; export it as JSONL' },
  { bytes: '%PDF-', looksLike: 'a PDF' },
  { bytes: '\x89PNG', looksLike: 'a PNG image' },
  { bytes: '\xff\xd8\xff', looksLike: 'a JPEG image' },
  { bytes: '\x7fELF', looksLike: 'a program' },
];

export function isGzip(head: Buffer): boolean {
  return head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b;
}

/** "a zip archive …; unpack it", or null where it may be text. `head` is the first block, decompressed. */
export function looksLike(head: Buffer): string | null {
  const start = head.toString('latin1', 0, 16);
  const magic = magics.find(({ bytes }) => start.startsWith(bytes));
  if (magic) return magic.looksLike;
  const sample = head.subarray(0, 4096);
  if (!sample.includes(0)) return null;
  // ASCII in UTF-16 has a NUL in every other byte.
  let zeros = 0;
  for (const byte of sample) if (byte === 0) zeros += 1;
  const isWide = zeros >= sample.length * 0.4 && zeros <= sample.length * 0.6;
  return isWide ? 'UTF-16 text; convert it: iconv -f UTF-16LE -t UTF-8' : 'a binary file (it holds NUL bytes)';
}
