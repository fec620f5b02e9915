/**
 * One call of a random program as six numbers and a name: short enough to be pasted into a test, and each number shrinks
 * to the plainest choice. What they choose is in the tables of `calls-*.ts`; pages count from `BASE_PAGE`.
 */
import fc from 'fast-check';
import type { Task } from '../../../../src/base/task.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import type { Program } from './program.ts';

/** The call; who makes it; the first page, and how many; another page, or an offset; which variant of the call. */
export type Step = readonly [
  call: string,
  who: number,
  page: number,
  pages: number,
  other: number,
  choice: number,
];

/** What one call does to the kernel; what it returns does not matter. */
export type Call = (world: Program, task: TaskStruct, step: Step) => Task<unknown>;

export const pick = <T>(from: readonly T[], choice: number): T => from[choice % from.length] as T;

/** Calls and how often each comes. */
export type Weights = Readonly<Record<string, number>>;

/** Where huge pages of ordinary memory may be, and where those of the pools are mapped: on a boundary of 2 MiB. */
const THP_AREA = 8 + 2 * 512;
const HUGETLB_AREA = THP_AREA + 4 * 512;
const HUGE = 512;

const smallRange = fc.tuple(fc.nat({ max: 27 }), fc.integer({ min: 1, max: 6 }));
/** Whole huge pages, single pages in them, and what crosses their boundaries. */
const thpRange = fc
  .tuple(fc.constantFrom(0, 1, 511, 512, 513, 700, 1023, 1024, 1535), fc.constantFrom(1, 2, 512, 513, 1024))
  .map(([page, pages]) => [THP_AREA + page, pages] as const);
const hugetlbRange = fc
  .tuple(fc.nat({ max: 4 }), fc.integer({ min: 1, max: 3 }))
  .map(([page, pages]) => [HUGETLB_AREA + page * HUGE, pages * HUGE] as const);
const anyRange = fc.oneof(
  { weight: 12, arbitrary: smallRange },
  { weight: 2, arbitrary: thpRange },
  { weight: 1, arbitrary: hugetlbRange },
);

/** Steps of the calls that have a weight. */
export function stepOf(
  weights: Weights,
  range: fc.Arbitrary<readonly [number, number]> = anyRange,
): fc.Arbitrary<Step> {
  const names = Object.entries(weights).flatMap(([name, weight]) =>
    Array.from({ length: weight }, () => name),
  );
  return fc
    .tuple(fc.constantFrom(...names), fc.nat({ max: 3 }), range, fc.nat({ max: 40 }), fc.nat({ max: 239 }))
    .map(([call, who, [page, pages], other, choice]) => [call, who, page, pages, other, choice] as const);
}

/** The same, on few pages, so that tasks meet. */
export const crowdedStep = (weights: Weights): fc.Arbitrary<Step> =>
  stepOf(weights, fc.tuple(fc.nat({ max: 5 }), fc.integer({ min: 1, max: 4 })));

/** In the form of a test. */
export const listing = (steps: readonly Step[]): string =>
  `[\n${steps.map((step) => `  ${JSON.stringify(step).replaceAll('"', "'").replaceAll(',', ', ')},`).join('\n')}\n]`;
