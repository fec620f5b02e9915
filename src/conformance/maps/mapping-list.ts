/** Every mapping of a dump, merged, and every table that it should hold and does not. */
import type { LeafVisitor, MappedLeaf, MissingTable } from './leaves.ts';
import { type MappedRange, RangeMerger, type RangeRules } from './ranges.ts';

export interface MappingList<Rights> {
  readonly ranges: readonly MappedRange<Rights>[];
  readonly missing: readonly MissingTable[];
  /** Leaf entries before merging. */
  readonly leaves: number;
}

/** @param visit shows every leaf in ascending order */
export function mergeLeaves<Leaf extends MappedLeaf, Rights>(
  rules: RangeRules<Leaf, Rights>,
  visit: (visitor: LeafVisitor<Leaf>) => void,
): MappingList<Rights> {
  const merger = new RangeMerger(rules);
  const missing: MissingTable[] = [];
  let leaves = 0;
  visit({
    leaf: (leaf) => {
      leaves++;
      merger.add(leaf);
    },
    missing: (table) => missing.push(table),
  });
  return { ranges: merger.ranges, missing, leaves };
}
