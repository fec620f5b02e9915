/**
 * The nodes of the tree of VMAs, and how new ones come of old ones: a node that is linked is never changed, every change
 * makes new nodes along one path. At most 32 entries a node; each knows the largest gap below it.
 * @see Linux lib/maple_tree.c, `struct maple_node`
 */
import type { VmArea } from './vma.ts';

const MAX_ENTRIES = 32;
const MIN_ENTRIES = 10;

/** Leaf or inner node. `starts` and `ends` are the ranges of the entries; both kinds have them. Never changed once linked. */
export interface TreeNode {
  readonly leaf: boolean;
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  /** VMAs of a leaf. */
  readonly vmas: readonly VmArea[];
  /** Children of an inner node, and the largest gap inside each of them. */
  readonly children: readonly TreeNode[];
  readonly gaps: readonly number[];
  /** Largest gap between two neighbouring entries at or below this node, in pages. */
  readonly gap: number;
}

const noVmas: readonly VmArea[] = [];
const noChildren: readonly TreeNode[] = [];
const noGaps: readonly number[] = [];

function largestGap(starts: readonly number[], ends: readonly number[], gaps: readonly number[]): number {
  let gap = 0;
  for (let i = 1; i < starts.length; i++) {
    const between = (starts[i] as number) - (ends[i - 1] as number);
    if (between > gap) gap = between;
  }
  for (let i = 0; i < gaps.length; i++) if ((gaps[i] as number) > gap) gap = gaps[i] as number;
  return gap;
}

function leafNode(starts: readonly number[], ends: readonly number[], vmas: readonly VmArea[]): TreeNode {
  const gap = largestGap(starts, ends, noGaps);
  return { leaf: true, starts, ends, vmas, children: noChildren, gaps: noGaps, gap };
}

function innerNodeOf(
  children: readonly TreeNode[],
  starts: readonly number[],
  ends: readonly number[],
  gaps: readonly number[],
): TreeNode {
  return { leaf: false, starts, ends, vmas: noVmas, children, gaps, gap: largestGap(starts, ends, gaps) };
}

export const emptyLeaf = leafNode([], [], []);
const startOf = (node: TreeNode): number => node.starts[0] as number;
const endOf = (node: TreeNode): number => node.ends[node.ends.length - 1] as number;

export function innerNode(children: readonly TreeNode[]): TreeNode {
  const gaps = children.map((child) => child.gap);
  return innerNodeOf(children, children.map(startOf), children.map(endOf), gaps);
}

/** `items` with the one at `at` replaced. */
function withReplaced<T>(items: readonly T[], at: number, item: T): T[] {
  const copy = items.slice();
  copy[at] = item;
  return copy;
}

/** `items` with one more before `at`. */
function withInserted<T>(items: readonly T[], at: number, item: T): T[] {
  const copy = items.slice(0, at);
  copy.push(item);
  for (let i = at; i < items.length; i++) copy.push(items[i] as T);
  return copy;
}

/** `items` without the one at `at`. */
function without<T>(items: readonly T[], at: number): T[] {
  const copy = items.slice(0, at);
  for (let i = at + 1; i < items.length; i++) copy.push(items[i] as T);
  return copy;
}

/** `node` with the child at `at` replaced. */
function withChild(node: TreeNode, at: number, child: TreeNode): TreeNode {
  return innerNodeOf(
    withReplaced(node.children, at, child),
    withReplaced(node.starts, at, startOf(child)),
    withReplaced(node.ends, at, endOf(child)),
    withReplaced(node.gaps, at, child.gap),
  );
}

/** `node` with the child at `at` replaced by two. */
function withTwoChildren(node: TreeNode, at: number, first: TreeNode, second: TreeNode): TreeNode {
  const one = withChild(node, at, first);
  return innerNodeOf(
    withInserted(one.children, at + 1, second),
    withInserted(one.starts, at + 1, startOf(second)),
    withInserted(one.ends, at + 1, endOf(second)),
    withInserted(one.gaps, at + 1, second.gap),
  );
}

