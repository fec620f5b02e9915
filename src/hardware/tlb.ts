/**
 * A set-associative cache of translations with true LRU in each set; also the store behind the paging-structure caches.
 * An entry is four int32: tag low, tag high, data low, data high, side by side. What the words mean is the caller's;
 * only `TlbTag` is fixed here. An unbounded cache (`grows`) never evicts: a full set makes all sets wider.
 * Left out: pseudo-LRU, hashed set selection, coalescing of neighbouring pages.
 */
import type { CacheGeometry } from './retention.ts';

/**
 * The second tag word. The first is the page number's low 32 bits (bits 43:12 of the address), with the bits inside a
 * large page cleared.
 */
export const TlbTag = {
  /** Bits 56:44 of the address. */
  PAGE_HIGH_MASK: 0x1fff,
  CONTEXT_SHIFT: 13,
  /** The address-space number (PCID, ASID low bits): 12 bits. 0 in a global entry. */
  CONTEXT_MASK: 0xfff << 13,
  GLOBAL: 1 << 25,
  VALID: 1 << 26,
  /** Which page size, 0 the smallest: two bits. */
  SIZE_SHIFT: 27,
  SIZE_MASK: 3 << 27,
} as const;

const { VALID } = TlbTag;
/** Words per entry. */
const STRIDE = 4;

export class Tlb {
  entries: Int32Array;
  /** Recency of each entry: stamp in the upper bits, way in the lower `wayBits`, so that the minimum names its way. */
  ages: Int32Array;
  ways: number;
  readonly sets: number;
  readonly setMask: number;
  /** log2 of the words of one set in `entries`: room for a power of two of ways, so that places are shifts and masks. */
  setShift: number;
  stamp = 0;
  /** 1 in the first bit above the way. */
  stampStep: number;
  /** Entries were put in since the cache was last emptied. */
  used = false;
  private readonly grows: boolean;
  /** Of its making: `widen` changes `ways`. */
  private readonly firstWays: number;

  /** @param grows never evict: `adversarial` retention. `ways` 0 without it is a cache that keeps nothing. */
  constructor(geometry: CacheGeometry, grows = false) {
    const { sets, ways } = geometry;
    if (sets < 1 || (sets & (sets - 1)) !== 0) throw new RangeError(`${sets} sets: not a power of two`);
    this.sets = sets;
    this.setMask = sets - 1;
    this.grows = grows;
    this.firstWays = ways;
    this.ways = ways;
    this.stampStep = stampStepFor(ways);
    this.setShift = shiftFor(this.stampStep);
    this.entries = new Int32Array(ways === 0 ? 0 : sets << this.setShift);
    this.ages = new Int32Array(this.entries.length / STRIDE);
    this.resetAges();
  }

  /** As it was made. */
  renew(): void {
    if (this.ways === this.firstWays) this.dropAll();
    else {
      this.setWays(this.firstWays);
      this.used = false;
    }
  }

  /**
   * The index in `entries` of the entry with this tag, or -1.
   * @param set any number; its low bits choose the set
   */
  find(tagLo: number, tagHi: number, set: number): number {
    const entries = this.entries;
    const start = (set & this.setMask) << this.setShift;
    const end = start + (this.ways << 2);
    for (let at = start; at < end; at += STRIDE) {
      if (entries[at] === tagLo && entries[at + 1] === tagHi) return at;
    }
    return -1;
  }

  /** As `find`, with either of two second tag words: of an address space, and of a global entry. */
  findEither(tagLo: number, tagHi: number, otherTagHi: number, set: number): number {
    const entries = this.entries;
    const start = (set & this.setMask) << this.setShift;
    const end = start + (this.ways << 2);
    for (let at = start; at < end; at += STRIDE) {
      if (entries[at] !== tagLo) continue;
      const tag = entries[at + 1];
      if (tag === tagHi || tag === otherTagHi) return at;
    }
    return -1;
  }

