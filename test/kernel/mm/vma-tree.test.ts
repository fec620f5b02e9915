import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { VmArea } from '../../../src/kernel/mm/vma.ts';
import { VmaTree, type VmaTreeView } from '../../../src/kernel/mm/vma-tree.ts';
import { vmaWorld } from './support.ts';

type Range = readonly [start: number, end: number];

const rangesOf = (tree: VmaTreeView): Range[] => [...tree].map((vma) => [vma.start, vma.end] as const);

const makeVma = (mm: MmStruct, start: number, end: number) => new VmArea(mm, start, end, 0, 0, start);

/** The same questions, answered by looking at every range. */
class NaiveMap {
  ranges: Range[] = [];

  find = (page: number) => this.ranges.find(([, end]) => end > page) ?? null;
  findPrevious = (page: number) => this.ranges.findLast(([start]) => start < page) ?? null;
  inRange = (low: number, high: number) => this.ranges.filter(([start, end]) => start < high && end > low);

  gaps(low: number, high: number): Range[] {
    const edges = [-Infinity, ...this.ranges.flat(), Infinity];
    const gaps: Range[] = [];
    for (let i = 0; i < edges.length; i += 2) {
      gaps.push([Math.max(edges[i] as number, low), Math.min(edges[i + 1] as number, high)]);
    }
    return gaps;
  }

  gapTopDown(length: number, low: number, high: number): number {
    const gap = this.gaps(low, high).findLast(([from, to]) => to - from >= length);
    return gap === undefined ? -1 : gap[1] - length;
  }

  gapBottomUp(length: number, low: number, high: number): number {
    return this.gaps(low, high).find(([from, to]) => to - from >= length)?.[0] ?? -1;
  }
}

const SPACE = 4000;

/** A random change; ranges that are taken are ignored by both sides. */
function change(tree: VmaTree, naive: NaiveMap, mm: MmStruct, kind: number, at: number, size: number): void {
  const hit = naive.inRange(at, at + size);
  if (kind < 6 && hit.length === 0) {
    tree.insert(makeVma(mm, at, at + size));
    naive.ranges = [...naive.ranges, [at, at + size] as const].sort((a, b) => a[0] - b[0]);
  } else if (kind < 9 && hit[0] !== undefined) {
    const [[start]] = hit as [Range];
    tree.remove(start);
    naive.ranges = naive.ranges.filter(([from]) => from !== start);
  } else if (hit[0] !== undefined && hit[0][1] - hit[0][0] > 1) {
    const [[start, end]] = hit as [Range];
    const vma = tree.lookup(start) as VmArea;
    vma.start = start + 1;
    tree.resize(start, start + 1, end);
    naive.ranges = naive.ranges.map((range) => (range[0] === start ? ([start + 1, end] as const) : range));
  }
}

const step = fc.tuple(
  fc.integer({ min: 0, max: 9 }),
  fc.integer({ min: 1, max: SPACE }),
  fc.integer({ min: 1, max: 5 }),
);

describe('the VMA tree', () => {
  it('answers as a plain list does, after any changes', () => {
    const run = fc.property(
      fc.array(step, { maxLength: 400 }),
      fc.array(fc.tuple(fc.nat(SPACE), fc.nat(SPACE), fc.integer({ min: 1, max: 300 })), { maxLength: 20 }),
      (steps, questions) => {
        const { mm } = vmaWorld();
        const tree = new VmaTree();
        const naive = new NaiveMap();
        for (const [kind, at, size] of steps) change(tree, naive, mm, kind, at, size);
        expect(rangesOf(tree)).toEqual(naive.ranges);
        for (const [a, b, length] of questions) {
          const [low, high] = [Math.min(a, b), Math.max(a, b)];
          expect(tree.find(a)?.start).toBe(naive.find(a)?.[0]);
          expect(tree.findPrevious(a)?.start).toBe(naive.findPrevious(a)?.[0]);
          expect(tree.inRange(low, high).map((vma) => vma.start)).toEqual(
            naive.inRange(low, high).map(([start]) => start),
          );
          expect(tree.findGapTopDown(length, low, high)).toBe(naive.gapTopDown(length, low, high));
          expect(tree.findGapBottomUp(length, low, high)).toBe(naive.gapBottomUp(length, low, high));
        }
      },
    );
    fc.assert(run, { numRuns: 100 });
  });

  it('keeps every version readable after later changes', () => {
    const { mm } = vmaWorld();
    const tree = new VmaTree();
    const versions: { view: VmaTreeView; expected: number[] }[] = [];
    for (let i = 0; i < 500; i++) {
      tree.insert(makeVma(mm, ((i * 37) % 500) * 4 + 1, ((i * 37) % 500) * 4 + 3));
      if (i % 50 === 0) versions.push({ view: tree.snapshot(), expected: [...tree].map((vma) => vma.start) });
    }
    for (let i = 0; i < 500; i += 2) tree.remove(i * 4 + 1);
    for (const { view, expected } of versions) {
      expect([...view].map((vma) => vma.start)).toEqual(expected);
      expect(view.inRange(0, 4000).map((vma) => vma.start)).toEqual(expected);
    }
    expect([...tree]).toHaveLength(250);
  });
});

describe('a lookup in the VMA tree', () => {
  it('tells the VMA that holds a page from the next one above', () => {
    const { mm } = vmaWorld();
    const tree = new VmaTree();
    const vma = makeVma(mm, 10, 20);
    tree.insert(vma);
    expect([tree.find(5), tree.lookup(5)]).toEqual([vma, null]);
    expect([tree.find(19), tree.lookup(19)]).toEqual([vma, vma]);
    expect([tree.find(20), tree.lookup(20)]).toEqual([null, null]);
    expect([tree.findIntersection(0, 10), tree.findIntersection(0, 11)]).toEqual([null, vma]);
  });

  it('refuses what would overlap and what is not there', () => {
    const { mm } = vmaWorld();
    const tree = new VmaTree();
    tree.insert(makeVma(mm, 10, 20));
    expect(() => tree.insert(makeVma(mm, 19, 25))).toThrow(/overlap/);
    expect(() => tree.remove(11)).toThrow(/no VMA starts/);
    expect(() => tree.resize(30, 31, 32)).toThrow(/no VMA starts/);
  });

  it('stays shallow: 100,000 VMAs are found through few nodes', () => {
    const { mm } = vmaWorld();
    const tree = new VmaTree();
    for (let i = 0; i < 100_000; i++) tree.insert(makeVma(mm, i * 2, i * 2 + 1));
    for (let i = 0; i < 100_000; i += 997) expect(tree.lookup(i * 2)?.start).toBe(i * 2);
    expect(tree.findGapTopDown(1, 0, 199_999)).toBe(199_997);
    expect(tree.findGapTopDown(2, 0, 199_999)).toBe(-1);
    expect(tree.depth).toBeLessThanOrEqual(5);
  });
});
