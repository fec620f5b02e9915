/**
 * How often each bug is found, computed from how the tags are chosen: what the trials of detection-rate.ts have to agree
 * with. Every tag that is allowed is as likely as the others. A bug is missed when the pointer happens to have the tag
 * of the memory it reaches.
 */
import { EXCLUDING, ODD_EVEN, RANDOM, type TagPolicy } from './policies.ts';

export interface Formula {
  readonly text: string;
  /** The probability that the bug is found. */
  readonly probability: number;
}

/** Tags but 0; of these the odd and the even ones. */
const ALL = 15;
const ODD = 8;
const EVEN = 7;

const always: Formula = { text: '1', probability: 1 };
export const never: Formula = { text: '0', probability: 0 };
const oneTagOf = (tags: number): Formula => ({ text: `1 - 1/${tags}`, probability: 1 - 1 / tags });
/** Half of the trials are at even places, half at odd ones. */
const half = (even: number, odd: number): Formula => ({
  text: `1 - (1/${even} + 1/${odd})/2`,
  probability: 1 - (1 / even + 1 / odd) / 2,
});

/** For each policy. */
export type FormulaByPolicy = (policy: TagPolicy) => Formula;

const byPolicy =
  (random: Formula, excluding: Formula, oddEven: Formula): FormulaByPolicy =>
  (policy) => {
    const found = new Map([
      [RANDOM, random],
      [EXCLUDING, excluding],
      [ODD_EVEN, oddEven],
    ]).get(policy);
    if (found === undefined) throw new Error(`no formula for the policy "${policy.name}"`);
    return found;
  };

/** Two tags that nothing keeps apart, or something does. */
export const neighbour = byPolicy(oneTagOf(ALL), always, always);

/**
 * The object after next. With neighbours excluded, its tag is not that of the object between, which is not the first
 * one's either: 14 tags are left, and the first one's is one of them.
 */
export const afterNext = byPolicy(oneTagOf(ALL), oneTagOf(ALL - 1), half(EVEN, ODD));

/** Memory that was freed, and has not been handed out again or has been once: it has the tag it got when freed. */
export const freed = byPolicy(oneTagOf(ALL), always, always);

/**
 * Memory that was handed out again twice. The second tag is not the first, the third not the second: it is the first
 * again with one chance in those that are left. Between two neighbours of the same tag (one case in 14, as in
 * `afterNext`) these are 15 - 2, between two of different tags 15 - 3.
 */
export const reusedTwice = byPolicy(
  oneTagOf(ALL),
  {
    text: '1 - (1/13)/14 - (1/12)*13/14',
    probability: 1 - 1 / (ALL - 2) / (ALL - 1) - ((1 / (ALL - 3)) * (ALL - 2)) / (ALL - 1),
  },
  half(EVEN - 1, ODD - 1),
);

/** Frames of functions have random tags, whatever the policy of the heap. */
export const otherFrame: Formula = oneTagOf(ALL);
/** Variables of one frame have tags one after the other; a frame that is left has tag 0, which no variable has. */
export const ownFrame: Formula = always;