  /** Makes an entry the most recently used of its set. @param at its index in `entries` */
  touch(at: number): void {
    const entry = at >> 2;
    const step = this.stampStep;
    const stamp = this.stamp;
    this.ages[entry] = stamp | (entry & (step - 1));
    this.stamp = (stamp + step) | 0;
    if (this.stamp < 0) this.renumber();
  }

  /** Puts an entry in, in place of the one with the same tag or of the least recently used one. */
  insert(tagLo: number, tagHi: number, dataLo: number, dataHi: number, set: number): void {
    const at = this.find(tagLo, tagHi, set);
    if (at < 0) this.insertNew(tagLo, tagHi, dataLo, dataHi, set);
    else this.put(at, tagLo, tagHi, dataLo, dataHi);
  }

  /** As `insert`, of an entry that is known not to be there. */
  insertNew(tagLo: number, tagHi: number, dataLo: number, dataHi: number, set: number): void {
    if (this.ways === 0) return;
    let at = this.victim(set & this.setMask);
    if (this.grows && ((this.entries[at + 1] as number) & VALID) !== 0) {
      this.widen();
      at = this.victim(set & this.setMask);
    }
    this.used = true;
    this.put(at, tagLo, tagHi, dataLo, dataHi);
  }

  private put(at: number, tagLo: number, tagHi: number, dataLo: number, dataHi: number): void {
    const entries = this.entries;
    entries[at] = tagLo;
    entries[at + 1] = tagHi;
    entries[at + 2] = dataLo;
    entries[at + 3] = dataHi;
    this.touch(at);
  }

  /** The least recently used entry of a set, found without branches: the subtraction's sign selects the minimum. */
  private victim(set: number): number {
    const ages = this.ages;
    const start = set << (this.setShift - 2);
    let oldest = ages[start] as number;
    for (let way = 1; way < this.ways; way++) {
      const difference = ((ages[start + way] as number) - oldest) | 0;
      oldest = (oldest + (difference & (difference >> 31))) | 0;
    }
    return (start + (oldest & (this.stampStep - 1))) * STRIDE;
  }

  /** Drops the `index`-th valid entry, in place order. @throws RangeError when there are fewer */
  evict(index: number): void {
    const { entries } = this;
    let left = index;
    for (let at = 0; at < entries.length; at += STRIDE) {
      if (((entries[at + 1] as number) & VALID) === 0 || left-- > 0) continue;
      this.clear(at);
      return;
    }
    throw new RangeError(`no entry ${index} in a cache of ${this.count()}`);
  }

  /** Drops the entry with this tag. @returns how many were dropped */
  drop(tagLo: number, tagHi: number, set: number): number {
    const at = this.ways === 0 ? -1 : this.find(tagLo, tagHi, set);
    if (at < 0) return 0;
    this.clear(at);
    return 1;
  }

  /** Drops every valid entry whose second tag word, under `mask`, equals `value`. @returns how many were dropped */
  dropWhere(mask: number, value: number): number {
    if (!this.used) return 0;
    const entries = this.entries;
    let dropped = 0;
    for (let at = 0; at < entries.length; at += STRIDE) {
      const tagHi = entries[at + 1] as number;
      if ((tagHi & VALID) !== 0 && (tagHi & mask) === value) {
        this.clear(at);
        dropped++;
      }
    }
    return dropped;
  }

  /** As `dropWhere`, of the entries with this first tag word in one set. */
  dropFrom(tagLo: number, mask: number, value: number, set: number): number {
    if (!this.used) return 0;
    const entries = this.entries;
    const start = (set & this.setMask) << this.setShift;
    const end = start + (this.ways << 2);
    let dropped = 0;
    for (let at = start; at < end; at += STRIDE) {
      const tagHi = entries[at + 1] as number;
      if (entries[at] === tagLo && (tagHi & VALID) !== 0 && (tagHi & mask) === value) {
        this.clear(at);
        dropped++;
      }
    }
    return dropped;
  }

