/**
 * How IRG, ADDG and SUBG come to a tag: the walk over the tags that are not excluded, and the generator behind IRG.
 * Numbers only; which registers hold them is execute.ts's and tag-operations.ts's business.
 * With GCR_EL1.RRND = 0 the generator is architected, bit for bit. With RRND = 1 it is IMPLEMENTATION DEFINED; the one
 * chosen here is said at `nextTag`.
 * @see Arm ARM (DDI 0487), shared pseudocode AArch64.RandomTag, AArch64.RandomTagBit, AArch64.ChooseNonExcludedTag
 */

/** Every tag is excluded: the result is tag 0 then. */
const ALL_EXCLUDED = 0xffff;

/**
 * The tag `offset` steps after `start`, counting only tags that are not excluded. An excluded start counts as the next
 * allowed tag when the offset is 0.
 * @param exclude bit n: tag n is not to be chosen
 */
export function chooseNonExcludedTag(start: number, offset: number, exclude: number): number {
  if ((exclude & ALL_EXCLUDED) === ALL_EXCLUDED) return 0;
  let tag = start;
  if (offset === 0) while (((exclude >>> tag) & 1) !== 0) tag = (tag + 1) & 15;
  for (let left = offset; left > 0; left--) {
    tag = (tag + 1) & 15;
    while (((exclude >>> tag) & 1) !== 0) tag = (tag + 1) & 15;
  }
  return tag;
}

/** One step of RGSR_EL1.SEED, 16 bits: the new top bit is the random one. A seed of 0 stays 0. */
export function nextSeed(seed: number): number {
  const top = ((seed >>> 5) ^ (seed >>> 3) ^ (seed >>> 2) ^ seed) & 1;
  return (top << 15) | (seed >>> 1);
}

/** The seed after one IRG: four steps. */
export const seedAfterTag = (seed: number): number => nextSeed(nextSeed(nextSeed(nextSeed(seed))));

/**
 * AArch64.RandomTag: four random bits, the first in bit 0. Since each new bit enters at the top and the seed moves
 * down, they are bits 15:12 of the seed after the four steps.
 */
export const tagOfSeed = (seedAfter: number): number => (seedAfter >>> 12) & 15;

/** Words of 24 bits: the IMPLEMENTATION DEFINED seed has 48 bits, RGSR_EL1 bits 55:8. */
const WORD = 0x1000000;
/** 0x5DEECE66D. */
const MULTIPLIER_HIGH = 0x5de;
const MULTIPLIER_LOW = 0xece66d;
const INCREMENT = 11;

/** The generator for GCR_EL1.RRND = 1; one object per CPU, nothing is allocated per tag. */
export class ImplementationDefinedGenerator {
  /** The seed in two halves of 24 bits. */
  high = 0;
  low = 0;

  /**
   * IMPLEMENTATION DEFINED: the linear congruential generator modulo 2^48 of POSIX drand48, whose top 24 bits choose
   * among the allowed tags with equal chances (to 1 in a million). Any seed will do, 0 too, and the tags are a function
   * of it. What went before (RGSR_EL1.TAG) has no influence on the next tag, unlike with RRND = 0.
   * @returns the tag; 0, with the seed as it was, when all are excluded
   * @see Arm ARM (DDI 0487), "GCR_EL1", field RRND; shared pseudocode ChooseRandomNonExcludedTag
   * @see POSIX.1-2024, drand48()
   */
  nextTag(exclude: number): number {
    const allowed = ~exclude & ALL_EXCLUDED;
    if (allowed === 0) return 0;
    this.step();
    let count = 0;
    for (let bits = allowed; bits !== 0; bits &= bits - 1) count++;
    let skip = Math.floor((this.high * count) / WORD);
    let tag = 0;
    for (;;) {
      if (((allowed >>> tag) & 1) !== 0 && skip-- === 0) return tag;
      tag++;
    }
  }

  private step(): void {
    // Every sum stays below 2^53.
    const low = this.low * MULTIPLIER_LOW + INCREMENT;
    const carry = Math.floor(low / WORD);
    this.high = (this.high * MULTIPLIER_LOW + this.low * MULTIPLIER_HIGH + carry) % WORD;
    this.low = low % WORD;
  }
}
