/**
 * The VMAs of an address space, in a persistent B+ tree keyed by pages. Every change makes new nodes along one path and
 * then a new root; a version once taken (`snapshot`) stays as it was, which is what a lockless reader relies on. Each
 * node knows the largest gap between the VMAs below it, so that placing a mapping looks at few nodes.
 * Cost: every operation touches O(log n) nodes of at most 32 entries.
 * Left out: maple-tree states (pause, overflow) and node preallocation.
 * @see Linux lib/maple_tree.c, of which this has the interface that mm/vma.c uses
 */
import type { VmArea } from './vma.ts';
import {
  emptyLeaf,
  firstEndingAbove,
  innerNode,
  insertInto,
  lastStartingBelow,
  removeFrom,
  resized,
  type TreeNode,
} from './vma-tree-node.ts';
import type { TreeChange } from './vma-watcher.ts';

/** The end of the highest gap of `length` pages that ends at or below `high` and starts at or above `low`; -1 if none. */
function highestGapEnd(node: TreeNode, length: number, low: number, high: number): number {
  for (let i = lastStartingBelow(node.starts, high); i >= 0; i--) {
    const end = node.ends[i] as number;
    const after = i + 1 < node.starts.length ? Math.min(node.starts[i + 1] as number, high) : -1;
    if (after - Math.max(end, low) >= length) return after;
    if (end <= low) return -1;
    if (!node.leaf && (node.gaps[i] as number) >= length) {
      const found = highestGapEnd(node.children[i] as TreeNode, length, low, high);
      if (found !== -1) return found;
    }
  }
  return -1;
}

/** The start of the lowest such gap; -1 if none. */
function lowestGapStart(node: TreeNode, length: number, low: number, high: number): number {
  for (let i = firstEndingAbove(node.ends, low); i < node.starts.length; i++) {
    const start = node.starts[i] as number;
    const before = i > 0 ? Math.max(node.ends[i - 1] as number, low) : -1;
    if (before !== -1 && Math.min(start, high) - before >= length) return before;
    if (start >= high) return -1;
    if (!node.leaf && (node.gaps[i] as number) >= length) {
      const found = lowestGapStart(node.children[i] as TreeNode, length, low, high);
      if (found !== -1) return found;
    }
  }
  return -1;
}

/** Appends the VMAs of `node` with a page in [start, end). */
function collect(node: TreeNode, start: number, end: number, found: VmArea[]): void {
  for (let at = firstEndingAbove(node.ends, start); at < node.starts.length; at++) {
    if ((node.starts[at] as number) >= end) return;
    if (node.leaf) found.push(node.vmas[at] as VmArea);
    else collect(node.children[at] as TreeNode, start, end, found);
  }
}

/** One version of the tree: reading only. */
export class VmaTreeView {
  /** Of no use outside this file. */
  protected root: TreeNode;

  protected constructor(root: TreeNode) {
    this.root = root;
  }

  /** Levels of nodes, 1 for a single leaf. */
  get depth(): number {
    let depth = 1;
    for (let node = this.root; !node.leaf; node = node.children[0] as TreeNode) depth++;
    return depth;
  }

  get empty(): boolean {
    return this.root.starts.length === 0;
  }

  /** The first VMA that ends above `page`: the one that holds it, or else the next above (`find_vma`). */
  find(page: number): VmArea | null {
    let node = this.root;
    for (;;) {
      const at = firstEndingAbove(node.ends, page);
      if (at === node.ends.length) return null;
      if (node.leaf) return node.vmas[at] as VmArea;
      node = node.children[at] as TreeNode;
    }
  }

  /** The VMA that holds `page` (`vma_lookup`). */
  lookup(page: number): VmArea | null {
    let node = this.root;
    for (;;) {
      const at = firstEndingAbove(node.ends, page);
      if (at === node.ends.length || (node.starts[at] as number) > page) return null;
      if (node.leaf) return node.vmas[at] as VmArea;
      node = node.children[at] as TreeNode;
    }
  }

  /** The range of what `find` finds, as the nodes have it: the VMA itself is not looked at. */
  rangeFrom(page: number): { readonly start: number; readonly end: number } | null {
    let node = this.root;
    for (;;) {
      const at = firstEndingAbove(node.ends, page);
      if (at === node.ends.length) return null;
      if (node.leaf) return { start: node.starts[at] as number, end: node.ends[at] as number };
      node = node.children[at] as TreeNode;
    }
  }

  /** The leaf that says what is at `page`: to be compared, nothing else. */
  leafAt(page: number): object {
    let node = this.root;
    while (!node.leaf) {
      const at = Math.min(firstEndingAbove(node.ends, page), node.children.length - 1);
      node = node.children[at] as TreeNode;
    }
    return node;
  }

  /** The first VMA with a page in [start, end) (`find_vma_intersection`, `vma_find`). */
  findIntersection(start: number, end: number): VmArea | null {
    let node = this.root;
    for (;;) {
      const at = firstEndingAbove(node.ends, start);
      if (at === node.ends.length || (node.starts[at] as number) >= end) return null;
      if (node.leaf) return node.vmas[at] as VmArea;
      node = node.children[at] as TreeNode;
    }
  }

