/**
 * Allocation Tags of physical memory: 4 bits for each 16 bytes, where the arm64 Memory Tagging Extension keeps them.
 * Tags are beside the data and live their own life, as in a real board: storing or zeroing data leaves them alone, a
 * frame that is freed keeps them, and whoever wants them cleared or copied says so (`clearFrame`, `copyFrame`).
 * Memory that was never given a tag has tag 0.
 * Sparse, in chunks of the same 4 MiB as `PhysicalMemory`, so that one key serves both. Whether there is memory at an
 * address is that class's business: nothing here is checked against the regions.
 * Left out: carve-outs (memory that holds tags is not itself addressable here), tags that get lost in low-power states.
 * @see Arm ARM (DDI 0487), "The Memory Tagging Extension", "Allocation tags"
 */

/** Bytes that share one tag, as log2. */
const TAG_GRANULE_SHIFT = 4;
export const TAG_GRANULE = 1 << TAG_GRANULE_SHIFT;
/** Bytes of the tags of one 4 KiB frame, two tags a byte, the lower granule in the lower half. */
export const FRAME_TAG_BYTES = 128;

const CHUNK_SHIFT = 22;
/** A word holds the tags of 8 granules, 128 bytes of memory: the lowest granule in bits 3:0. */
const WORD_SHIFT = 7;
const CHUNK_WORDS = 1 << (CHUNK_SHIFT - WORD_SHIFT);
const CHUNK_FRAMES = 1 << (CHUNK_SHIFT - 12);
const FRAME_WORDS = 1 << (12 - WORD_SHIFT);
const WORD_MASK = CHUNK_WORDS - 1;
const NO_KEY = -1;
/** Stands in for every chunk without a tag. Nothing writes to it. */
const ZEROS = new Int32Array(CHUNK_WORDS);

interface TagChunk {
  readonly words: Int32Array;
  /** 1 for each frame that was given a tag since it was last cleared: all others are zero. */
  readonly written: Uint8Array;
}

export class TagMemory {
  /** The chunk used last. Read only after comparing `key` with bits 51:22 of the address; see `select`. */
  key = NO_KEY;
  words: Int32Array = ZEROS;

  private readonly chunks = new Map<number, TagChunk>();
  private readonly spare: TagChunk[] = [];

  /** Makes `words` the chunk around a physical address, for reading: index and shift as in `tag`. */
  select(hi: number, lo: number): void {
    const key = (hi << 10) | (lo >>> CHUNK_SHIFT);
    this.words = this.chunks.get(key)?.words ?? ZEROS;
    this.key = key;
  }

  /** The tag of the granule around a physical address, 0 to 15. */
  tag(hi: number, lo: number): number {
    if (((hi << 10) | (lo >>> CHUNK_SHIFT)) !== this.key) this.select(hi, lo);
    return ((this.words[(lo >>> WORD_SHIFT) & WORD_MASK] as number) >>> ((lo >>> 2) & 0x1c)) & 15;
  }

  /** Gives the granule around a physical address a tag; only bits 3:0 of `tag` count. */
  setTag(hi: number, lo: number, tag: number): void {
    const words = this.forWriting(hi, lo);
    const index = (lo >>> WORD_SHIFT) & WORD_MASK;
    const shift = (lo >>> 2) & 0x1c;
    words[index] = ((words[index] as number) & ~(15 << shift)) | ((tag & 15) << shift);
  }

  /**
   * Copies the tags of a frame to `target`, two a byte, the lower granule in the lower half: what Linux keeps of a page
   * that is swapped out.
   * @returns whether any of them is not 0
   * @throws RangeError when `target` does not have `FRAME_TAG_BYTES`
   */
  readFrame(frame: number, target: Uint8Array): boolean {
    checkLength(target);
    const chunk = this.chunks.get(Math.floor(frame / CHUNK_FRAMES));
    const index = frame % CHUNK_FRAMES;
    if (chunk === undefined || chunk.written[index] === 0) {
      target.fill(0);
      return false;
    }
    const start = index * FRAME_WORDS;
    let any = 0;
    for (let at = 0; at < FRAME_WORDS; at++) {
      const word = chunk.words[start + at] as number;
      any |= word;
      target[4 * at] = word;
      target[4 * at + 1] = word >>> 8;
      target[4 * at + 2] = word >>> 16;
      target[4 * at + 3] = word >>> 24;
    }
    return any !== 0;
  }