  /** Drops every valid entry whose tag words `matches`. @returns how many were dropped */
  dropMatching(matches: (tagLo: number, tagHi: number) => boolean): number {
    if (!this.used) return 0;
    const entries = this.entries;
    let dropped = 0;
    for (let at = 0; at < entries.length; at += STRIDE) {
      const tagHi = entries[at + 1] as number;
      if ((tagHi & VALID) !== 0 && matches(entries[at] as number, tagHi)) {
        this.clear(at);
        dropped++;
      }
    }
    return dropped;
  }

  /** Drops everything and forgets the order of use. @returns how many were dropped */
  dropAll(): number {
    if (!this.used) return 0;
    const dropped = this.count();
    this.entries.fill(0);
    this.resetAges();
    this.used = false;
    return dropped;
  }

  /** Calls `visit` for each valid entry, in place order. */
  forEach(visit: (tagLo: number, tagHi: number, dataLo: number, dataHi: number) => void): void {
    const entries = this.entries;
    for (let at = 0; at < entries.length; at += STRIDE) {
      if (((entries[at + 1] as number) & TlbTag.VALID) === 0) continue;
      visit(
        entries[at] as number,
        entries[at + 1] as number,
        entries[at + 2] as number,
        entries[at + 3] as number,
      );
    }
  }

  /** Valid entries. */
  count(): number {
    let valid = 0;
    const entries = this.entries;
    for (let at = 1; at < entries.length; at += STRIDE) if (((entries[at] as number) & VALID) !== 0) valid++;
    return valid;
  }

  /** An invalid entry is older than all valid ones: it is the next to be used. */
  private clear(at: number): void {
    this.entries.fill(0, at, at + STRIDE);
    const entry = at >> 2;
    this.ages[entry] = entry & (this.stampStep - 1);
  }

  /** Stamps begin above 0, which is the age of an unused entry. */
  private resetAges(): void {
    const { ages, stampStep } = this;
    const firstSet = Math.min(stampStep, ages.length);
    for (let way = 0; way < firstSet; way++) ages[way] = way;
    // All sets are alike. Doubling: 0.3 µs for 2048 entries in place of 2.
    for (let done = stampStep; done < ages.length; done *= 2) ages.copyWithin(done, 0, done);
    this.stamp = stampStep;
  }

  private setWays(ways: number): void {
    this.ways = ways;
    this.stampStep = stampStepFor(ways);
    this.setShift = shiftFor(this.stampStep);
    this.entries = new Int32Array(this.sets << this.setShift);
    this.ages = new Int32Array(this.entries.length / STRIDE);
    this.resetAges();
  }

  /** The stamp ran out of bits: gives each set's entries new ones, small, in the same order. */
  private renumber(): void {
    const wayMask = this.stampStep - 1;
    for (let start = 0; start < this.ages.length; start += this.stampStep) {
      const order = Array.from(this.ages.subarray(start, start + this.ways)).sort((a, b) => a - b);
      for (const [rank, age] of order.entries()) {
        const stamp = age <= wayMask ? 0 : (rank + 1) * this.stampStep;
        this.ages[start + (age & wayMask)] = stamp | (age & wayMask);
      }
    }
    this.stamp = (this.ways + 2) * this.stampStep;
  }

  private widen(): void {
    const kept: number[] = [];
    this.forEach((...words) => {
      kept.push(...words);
    });
    const sets: number[] = [];
    for (let at = 0; at < this.entries.length; at += STRIDE) {
      if (((this.entries[at + 1] as number) & VALID) !== 0) sets.push(at >> this.setShift);
    }
    this.setWays(this.ways * 2);
    sets.forEach((set, i) => {
      const [tagLo, tagHi, dataLo, dataHi] = kept.slice(i * STRIDE) as [number, number, number, number];
      this.insert(tagLo, tagHi, dataLo, dataHi, set);
    });
  }
}

/** 2 to the bits needed for a way number. */
function stampStepFor(ways: number): number {
  let step = 1;
  while (step < ways) step *= 2;
  return step;
}

/** log2 of the words of so many entries. */
const shiftFor = (ways: number): number => 2 + Math.log2(ways);
