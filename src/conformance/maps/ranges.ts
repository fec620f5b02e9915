/**
 * Adjacent pages of equal rights as one range. What "equal rights" means is the architecture's (`RangeRules`): its
 * permissions, memory type, globality. Page sizes, accessed and dirty state and the frames behind a range may vary; the
 * range counts them.
 */
import type { MappedLeaf } from './leaves.ts';

export interface MappedRange<Rights> {
  /** What all pages of the range have in common. */
  readonly rights: Rights;
  /** Virtual page numbers: first, and the one after the last. */
  readonly startPage: number;
  readonly endPage: number;
  /** Leaf entries by kind of size, see `RangeRules.sizeIndex`. */
  readonly pageCounts: readonly number[];
  /** How many of them were accessed, and are dirty. */
  readonly accessed: number;
  readonly dirty: number;
  /** Frame of the first page. */
  readonly firstFrame: number;
  /** Runs of ascending frames: 1 when the range is contiguous in physical memory. */
  readonly frameRuns: number;
}

/** How an architecture's pages are merged. */
export interface RangeRules<Leaf extends MappedLeaf, Rights> {
  /** All that `rights` says as one number, so that a page costs no object. */
  code(leaf: Readonly<Leaf>): number;
  /** Asked once for every range, with its first page, right after `code`. */
  rights(leaf: Readonly<Leaf>): Rights;
  /** How many kinds of size there are, and which one a page has. */
  readonly sizes: number;
  sizeIndex(leaf: Readonly<Leaf>): number;
  accessed(leaf: Readonly<Leaf>): boolean;
  dirty(leaf: Readonly<Leaf>): boolean;
}

/** A range that may still grow. */
class OpenRange<Rights> implements MappedRange<Rights> {
  readonly rights: Rights;
  readonly startPage: number;
  endPage: number;
  readonly pageCounts: number[];
  accessed = 0;
  dirty = 0;
  readonly firstFrame: number;
  frameRuns = 0;

  constructor({ page, frame }: Readonly<MappedLeaf>, rights: Rights, sizes: number) {
    this.rights = rights;
    this.startPage = page;
    this.endPage = page;
    this.firstFrame = frame;
    this.pageCounts = new Array<number>(sizes).fill(0);
  }
}

const NO_FRAME = -1;

/** Takes leaves in ascending order and keeps ranges only. */
export class RangeMerger<Leaf extends MappedLeaf, Rights> {
  readonly ranges: MappedRange<Rights>[] = [];
  readonly #rules: RangeRules<Leaf, Rights>;
  #open: OpenRange<Rights> | null = null;
  #code = 0;
  /** The frame that goes on the range's last run. */
  #nextFrame = NO_FRAME;

  constructor(rules: RangeRules<Leaf, Rights>) {
    this.#rules = rules;
  }

  add(leaf: Readonly<Leaf>): void {
    const rules = this.#rules;
    const code = rules.code(leaf);
    let open = this.#open;
    if (open === null || open.endPage !== leaf.page || this.#code !== code) {
      open = new OpenRange(leaf, rules.rights(leaf), rules.sizes);
      this.#code = code;
      this.#nextFrame = NO_FRAME;
      this.#open = open;
      this.ranges.push(open);
    }
    if (leaf.frame !== this.#nextFrame) open.frameRuns++;
    this.#nextFrame = leaf.frame + leaf.pages;
    open.endPage = leaf.page + leaf.pages;
    const size = rules.sizeIndex(leaf);
    open.pageCounts[size] = (open.pageCounts[size] as number) + 1;
    if (rules.accessed(leaf)) open.accessed++;
    if (rules.dirty(leaf)) open.dirty++;
  }
}