  /** Gives a frame the tags of `source`, as `readFrame` wrote them. @throws RangeError when its length is wrong */
  writeFrame(frame: number, source: Uint8Array): void {
    checkLength(source);
    const words = this.frameForWriting(frame);
    const start = (frame % CHUNK_FRAMES) * FRAME_WORDS;
    for (let at = 0; at < FRAME_WORDS; at++) {
      const low = (source[4 * at] as number) | ((source[4 * at + 1] as number) << 8);
      const high = (source[4 * at + 2] as number) | ((source[4 * at + 3] as number) << 8);
      words[start + at] = low | (high << 16);
    }
  }

  /** Gives every granule of a frame one tag. */
  fillFrame(frame: number, tag: number): void {
    if ((tag & 15) === 0) {
      this.clearFrame(frame);
      return;
    }
    const start = (frame % CHUNK_FRAMES) * FRAME_WORDS;
    this.frameForWriting(frame).fill(Math.imul(tag & 15, 0x11111111), start, start + FRAME_WORDS);
  }

  /** Sets all tags of a frame to 0. */
  clearFrame(frame: number): void {
    const chunk = this.chunks.get(Math.floor(frame / CHUNK_FRAMES));
    const index = frame % CHUNK_FRAMES;
    if (chunk === undefined || chunk.written[index] === 0) return;
    chunk.words.fill(0, index * FRAME_WORDS, (index + 1) * FRAME_WORDS);
    chunk.written[index] = 0;
  }

  /** Copies the tags of a frame, and no data. */
  copyFrame(from: number, to: number): void {
    const source = this.chunks.get(Math.floor(from / CHUNK_FRAMES));
    const index = from % CHUNK_FRAMES;
    if (source === undefined || source.written[index] === 0) {
      this.clearFrame(to);
      return;
    }
    const words = source.words.subarray(index * FRAME_WORDS, (index + 1) * FRAME_WORDS);
    this.frameForWriting(to).set(words, (to % CHUNK_FRAMES) * FRAME_WORDS);
  }

  /** Sets all tags to 0. Costs time by the frames that had one, so that a test runner can start anew each time. */
  clear(): void {
    for (const chunk of this.chunks.values()) {
      for (let index = 0; index < CHUNK_FRAMES; index++) {
        if (chunk.written[index] === 0) continue;
        chunk.words.fill(0, index * FRAME_WORDS, (index + 1) * FRAME_WORDS);
        chunk.written[index] = 0;
      }
      if (this.spare.length < MOST_SPARE_CHUNKS) this.spare.push(chunk);
    }
    this.chunks.clear();
    this.key = NO_KEY;
    this.words = ZEROS;
  }

  /** The address of a granule whose tag is not 0, undefined when there is none. */
  findNonZero(): bigint | undefined {
    for (const [key, chunk] of this.chunks) {
      for (let index = chunk.written.indexOf(1); index >= 0; index = chunk.written.indexOf(1, index + 1)) {
        for (let at = index * FRAME_WORDS; at < (index + 1) * FRAME_WORDS; at++) {
          const word = chunk.words[at] as number;
          if (word === 0) continue;
          const granule = (31 - Math.clz32(word & -word)) >> 2;
          return (BigInt(key) << BigInt(CHUNK_SHIFT)) + BigInt(at * 128 + granule * TAG_GRANULE);
        }
      }
    }
    return undefined;
  }

  /** The words around a physical address, with its frame marked. */
  private forWriting(hi: number, lo: number): Int32Array {
    const key = (hi << 10) | (lo >>> CHUNK_SHIFT);
    const chunk = this.chunkForWriting(key);
    chunk.written[(lo >>> 12) & (CHUNK_FRAMES - 1)] = 1;
    return chunk.words;
  }

  private frameForWriting(frame: number): Int32Array {
    const chunk = this.chunkForWriting(Math.floor(frame / CHUNK_FRAMES));
    chunk.written[frame % CHUNK_FRAMES] = 1;
    return chunk.words;
  }

  private chunkForWriting(key: number): TagChunk {
    const known = this.chunks.get(key);
    if (known !== undefined) return known;
    const chunk = this.spare.pop() ?? newChunk();
    this.chunks.set(key, chunk);
    // `words` may be the stand-in for this very chunk.
    this.key = NO_KEY;
    return chunk;
  }
}

/** Kept for reuse; more than that goes back to the garbage collector. */
const MOST_SPARE_CHUNKS = 16;

const newChunk = (): TagChunk => ({
  words: new Int32Array(CHUNK_WORDS),
  written: new Uint8Array(CHUNK_FRAMES),
});

function checkLength(bytes: Uint8Array): void {
  if (bytes.length !== FRAME_TAG_BYTES) {
    throw new RangeError(`the tags of a frame are ${FRAME_TAG_BYTES} bytes, not ${bytes.length}`);
  }
}
