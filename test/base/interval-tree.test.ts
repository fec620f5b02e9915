/** The tree against a plain list. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { IntervalNode, IntervalTree } from '../../src/base/interval-tree.ts';

class Named extends IntervalNode {
  readonly name: number;
  constructor(name: number) {
    super();
    this.name = name;
  }
}

type Step =
  | { readonly op: 'insert'; readonly first: number; readonly length: number }
  | { readonly op: 'remove'; readonly which: number }
  | { readonly op: 'query'; readonly first: number; readonly length: number };

const place = fc.oneof(fc.nat({ max: 40 }), fc.integer({ min: 2 ** 40, max: 2 ** 40 + 30 }));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('insert' as const), first: place, length: fc.nat({ max: 9 }) }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('remove' as const), which: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('query' as const), first: place, length: fc.nat({ max: 9 }) }),
  },
);

/** Overlapping items in order, by walking the tree. */
function overlaps(tree: IntervalTree<Named>, first: number, last: number): number[] {
  const found: number[] = [];
  for (let at = tree.firstOverlap(first, last); at !== null; at = tree.nextOverlap(at, first, last))
    found.push(at.name);
  return found;
}

/** What every node promises of the nodes below it; the depth of the tree. */
function check(tree: IntervalTree<Named>): number {
  let depth = 0;
  for (const node of tree) {
    let largest = node.last;
    for (const child of [node.left, node.right]) {
      if (child === null) continue;
      expect(child.parent).toBe(node);
      expect(child.priority).toBeLessThanOrEqual(node.priority);
      largest = Math.max(largest, child.subtreeLast);
    }
    expect(node.subtreeLast).toBe(largest);
    let steps = 0;
    for (let at: IntervalNode | null = node; at !== null; at = at.parent) steps++;
    depth = Math.max(depth, steps);
  }
  return depth;
}

/** One step on both; a query compares them. */
function perform(tree: IntervalTree<Named>, list: Named[], at: number, what: Step): void {
  if (what.op === 'remove') {
    const [item] = list.splice(what.which % Math.max(list.length, 1), 1);
    if (item !== undefined) tree.remove(item);
    return;
  }
  const { first } = what;
  const last = first + what.length;
  if (what.op === 'insert') {
    const item = new Named(at);
    tree.insert(item, first, last);
    list.push(item);
    return;
  }
  const expected = list
    .filter((item) => item.first <= last && item.last >= first)
    .sort((a, b) => a.first - b.first || a.name - b.name);
  expect(overlaps(tree, first, last)).toEqual(expected.map(({ name }) => name));
}

describe('an interval tree', () => {
  it('finds what a list finds, in order of the first numbers and then of insertion', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
        const tree = new IntervalTree<Named>();
        const list: Named[] = [];
        for (const [at, what] of steps.entries()) perform(tree, list, at, what);
        expect(tree.size).toBe(list.length);
        check(tree);
      }),
    );
  });

  it.each([
    ['in ascending order', (n: number) => n],
    ['in descending order', (n: number) => -n],
    ['all alike', () => 7],
  ])('stays shallow when 20,000 intervals come %s', (_what, firstOf) => {
    const tree = new IntervalTree<Named>();
    const items = Array.from({ length: 20_000 }, (_, n) => new Named(n));
    for (const item of items) tree.insert(item, firstOf(item.name), firstOf(item.name) + 1);
    // 2^14 < 20,000: a perfect tree has 15 levels, a random one about 2.5 times that.
    expect(check(tree)).toBeLessThan(48);
    for (const item of items) if (item.name % 2 === 0) tree.remove(item);
    expect([...tree].length).toBe(10_000);
    check(tree);
  });

  it('refuses to insert twice, to remove what is not there, and an interval that ends before it begins', () => {
    const tree = new IntervalTree<Named>();
    const item = new Named(0);
    expect(() => tree.remove(item)).toThrow('in no tree');
    expect(() => tree.insert(item, 3, 2)).toThrow('no interval');
    tree.insert(item, 3, 3);
    expect(() => tree.insert(item, 3, 3)).toThrow('twice');
    expect([tree.firstOverlap(4, 9), tree.firstOverlap(0, 2)]).toEqual([null, null]);
  });
});
