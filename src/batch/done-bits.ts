/** Reading the done bits of some consecutive lines. settle.lua sets them; line n is bit n. */
import type { Redis } from '../redis/client.ts';

/** Tells for each line of the range whether it is done. Reads only the bytes that hold them. */
export async function readDoneBits(
  redis: Redis,
  bitmap: string,
  range: { firstLine: number; lineCount: number },
): Promise<(line: number) => boolean> {
  const firstByte = range.firstLine >> 3;
  const lastLine = range.firstLine + range.lineCount - 1;
  const bytes = await redis.getrangeBuffer(bitmap, firstByte, lastLine >> 3);
  return (line) => {
    const byte = bytes[(line >> 3) - firstByte] ?? 0;
    // Redis numbers the bits of a byte from the most significant one.
    return ((byte >> (7 - (line & 7))) & 1) === 1;
  };
}
