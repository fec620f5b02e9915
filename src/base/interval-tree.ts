/**
 * Closed intervals of numbers, found by what they overlap: a binary tree in the order of their first numbers, each node
 * of which knows the largest last number below it. It is kept balanced as a treap, whose priorities come from a counter,
 * so that the same operations give the same tree. Nodes are the caller's objects and are linked directly: inserting,
 * removing and finding the first overlap take O(log n) steps, also when a million intervals are alike.
 * A node keeps the interval it was inserted with; to change it, take it out and put it back.
 * @see Linux include/linux/interval_tree_generic.h, mm/interval_tree.c
 */

/** What an object extends to be in one tree. */
export class IntervalNode {
  /** The interval, both ends included; meaningful while the node is in a tree. */
  first = 0;
  last = 0;
  /** Of a tree: largest `last` at or below this node, order in the heap, neighbours. Only the tree writes them. */
  subtreeLast = 0;
  priority = 0;
  parent: IntervalNode | null = null;
  left: IntervalNode | null = null;
  right: IntervalNode | null = null;
  inTree = false;
}

function update(node: IntervalNode): void {
  let { last } = node;
  if (node.left !== null && node.left.subtreeLast > last) last = node.left.subtreeLast;
  if (node.right !== null && node.right.subtreeLast > last) last = node.right.subtreeLast;
  node.subtreeLast = last;
}

/** Spreads a counter over 32 bits, so that priorities look random. @see Steele, Lea, Flood, "Fast splittable PRNGs" */
function mix(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function leftmost(node: IntervalNode): IntervalNode {
  let at = node;
  while (at.left !== null) at = at.left;
  return at;
}

/** The next node in order of first numbers, equal ones in the order of insertion. */
function successor(node: IntervalNode): IntervalNode | null {
  if (node.right !== null) return leftmost(node.right);
  let at = node;
  while (at.parent !== null && at.parent.right === at) at = at.parent;
  return at.parent;
}

/** The first node at or below `node` that overlaps [first, last]; its `subtreeLast` must reach `first`. */
function firstOverlapBelow(node: IntervalNode, first: number, last: number): IntervalNode | null {
  let at = node;
  for (;;) {
    if (at.left !== null && at.left.subtreeLast >= first) {
      at = at.left;
      continue;
    }
    if (at.first > last) return null;
    if (at.last >= first) return at;
    if (at.right === null || at.right.subtreeLast < first) return null;
    at = at.right;
  }
}

export class IntervalTree<Item extends IntervalNode> {
  #root: IntervalNode | null = null;
  #size = 0;
  #inserted = 0;

  /** Intervals in the tree. */
  get size(): number {
    return this.#size;
  }

  /** @throws Error when the item is in a tree already, or `last` is below `first` */
  insert(item: Item, first: number, last: number): void {
    if (item.inTree) throw new Error('an interval is inserted twice');
    if (last < first) throw new Error(`[${first}, ${last}] is no interval`);
    const node: IntervalNode = item;
    node.first = first;
    node.last = last;
    node.subtreeLast = last;
    node.left = null;
    node.right = null;
    node.inTree = true;
    this.#inserted++;
    node.priority = mix(this.#inserted);
    this.#size++;
    this.#linkAtBottom(node);
    while (node.parent !== null && node.parent.priority < node.priority) this.#rotateUp(node);
  }

  /** @throws Error when the item is in no tree */
  remove(item: Item): void {
    if (!item.inTree) throw new Error('an interval is removed that is in no tree');
    const node: IntervalNode = item;
    while (node.left !== null && node.right !== null) {
      this.#rotateUp(node.left.priority > node.right.priority ? node.left : node.right);
    }
    const child = node.left ?? node.right;
    const { parent } = node;
    this.#replace(parent, node, child);
    for (let at = parent; at !== null; at = at.parent) update(at);
    node.parent = null;
    node.left = null;
    node.right = null;
    node.inTree = false;
    this.#size--;
  }

  /** The first item, in order, that overlaps [first, last]; null when there is none. */
  firstOverlap(first: number, last: number): Item | null {
    if (this.#root === null || this.#root.subtreeLast < first) return null;
    return firstOverlapBelow(this.#root, first, last) as Item | null;
  }

  /** The next item after `item`, which must be in the tree, that overlaps [first, last]; null when there is none. */
  nextOverlap(item: Item, first: number, last: number): Item | null {
    let node: IntervalNode = item;
    for (;;) {
      if (node.right !== null && node.right.subtreeLast >= first) {
        return firstOverlapBelow(node.right, first, last) as Item | null;
      }
      let from = node;
      while (node.parent !== null && node.parent.right === from) {
        from = node.parent;
        node = from;
      }
      if (node.parent === null) return null;
      node = node.parent;
      if (node.first > last) return null;
      if (node.last >= first) return node as Item;
    }
  }

  /** Every item in order. The tree must not change meanwhile. */
  *[Symbol.iterator](): IterableIterator<Item> {
    if (this.#root === null) return;
    for (let node: IntervalNode | null = leftmost(this.#root); node !== null; node = successor(node)) {
      yield node as Item;
    }
  }

  #linkAtBottom(node: IntervalNode): void {
    let parent: IntervalNode | null = null;
    let at = this.#root;
    while (at !== null) {
      parent = at;
      if (at.subtreeLast < node.last) at.subtreeLast = node.last;
      at = node.first < at.first ? at.left : at.right;
    }
    node.parent = parent;
    if (parent === null) this.#root = node;
    else if (node.first < parent.first) parent.left = node;
    else parent.right = node;
  }

  /** `node` takes the place of its parent, which becomes its child. */
  #rotateUp(node: IntervalNode): void {
    const { parent } = node;
    if (parent === null) return;
    const grandparent = parent.parent;
    if (parent.left === node) {
      parent.left = node.right;
      if (node.right !== null) node.right.parent = parent;
      node.right = parent;
    } else {
      parent.right = node.left;
      if (node.left !== null) node.left.parent = parent;
      node.left = parent;
    }
    this.#replace(grandparent, parent, node);
    parent.parent = node;
    update(parent);
    update(node);
  }

  /** `child` comes where `node` was below `parent`; null is the place of the root. */
  #replace(parent: IntervalNode | null, node: IntervalNode, child: IntervalNode | null): void {
    if (parent === null) this.#root = child;
    else if (parent.left === node) parent.left = child;
    else parent.right = child;
    if (child !== null) child.parent = parent;
  }
}
