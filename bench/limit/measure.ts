/**
 * How the limit bench measures: each workload by CPU time, in rounds that follow each other, so that two programs which
 * take turns have rounds that are neighbours in time.
 */

/** Per workload and round, as in limit.c. */
const LEAST_NANOSECONDS = 60e6;
const LEAST_PASSES = 3;

/** Nanoseconds of one operation, and what a pass computed: a wrong result is not a fast one. */
export interface Measure {
  readonly nanoseconds: number;
  readonly checksum: number;
}

/** A measurement of each workload, by name. */
export type Round = ReadonlyMap<string, Measure>;

/** CPU time of this process: the machine may be shared. */
function cpuNanoseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1e3;
}

/** One workload: a pass to warm up, then passes until they have taken long enough. @param operations of one pass */
export function measure(operations: number, pass: () => number): Measure {
  let checksum = pass();
  let spent = 0;
  let passes = 0;
  while (spent < LEAST_NANOSECONDS || passes < LEAST_PASSES) {
    const start = cpuNanoseconds();
    checksum = pass();
    spent += cpuNanoseconds() - start;
    passes++;
  }
  return { nanoseconds: spent / passes / operations, checksum };
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] as number;

const times = (rounds: readonly Round[], name: string): number[] =>
  rounds.map((round) => (round.get(name) as Measure).nanoseconds);

/** Millions a second: the median over the rounds. */
export const rate = (rounds: readonly Round[], name: string): number => 1e3 / median(times(rounds, name));

/**
 * The speed of `name` as a fraction of that of `base`, the median over the rounds. The two of a round ran one after the
 * other: what else the machine did then slowed both, which the ratio of two medians would not see.
 */
export function pairedRatio(
  rounds: readonly Round[],
  name: string,
  bases: readonly Round[],
  base: string = name,
): number {
  const mine = times(rounds, name);
  return median(times(bases, base).map((nanoseconds, i) => nanoseconds / (mine[i] as number)));
}

/** Did every round of every program compute the same? */
export function checksumsAgree(rounds: readonly Round[], name: string): boolean {
  return new Set(rounds.map((round) => round.get(name)?.checksum)).size === 1;
}

/** Did two workloads compute the same? */
export function sameChecksum(
  rounds: readonly Round[],
  name: string,
  bases: readonly Round[],
  base: string,
): boolean {
  return rounds[0]?.get(name)?.checksum === bases[0]?.get(base)?.checksum;
}
