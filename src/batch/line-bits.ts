/** Done bits made here instead of by settle.lua: one bit a line, in Redis' order of bits. */
export class LineBits {
  #bytes = Buffer.alloc(1024);

  add(line: number): void {
    const at = line >> 3;
    if (at >= this.#bytes.length) {
      this.#bytes = Buffer.concat([
        this.#bytes,
        Buffer.alloc(Math.max(this.#bytes.length, at + 1 - this.#bytes.length)),
      ]);
    }
    this.#bytes[at] = (this.#bytes[at] as number) | (0x80 >> (line & 7));
  }

  bytes(): Buffer {
    return this.#bytes;
  }
}
