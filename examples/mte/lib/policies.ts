/**
 * How an allocator may choose tags. Tag 0 is left to memory that no allocation owns, in every policy: 15 tags remain.
 * A mask has bit n set when tag n must not be chosen; IRG takes it as it is.
 */

/** What an allocator knows of a slot when it chooses a tag for it. */
export interface SlotTags {
  /** Slots count from 0 upwards in memory. */
  readonly index: number;
  /** Tags of the memory just below and just above the slot. */
  readonly left: number;
  readonly right: number;
}

export interface TagPolicy {
  readonly name: string;
  /** Tags that a new allocation may not have. */
  readonly excludedAtAllocation: (slot: SlotTags) => number;
  /** Tags that freed memory may not have. @param previous the tag that the owner used */
  readonly excludedAtFree: (slot: SlotTags, previous: number) => number;
}

const only = (tag: number): number => 1 << tag;
const NOBODY = only(0);
const EVEN_TAGS = 0x5555;
const ODD_TAGS = 0xaaaa;

/** Slots at even places have even tags, those at odd places odd ones. */
const otherParity = ({ index }: SlotTags): number => NOBODY | (index % 2 === 0 ? ODD_TAGS : EVEN_TAGS);
const neighbours = ({ left, right }: SlotTags): number => NOBODY | only(left) | only(right);

/** Any tag, whatever is around it and was there before. */
export const RANDOM: TagPolicy = {
  name: 'random',
  excludedAtAllocation: () => NOBODY,
  excludedAtFree: () => NOBODY,
};

/** Neither neighbour's tag; freed memory also does not keep its own. */
export const EXCLUDING: TagPolicy = {
  name: 'excluding neighbours',
  excludedAtAllocation: neighbours,
  excludedAtFree: (slot, previous) => neighbours(slot) | only(previous),
};

/** As Scudo has it: 7 tags for even places, 8 for odd ones; freed memory does not keep its own. */
export const ODD_EVEN: TagPolicy = {
  name: 'odd and even',
  excludedAtAllocation: otherParity,
  excludedAtFree: (slot, previous) => otherParity(slot) | only(previous),
};

export const POLICIES: readonly TagPolicy[] = [RANDOM, EXCLUDING, ODD_EVEN];
