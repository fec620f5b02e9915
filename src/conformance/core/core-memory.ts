/**
 * The physical memory of a core, page by page: which pages the dump holds, and their 64-bit words. Segments may
 * overlap (a dump made with paging lists a page once for every mapping); the first one that holds a page gives it.
 */
import type { CoreSegment, ElfCore } from './elf-core.ts';

const PAGE_BYTES = 4096;

/** A run of frames that the file holds, in ascending order and disjoint. */
export interface FrameRun {
  readonly firstFrame: number;
  /** The frame after the last one. */
  readonly endFrame: number;
  readonly fileOffset: number;
}

/** The frames of all segments as disjoint ascending runs. */
function frameRuns(segments: readonly CoreSegment[]): FrameRun[] {
  const sorted = segments.map(runOf).sort((a, b) => a.firstFrame - b.firstFrame);
  const runs: FrameRun[] = [];
  for (const run of sorted) {
    const covered = runs.at(-1)?.endFrame ?? 0;
    const skip = Math.max(0, covered - run.firstFrame);
    if (run.firstFrame + skip < run.endFrame) {
      const fileOffset = run.fileOffset + skip * PAGE_BYTES;
      runs.push({ firstFrame: run.firstFrame + skip, endFrame: run.endFrame, fileOffset });
    }
  }
  return runs;
}

function runOf({ physicalAddress, fileOffset, fileBytes }: CoreSegment): FrameRun {
  const firstFrame = Number(physicalAddress / BigInt(PAGE_BYTES));
  return { firstFrame, endFrame: firstFrame + fileBytes / PAGE_BYTES, fileOffset };
}

export class CoreMemory {
  readonly runs: readonly FrameRun[];
  readonly #core: ElfCore;
  /** Table pages that were read: a table is shared by many entries (espfix: one by 8,192). */
  readonly #tables = new Map<number, Int32Array>();

  constructor(core: ElfCore) {
    this.#core = core;
    this.runs = frameRuns(core.segments);
  }

  /** Where in the file a frame stands, -1 when the dump does not hold it. */
  fileOffsetOf(frame: number): number {
    let low = 0;
    let high = this.runs.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const run = this.runs[middle] as FrameRun;
      if (frame < run.firstFrame) high = middle - 1;
      else if (frame >= run.endFrame) low = middle + 1;
      else return run.fileOffset + (frame - run.firstFrame) * PAGE_BYTES;
    }
    return -1;
  }

  /** The 4096 bytes of a frame into `target`; false when the dump does not hold it. */
  readFrame(frame: number, target: Uint8Array): boolean {
    const offset = this.fileOffsetOf(frame);
    if (offset < 0) return false;
    this.#core.source.read(offset, target.subarray(0, PAGE_BYTES));
    return true;
  }

  /**
   * The words of a table page as 1024 int32, low half of each 64-bit entry first; undefined when the dump does not
   * hold the page. Kept for the next call: the caller must not change it.
   */
  table(frame: number): Int32Array | undefined {
    const known = this.#tables.get(frame);
    if (known !== undefined) return known;
    const bytes = new Uint8Array(PAGE_BYTES);
    if (!this.readFrame(frame, bytes)) return undefined;
    const words = new Int32Array(PAGE_BYTES / 4);
    const view = new DataView(bytes.buffer);
    for (let index = 0; index < words.length; index++) words[index] = view.getInt32(index * 4, true);
    this.#tables.set(frame, words);
    return words;
  }

  /** Frames that the dump holds. */
  get frameCount(): number {
    return this.runs.reduce((sum, run) => sum + run.endFrame - run.firstFrame, 0);
  }
}