  /** The last VMA that starts below `page` (`vma_prev` of an iterator at `page`, when no VMA straddles it). */
  findPrevious(page: number): VmArea | null {
    let node = this.root;
    for (;;) {
      const at = lastStartingBelow(node.starts, page);
      if (at === -1) return null;
      if (node.leaf) return node.vmas[at] as VmArea;
      node = node.children[at] as TreeNode;
    }
  }

  first(): VmArea | null {
    return this.find(-1);
  }

  /** Every VMA, from the lowest. */
  *[Symbol.iterator](): Generator<VmArea, void, void> {
    const stack: { readonly node: TreeNode; at: number }[] = [{ node: this.root, at: 0 }];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.node.leaf) {
        yield* top.node.vmas;
        stack.pop();
      } else if (top.at < top.node.children.length) {
        stack.push({ node: top.node.children[top.at++] as TreeNode, at: 0 });
      } else {
        stack.pop();
      }
    }
  }

  /** VMAs with a page in [start, end), from the lowest. The list is of this version. */
  inRange(start: number, end: number): VmArea[] {
    const found: VmArea[] = [];
    collect(this.root, start, end, found);
    return found;
  }

  /**
   * The highest free range of `length` pages inside [low, high): its first page, or -1.
   * @see Linux lib/maple_tree.c, `mas_empty_area_rev`
   */
  findGapTopDown(length: number, low: number, high: number): number {
    if (high - low < length) return -1;
    const { starts, ends } = this.root;
    const lastEnd = ends.at(-1);
    if (lastEnd === undefined || high - Math.max(lastEnd, low) >= length) return high - length;
    const gapEnd = highestGapEnd(this.root, length, low, high);
    if (gapEnd !== -1) return gapEnd - length;
    const firstStart = Math.min(starts[0] as number, high);
    return firstStart - low >= length ? firstStart - length : -1;
  }

  /** The lowest free range of `length` pages inside [low, high): its first page, or -1 (`mas_empty_area`). */
  findGapBottomUp(length: number, low: number, high: number): number {
    if (high - low < length) return -1;
    const { starts, ends } = this.root;
    const firstStart = starts[0];
    if (firstStart === undefined || Math.min(firstStart, high) - low >= length) return low;
    const found = lowestGapStart(this.root, length, low, high);
    if (found !== -1) return found;
    const lastEnd = Math.max(ends.at(-1) as number, low);
    return high - lastEnd >= length ? lastEnd : -1;
  }
}

/** Somebody who remembers a leaf (`leafAt`) and must know when it is no longer in the tree. */
export interface TreeIterator {
  treeChanged(): void;
}

/** The tree of an mm. Each method is one step that no reader can see half of. */
export class VmaTree extends VmaTreeView {
  /** Told just before each change, for checks; null: nobody looks on. */
  onChange: ((vma: VmArea, change: TreeChange, start: number, end: number) => void) | null = null;

  /** Those who stay in the tree from one step to another; null: nobody does. */
  #iterators: Set<TreeIterator> | null = null;

  constructor() {
    super(emptyLeaf);
  }

  /** From now on the iterator is told when leaves have been replaced. */
  join(iterator: TreeIterator): void {
    this.#iterators ??= new Set();
    this.#iterators.add(iterator);
  }

  leave(iterator: TreeIterator): void {
    this.#iterators?.delete(iterator);
    if (this.#iterators?.size === 0) this.#iterators = null;
  }

  #changed(): void {
    if (this.#iterators !== null) for (const iterator of this.#iterators) iterator.treeChanged();
  }

  /** This version, for a reader that must not see later changes. Ranges in it stay; VMA objects are shared. */
  snapshot(): VmaTreeView {
    const view = new VmaTree();
    view.root = this.root;
    return view;
  }

  /** Adds a VMA with its present range. @throws Error when it overlaps one that is there */
  insert(vma: VmArea): void {
    this.onChange?.(vma, 'insert', vma.start, vma.end);
    const parts = insertInto(this.root, vma.start, vma.end, vma);
    this.root = parts.length === 1 ? (parts[0] as TreeNode) : innerNode(parts);
    this.#changed();
  }

  /** Takes out the VMA whose range in the tree starts at `start`. */
  remove(start: number): void {
    if (this.onChange !== null) this.#tell('remove', start, start, start);
    let root = removeFrom(this.root, start);
    while (!root.leaf && root.children.length === 1) root = root.children[0] as TreeNode;
    if (root.starts.length === 0) root = emptyLeaf;
    this.root = root;
    this.#changed();
  }

  /**
   * The VMA whose range in the tree starts at `from` has the range [start, end) from now on. Its place in the order
   * must stay the same; VMAs in the way are taken out first.
   * @param inPlace no node is replaced
   */
  resize(from: number, start: number, end: number, inPlace = false): void {
    const before = this.findPrevious(from);
    if (before !== null && before.end > start)
      throw new Error(`page 0x${start.toString(16)} is taken by ${before.name}`);
    if (this.onChange !== null) this.#tell('resize', from, start, end);
    this.root = resized(this.root, from, start, end);
    if (!inPlace) this.#changed();
  }

  #tell(change: TreeChange, at: number, start: number, end: number): void {
    const vma = this.lookup(at);
    if (vma !== null) this.onChange?.(vma, change, start, end);
  }
}
