/** What an architecture's mappings say beside where they are: the columns of `maps` that differ, and its JSON fields. */
import { hexHalves } from '../base/u64.ts';
import type { MappedRange } from '../conformance/maps/ranges.ts';

export interface MapsColumns<Rights> {
  readonly rightsHeads: readonly string[];
  readonly memoryHeads: readonly string[];
  /** Cells under `rightsHeads` and `memoryHeads`. */
  rights(rights: Rights): readonly string[];
  memory(rights: Rights): readonly string[];
  /** `6×4K 1×2M`. */
  pages(range: MappedRange<Rights>): string;
  /** The letters of the cells explained. */
  readonly legend: string;
  /** Fields of one range, between its place and its counts. */
  json(range: MappedRange<Rights>): object;
}

/** `0x…` of a page or frame number's first byte; 2^52 pages give 0x10000000000000000. */
export const addressText = (page: number): string =>
  page === 2 ** 52
    ? '0x10000000000000000'
    : hexHalves(Math.floor(page / 2 ** 20) | 0, ((page % 2 ** 20) * 4096) | 0);

export const withCommas = (count: number): string => count.toLocaleString('en-US');

/** Counts with their names, those that are 0 left out: `6×4K 1×2M`. */
export const countsText = (counts: readonly (readonly [count: number, name: string])[]): string =>
  counts
    .filter(([count]) => count !== 0)
    .map(([count, name]) => `${count}×${name}`)
    .join(' ');
