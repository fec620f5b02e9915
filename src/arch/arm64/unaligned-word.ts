/**
 * An 8-byte word at any byte of two aligned ones that follow each other, as four int32: taken out and put in without
 * allocating anything. Byte order is little-endian.
 */
export class UnalignedWord {
  /** The two aligned words, bits 31:0 of the first one first. */
  readonly words = new Int32Array(4);
  hi = 0;
  lo = 0;

  /** Takes the word at byte `offset`, 1 to 7, into `hi` and `lo`. */
  extract(offset: number): void {
    const { words } = this;
    const first = offset >>> 2;
    const shift = (offset & 3) * 8;
    const a = words[first] as number;
    const b = words[first + 1] as number;
    if (shift === 0) {
      this.lo = a;
      this.hi = b;
      return;
    }
    const c = words[first + 2] as number;
    this.lo = (a >>> shift) | (b << (32 - shift));
    this.hi = (b >>> shift) | (c << (32 - shift));
  }

  /** Puts a word at byte `offset`, 1 to 7; the bytes around it stay. */
  insert(offset: number, hi: number, lo: number): void {
    const { words } = this;
    const first = offset >>> 2;
    const shift = (offset & 3) * 8;
    if (shift === 0) {
      words[first] = lo;
      words[first + 1] = hi;
      return;
    }
    const up = 32 - shift;
    const above = -1 << shift;
    words[first] = ((words[first] as number) & ~above) | (lo << shift);
    words[first + 1] = (lo >>> up) | (hi << shift);
    words[first + 2] = ((words[first + 2] as number) & above) | (hi >>> up);
  }
}