/** The first entry that ends above `page`; `length` when there is none. */
export function firstEndingAbove(ends: readonly number[], page: number): number {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ends[middle] as number) > page) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The last entry that starts below `page`; -1 when there is none. */
export function lastStartingBelow(starts: readonly number[], page: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((starts[middle] as number) < page) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** One node, or two when it grew too large. */
function splitIfLarge(node: TreeNode): readonly TreeNode[] {
  const count = node.starts.length;
  if (count <= MAX_ENTRIES) return [node];
  const half = count >> 1;
  if (!node.leaf) return [innerNode(node.children.slice(0, half)), innerNode(node.children.slice(half))];
  return [
    leafNode(node.starts.slice(0, half), node.ends.slice(0, half), node.vmas.slice(0, half)),
    leafNode(node.starts.slice(half), node.ends.slice(half), node.vmas.slice(half)),
  ];
}

function joined(left: TreeNode, right: TreeNode): TreeNode {
  if (!left.leaf) return innerNode([...left.children, ...right.children]);
  return leafNode(
    [...left.starts, ...right.starts],
    [...left.ends, ...right.ends],
    [...left.vmas, ...right.vmas],
  );
}

export function insertInto(node: TreeNode, start: number, end: number, vma: VmArea): readonly TreeNode[] {
  const at = firstEndingAbove(node.ends, start);
  if (node.leaf) {
    if (at < node.starts.length && (node.starts[at] as number) < end) {
      throw new Error(`${vma.name} would overlap ${(node.vmas[at] as VmArea).name} in the tree`);
    }
    const starts = withInserted(node.starts, at, start);
    return splitIfLarge(leafNode(starts, withInserted(node.ends, at, end), withInserted(node.vmas, at, vma)));
  }
  const child = Math.min(at, node.children.length - 1);
  const [first, second] = insertInto(node.children[child] as TreeNode, start, end, vma);
  if (second === undefined) return [withChild(node, child, first as TreeNode)];
  return splitIfLarge(withTwoChildren(node, child, first as TreeNode, second));
}

/** `node` after the child at `at` lost an entry: joined to a neighbour if it became too small, dropped if it is empty. */
function rebalanced(node: TreeNode, at: number, child: TreeNode): TreeNode {
  if (child.starts.length === 0) return innerNode(without(node.children, at));
  if (child.starts.length >= MIN_ENTRIES || node.children.length === 1) return withChild(node, at, child);
  const children = withReplaced(node.children, at, child);
  const left = at > 0 ? at - 1 : at;
  const both = splitIfLarge(joined(children[left] as TreeNode, children[left + 1] as TreeNode));
  children.splice(left, 2, ...both);
  return innerNode(children);
}

function noVmaAt(page: number): Error {
  return new Error(`no VMA starts at page 0x${page.toString(16)}`);
}

export function removeFrom(node: TreeNode, start: number): TreeNode {
  const at = firstEndingAbove(node.ends, start);
  if (node.leaf) {
    if (node.starts[at] !== start) throw noVmaAt(start);
    return leafNode(without(node.starts, at), without(node.ends, at), without(node.vmas, at));
  }
  const child = node.children[at];
  if (child === undefined) throw noVmaAt(start);
  return rebalanced(node, at, removeFrom(child, start));
}

export function resized(node: TreeNode, from: number, start: number, end: number): TreeNode {
  const at = firstEndingAbove(node.ends, from);
  if (node.leaf) {
    if (node.starts[at] !== from) throw noVmaAt(from);
    return leafNode(withReplaced(node.starts, at, start), withReplaced(node.ends, at, end), node.vmas);
  }
  const child = node.children[at];
  if (child === undefined) throw noVmaAt(from);
  return withChild(node, at, resized(child, from, start, end));
}
