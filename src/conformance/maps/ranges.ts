/**
 * Adjacent pages of equal permissions, protection key, memory type and globality as one range. Page sizes, accessed
 * and dirty flags and the frames behind a range may vary; the range counts them.
 */
import { Entry } from '../../arch/x86_64/entries.ts';
import { Combined, type Leaf, leafKey, leafPatIndex, pagesOfLevel } from './x86_64-leaves.ts';

/** What all pages of a range have in common. */
interface RangeRights {
  readonly user: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  /** G in the leaf. */
  readonly global: boolean;
  readonly protectionKey: number;
  /** PAT, PCD and PWT of the leaf as an index into IA32_PAT. */
  readonly patIndex: number;
  /** An entry on the way has a reserved bit set: every access faults. */
  readonly reserved: boolean;
}

export interface MappedRange extends RangeRights {
  /** Virtual page numbers: first, and the one after the last. */
  readonly startPage: number;
  readonly endPage: number;
  /** Pages by size: [4 KiB, 2 MiB, 1 GiB]. */
  readonly pageCounts: readonly [number, number, number];
  /** How many of them have A, and D, set. */
  readonly accessed: number;
  readonly dirty: number;
  /** Frame of the first page. */
  readonly firstFrame: number;
  /** Runs of ascending frames: 1 when the range is contiguous in physical memory. */
  readonly frameRuns: number;
}

/** A range that may still grow. Every field is set one by one: a spread costs ten times as much, for 65,000 ranges. */
class OpenRange implements MappedRange {
  readonly user: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  readonly global: boolean;
  readonly protectionKey: number;
  readonly patIndex: number;
  readonly reserved: boolean;
  readonly startPage: number;
  endPage: number;
  readonly pageCounts: [number, number, number] = [0, 0, 0];
  accessed = 0;
  dirty = 0;
  readonly firstFrame: number;
  frameRuns = 0;

  constructor(leaf: Readonly<Leaf>) {
    this.user = (leaf.combined & Combined.User) !== 0;
    this.writable = (leaf.combined & Combined.Writable) !== 0;
    this.executable = (leaf.combined & Combined.NoExecute) === 0;
    this.global = (leaf.entryLo & Entry.G) !== 0;
    this.protectionKey = leafKey(leaf);
    this.patIndex = leafPatIndex(leaf);
    this.reserved = (leaf.combined & Combined.Reserved) !== 0;
    this.startPage = leaf.page;
    this.endPage = leaf.page;
    this.firstFrame = leaf.frame;
  }
}

/** All that `RangeRights` says as one number, so that a page costs no object. */
const rightsCode = (leaf: Readonly<Leaf>): number =>
  (((leaf.entryLo & Entry.G) | leaf.combined) << 8) | (leafKey(leaf) << 4) | leafPatIndex(leaf);

const NO_FRAME = -1;

/** Takes leaves in ascending order and keeps ranges only. */
export class RangeMerger {
  readonly ranges: MappedRange[] = [];
  #open: OpenRange | null = null;
  #code = 0;
  /** The frame that goes on the range's last run. */
  #nextFrame = NO_FRAME;

  add(leaf: Readonly<Leaf>): void {
    const code = rightsCode(leaf);
    const pages = pagesOfLevel(leaf.level);
    let open = this.#open;
    if (open === null || open.endPage !== leaf.page || this.#code !== code) {
      open = new OpenRange(leaf);
      this.#code = code;
      this.#nextFrame = NO_FRAME;
      this.#open = open;
      this.ranges.push(open);
    }
    if (leaf.frame !== this.#nextFrame) open.frameRuns++;
    this.#nextFrame = leaf.frame + pages;
    open.endPage = leaf.page + pages;
    open.pageCounts[leaf.level - 1] = (open.pageCounts[leaf.level - 1] as number) + 1;
    if ((leaf.entryLo & Entry.A) !== 0) open.accessed++;
    if ((leaf.entryLo & Entry.D) !== 0) open.dirty++;
  }
}
