/**
 * Adjacent pages of equal permissions, protection key, memory type and globality as one range. Page sizes, accessed
 * and dirty flags and the frames behind a range may vary; the range counts them.
 */
import { Entry } from '../../arch/x86_64/entries.ts';
import { Combined, type Leaf, leafKey, leafPatIndex, pagesOfLevel } from './x86_64-leaves.ts';

/** What all pages of a range have in common. */
export interface RangeRights {
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

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
interface OpenRange extends Omit<Mutable<MappedRange>, 'pageCounts'> {
  readonly pageCounts: [number, number, number];
  nextFrame: number;
}

function rightsOf(leaf: Readonly<Leaf>): RangeRights {
  return {
    user: (leaf.combined & Combined.User) !== 0,
    writable: (leaf.combined & Combined.Writable) !== 0,
    executable: (leaf.combined & Combined.NoExecute) === 0,
    global: (leaf.entryLo & Entry.G) !== 0,
    protectionKey: leafKey(leaf),
    patIndex: leafPatIndex(leaf),
    reserved: (leaf.combined & Combined.Reserved) !== 0,
  };
}

const sameRights = (a: RangeRights, b: RangeRights): boolean =>
  a.user === b.user &&
  a.writable === b.writable &&
  a.executable === b.executable &&
  a.global === b.global &&
  a.protectionKey === b.protectionKey &&
  a.patIndex === b.patIndex &&
  a.reserved === b.reserved;

/** Takes leaves in ascending order and keeps ranges only. */
export class RangeMerger {
  readonly ranges: MappedRange[] = [];
  #open: OpenRange | null = null;

  add(leaf: Readonly<Leaf>): void {
    const rights = rightsOf(leaf);
    const pages = pagesOfLevel(leaf.level);
    let open = this.#open;
    if (open === null || open.endPage !== leaf.page || !sameRights(open, rights)) {
      open = openRange(leaf, rights);
      this.#open = open;
      this.ranges.push(open);
    }
    if (leaf.frame !== open.nextFrame) open.frameRuns++;
    open.nextFrame = leaf.frame + pages;
    open.endPage = leaf.page + pages;
    open.pageCounts[leaf.level - 1] = (open.pageCounts[leaf.level - 1] as number) + 1;
    if ((leaf.entryLo & Entry.A) !== 0) open.accessed++;
    if ((leaf.entryLo & Entry.D) !== 0) open.dirty++;
  }
}

function openRange(leaf: Readonly<Leaf>, rights: RangeRights): OpenRange {
  return {
    ...rights,
    startPage: leaf.page,
    endPage: leaf.page,
    pageCounts: [0, 0, 0],
    accessed: 0,
    dirty: 0,
    firstFrame: leaf.frame,
    frameRuns: 0,
    nextFrame: -1,
  };
}
