/**
 * Translation by one arm64 CPU at EL1&0, stage 1: address range check with the top byte ignored, TLBs, walk, permissions,
 * fill. What reads and writes data through it, and the alignment checks that come before, are in mmu.ts.
 * The registers are in `state`; after changing them, call `updateControls`. What a TLBI drops is in invalidation.ts.
 * Left out: stage 2, EL2 and EL3, TLB conflict aborts, entries that combine contiguous descriptors.
 *
 * Choices where the manual allows several:
 * - With adversarial retention a cached translation that forbids the access faults at once, else it is walked again.
 * - MMU off: the manual's memory types; an address wider than the implemented physical addresses is an Address size fault.
 *
 * @see Arm ARM (DDI 0487), "The AArch64 Virtual Memory System Architecture"
 */
import type { Tlb } from '../../hardware/tlb.ts';
import { Access } from '../access.ts';
import { FaultKind } from '../fault.ts';
import { CacheName } from '../walk-observer.ts';
import type { AddressRange } from './address-range.ts';
import { Cached, cachedPageShift, cachedSize, leafShift } from './cached-translation.ts';
import { Reason } from './fault-reasons.ts';
import { Shareability } from './memory-attributes.ts';
import { ACCESS_MASK, RIGHTS_MASK, Verdict } from './permissions.ts';
import { firstWordMask, secondWordMask, setOf, Tag } from './tlb-tag.ts';
import { TranslationControls } from './translation-controls.ts';

// Named again here, as V8 folds a module's own constants and loads imported ones each time; see walker.ts.
const { ADDRESS_LOW, ADDRESS_HIGH, SIZE_MASK, GLOBAL, DEVICE } = Cached;
const { None } = FaultKind;
const { Allowed, Denied } = Verdict;
const { PAGE_HIGH_MASK } = Tag;
const FETCH = Access.Fetch;
const RIGHTS = RIGHTS_MASK;
const ACCESS = ACCESS_MASK;
const TOP_BYTE = 0xff000000 | 0;

export class Translation extends TranslationControls {
  /**
   * Translates a byte address.
   * @param access `Access` bits
   * @returns 0, with the output address in `paHi`/`paLo` and the rest in `dataHi`; or a fault kind, with the cause in `fault`
   */
  translate(hi: number, lo: number, access: number): FaultKind {
    if (this.attached !== null) this.attached.begin(hi, lo, access);
    const range = this.rangeOf(hi);
    let tlb = this.dataLookup;
    let outside = range.outsideHi;
    if ((access & FETCH) !== 0) {
      tlb = this.fetchLookup;
      outside |= TOP_BYTE;
    }
    if (((hi ^ range.expectedHi) & outside) !== 0 && !this.enterRange(hi, lo, access, range)) {
      return FaultKind.NotPresent;
    }
    const tagLo = ((lo >>> 12) | (hi << 20)) & range.pageMask;
    const pageHigh = (hi >>> 12) & PAGE_HIGH_MASK;
    const tagHi = pageHigh | range.contextTag;
    const entries = tlb.entries;
    const start = ((tagLo >>> range.pageShift) & tlb.setMask) << tlb.setShift;
    const end = start + (tlb.ways << 2);
    for (let at = start; at < end; at += 4) {
      if (entries[at] !== tagLo) continue;
      const tag = entries[at + 1] as number;
      if (tag !== tagHi && tag !== (pageHigh | range.globalTag)) continue;
      const dataLo = entries[at + 2] as number;
      const dataHi = entries[at + 3] as number;
      if (this.verdicts[(this.classes[access & ACCESS] as number) | (dataLo & RIGHTS)] !== Allowed) {
        const high = this.reportedHigh(hi, access);
        return this.hitDecides(high, lo, access, range, tagLo, tagHi, dataLo, dataHi, at);
      }
      tlb.touch(at);
      this.dataHi = dataHi;
      this.paLo = (dataLo & ADDRESS_LOW) | (lo & range.offsetMask);
      if (this.attached !== null) this.tellHit(access, dataLo);
      return None;
    }
    const high = this.reportedHigh(hi, access);
    if (this.uncached) return this.walkFromRoot(high, lo, access, range);
    return this.missFirstLevel(high, lo, access, range, tagLo, tagHi, true);
  }

  /** The high half of the address as a fault reports it: of a fetch with the top byte made a sign extension. */
  private reportedHigh(hi: number, access: number): number {
    return (access & FETCH) === 0 ? hi : this.branchAddress(hi);
  }

  /**
   * The range check of addresses that are not plainly inside. There are no ranges while the MMU is off.
   * @returns false, with the fault set, when the address is outside
   */
  private enterRange(hi: number, lo: number, access: number, range: AddressRange): boolean {
    const high = this.reportedHigh(hi, access);
    if (!this.on || range.contains(high, lo, (access & FETCH) === 0)) return true;
    const reason = range.walkReason === Reason.RegionSize ? Reason.RegionSize : Reason.OutOfRegion;
    this.walker.setFault(FaultKind.NotPresent, high, lo, access, reason);
    this.attached?.end(FaultKind.NotPresent, 0, 0, reason);
    return false;
  }

  /**
   * As `translate`, for an access that is not aligned to its size: an Alignment fault if the memory is of a Device type.
   * That is checked after the Access flag and before permissions, hence here.
   */
  translateUnaligned(hi: number, lo: number, access: number): FaultKind {
    this.walker.unaligned = true;
    let kind = this.translate(hi, lo, access);
    this.walker.unaligned = false;
    if (kind === None && (this.dataHi & DEVICE) !== 0) {
      const level = this.on ? this.leafLevel : 0;
      kind = this.walker.setFault(FaultKind.Alignment, hi, lo, access, Reason.DeviceMemory, level);
      this.faulted(kind);
    }
    return kind;
  }

  /** A cached translation whose remembered verdict is not "allowed". `at`: its place in the first-level TLB, or -1. */
  private hitDecides(
    hi: number,
    lo: number,
    access: number,
    range: AddressRange,
    tagLo: number,
    tagHi: number,
    dataLo: number,
    dataHi: number,
    at: number,
  ): FaultKind {
    const rights = dataLo & RIGHTS;
    const verdict = this.memo.verdict(access, rights);
    if (verdict === Allowed) {
      if (at >= 0) ((access & FETCH) === 0 ? this.dataTlb : this.fetchTlb).touch(at);
      this.use(hi, lo, access, dataLo, dataHi);
      return None;
    }
    // A hit needs no walk, so that one which is not possible does not matter either.
    if (verdict === Denied && (this.adversarial || range.walkFault !== None)) {
      return this.deniedByHit(hi, lo, access, rights, dataHi);
    }
    if (this.attached !== null) this.attached.rewalk(firstLevel(access), dataHi, dataLo);
    return this.missFirstLevel(hi, lo, access, range, tagLo, tagHi, false);
  }

  /** A cached translation forbids the access. The level is the leaf's; no descriptor was read. */
  private deniedByHit(hi: number, lo: number, access: number, rights: number, dataHi: number): FaultKind {
    const reasons = this.memo.reasons(access, rights);
    const level = cachedSize(dataHi) + 1;
    if ((reasons & Reason.E0pd) !== 0) {
      return this.faulted(this.walker.setFault(FaultKind.NotPresent, hi, lo, access, reasons));
    }
    const misplaced = this.walker.unaligned && (dataHi & DEVICE) !== 0;
    const kind = misplaced ? FaultKind.Alignment : FaultKind.Permission;
    const reason = misplaced ? Reason.DeviceMemory : reasons;
    return this.faulted(this.walker.setFault(kind, hi, lo, access, reason, level));
  }

  /** Takes a cached translation as the result. */
  private use(hi: number, lo: number, access: number, dataLo: number, dataHi: number): void {
    this.take(hi, lo, dataLo, dataHi);
    if (this.attached !== null) this.tellHit(access, dataLo);
  }

  /** The output address of a page or block of any size. In `dataHi` it replaces the address of the block. */
  private take(hi: number, lo: number, dataLo: number, dataHi: number): void {
    const shift = cachedPageShift(dataHi);
    if (shift < 32) {
      const mask = (1 << shift) - 1;
      this.paLo = (dataLo & ADDRESS_LOW & ~mask) | (lo & mask);
      this.dataHi = dataHi;
    } else {
      this.paLo = lo;
      this.dataHi = dataHi | (hi & (2 ** (shift - 32) - 1));
    }
  }

  private tellHit(access: number, dataLo: number, cache: CacheName = firstLevel(access)): void {
    this.attached?.hit(cache, this.dataHi, dataLo);
    this.attached?.end(None, this.paHi, this.paLo, 0);
  }

  /**
   * Second level, then blocks, then the walk and the fill. One function on purpose: it is too large for V8 to put into
   * `translate`, as in src/arch/x86_64/translation.ts.
   * @param lookUp false when a cached translation was found and cannot be used: it is walked again and replaced
   */
  // biome-ignore lint/complexity/noExcessiveCognitiveComplexity: see above; measured for x86-64
  private missFirstLevel(
    hi: number,
    lo: number,
    access: number,
    range: AddressRange,
    tagLo: number,
    tagHi: number,
    lookUp: boolean,
  ): FaultKind {
    if (!this.on) return this.translateFlat(hi, lo, access);
    const second = this.secondTlb;
    const first = (access & FETCH) === 0 ? this.dataTlb : this.fetchTlb;
    const set = tagLo >>> range.pageShift;
    if (lookUp) {
      const at = second.findEither(tagLo, tagHi, (tagHi & PAGE_HIGH_MASK) | range.globalTag, set);
      if (at >= 0) {
        const { entries } = second;
        const dataLo = entries[at + 2] as number;
        const dataHi = entries[at + 3] as number;
        if (this.memo.verdict(access, dataLo & RIGHTS) !== Allowed) {
          return this.hitDecides(hi, lo, access, range, tagLo, tagHi, dataLo, dataHi, -1);
        }
        second.touch(at);
        this.secondLevelHits++;
        first.insertNew(tagLo, entries[at + 1] as number, dataLo, dataHi, set);
        this.dataHi = dataHi;
        this.paLo = (dataLo & ADDRESS_LOW) | (lo & range.offsetMask);
        if (this.attached !== null) this.tellHit(access, dataLo, CacheName.SecondLevel);
        return None;
      }
      if (this.hasLarge) {
        const kind = this.findLarge(hi, lo, access, range, tagLo, tagHi);
        if (kind >= 0) return kind as FaultKind;
      }
    }
    const walker = this.walker;
    const kind = walker.walk(hi, lo, access, range, tagLo, tagHi);
    if (kind !== None) return this.faulted(kind);
    const dataLo = walker.dataLo;
    const dataHi = walker.dataHi;
    if (lookUp && (dataHi & (SIZE_MASK | GLOBAL)) === 0) {
      this.dataHi = dataHi;
      this.paLo = (dataLo & ADDRESS_LOW) | (lo & range.offsetMask);
      second.insertNew(tagLo, tagHi, dataLo, dataHi, set);
      first.insertNew(tagLo, tagHi, dataLo, dataHi, set);
    } else {
      this.take(hi, lo, dataLo, dataHi);
      this.fill(access, tagLo, tagHi, dataLo, dataHi);
    }
    if (this.attached !== null) this.tellFilled(access, dataLo, dataHi);
    return None;
  }

  /** Looks for a block in both levels. @returns the outcome, or -1 when there is none */
  private findLarge(
    hi: number,
    lo: number,
    access: number,
    range: AddressRange,
    tagLo: number,
    tagHi: number,
  ): number {
    const first = (access & FETCH) === 0 ? this.largeDataTlb : this.largeFetchTlb;
    const second = this.secondTlb;
    for (let size = 1; size < range.largestBlock; size++) {
      const shift = leafShift(range.granuleShift, size);
      const pageLo = tagLo & firstWordMask(shift);
      const set = setOf(tagLo, tagHi, shift);
      const sized = (tagHi & secondWordMask(shift)) | (size << Tag.SIZE_SHIFT);
      const global = (sized & ~Tag.ASID_MASK) | Tag.GLOBAL;
      let at = first.findEither(pageLo, sized, global, set);
      if (at >= 0) return this.hitLarge(first, at, hi, lo, access, range, tagLo, tagHi);
      at = second.findEither(pageLo, sized, global, set);
      if (at < 0) continue;
      const { entries } = second;
      this.secondLevelHits++;
      const tag = entries[at + 1] as number;
      first.insertNew(pageLo, tag, entries[at + 2] as number, entries[at + 3] as number, set);
      return this.hitLarge(second, at, hi, lo, access, range, tagLo, tagHi);
    }
    return -1;
  }

  private hitLarge(
    tlb: Tlb,
    at: number,
    hi: number,
    lo: number,
    access: number,
    range: AddressRange,
    tagLo: number,
    tagHi: number,
  ): FaultKind {
    tlb.touch(at);
    const dataLo = tlb.entries[at + 2] as number;
    const dataHi = tlb.entries[at + 3] as number;
    return this.hitDecides(hi, lo, access, range, tagLo, tagHi, dataLo, dataHi, -1);
  }

  /**
   * SCTLR_EL1.M = 0: the output address is the input address. Data is Device-nGnRnE, fetches are Normal memory.
   * @see Arm ARM (DDI 0487), "Behavior when stage 1 address translation is disabled"
   */
  private translateFlat(hi: number, lo: number, access: number): FaultKind {
    const fetch = (access & FETCH) !== 0;
    const high = fetch ? this.branchAddress(hi) : hi;
    if ((high & this.beyondImplemented(this.rangeOf(hi))) !== 0) {
      return this.faulted(this.walker.setFault(FaultKind.AddressSize, high, lo, access, 0));
    }
    this.flatAttribute = this.flatType(fetch);
    const type = (Shareability.OuterShareable << Cached.SHAREABILITY_SHIFT) | (fetch ? 0 : DEVICE);
    this.dataHi = (high & ADDRESS_HIGH) | type;
    this.paLo = lo;
    this.attached?.end(None, this.paHi, lo, 0);
    return None;
  }

  /**
   * As `translate`, but by walking from TTBRn_EL1: no TLB or walk cache is asked or filled. The Access flag and dirty
   * state are set as by any access.
   */
  walkUncached(hi: number, lo: number, access: number): FaultKind {
    if (this.attached !== null) this.attached.begin(hi, lo, access);
    if (!this.on) return this.translateFlat(hi, lo, access);
    const range = this.rangeOf(hi);
    const outside = (access & FETCH) === 0 ? range.outsideHi : range.outsideHi | TOP_BYTE;
    if (((hi ^ range.expectedHi) & outside) !== 0 && !this.enterRange(hi, lo, access, range)) {
      return FaultKind.NotPresent;
    }
    return this.walkFromRoot(this.reportedHigh(hi, access), lo, access, range);
  }

  private walkFromRoot(hi: number, lo: number, access: number, range: AddressRange): FaultKind {
    const walker = this.walker;
    const kind = walker.walkFromRoot(hi, lo, access, range);
    if (kind !== None) return this.faulted(kind);
    const dataHi = walker.dataHi;
    if ((dataHi & SIZE_MASK) === 0) {
      this.dataHi = dataHi;
      this.paLo = (walker.dataLo & ADDRESS_LOW) | (lo & range.offsetMask);
    } else this.take(hi, lo, walker.dataLo, dataHi);
    if (this.attached !== null) this.attached.end(None, this.paHi, this.paLo, 0);
    return None;
  }

  /**
   * As `walkUncached`, and nothing is changed in memory: an Access flag and dirty state that hardware would set count as
   * set. For address translation instructions.
   */
  probe(hi: number, lo: number, access: number): FaultKind {
    this.walker.probing = true;
    const kind = this.walkUncached(hi, lo, access);
    this.walker.probing = false;
    return kind;
  }

  /** Fills with any translation; a block is one entry, so that dropping it drops the whole block. */
  private fill(access: number, tagLo: number, tagHi: number, dataLo: number, dataHi: number): void {
    const size = cachedSize(dataHi);
    const shift = cachedPageShift(dataHi);
    const fetch = (access & FETCH) !== 0;
    let entryTagHi = (tagHi & secondWordMask(shift)) | (size << Tag.SIZE_SHIFT);
    if ((dataHi & GLOBAL) !== 0) entryTagHi = (entryTagHi & ~Tag.ASID_MASK) | Tag.GLOBAL;
    const pageLo = tagLo & firstWordMask(shift);
    const set = setOf(tagLo, tagHi, shift);
    if (size > 0) this.hasLarge = true;
    if (shift <= this.profile.secondLargestShift) {
      this.secondTlb.insert(pageLo, entryTagHi, dataLo, dataHi, set);
    }
    const small = fetch ? this.fetchTlb : this.dataTlb;
    const large = fetch ? this.largeFetchTlb : this.largeDataTlb;
    (size === 0 ? small : large).insert(pageLo, entryTagHi, dataLo, dataHi, set);
  }

  private tellFilled(access: number, dataLo: number, dataHi: number): void {
    const level = cachedSize(dataHi) + 1;
    if (this.dataTlb.ways !== 0) this.attached?.fill(firstLevel(access), level, dataHi, dataLo);
    if (this.secondTlb.ways !== 0 && cachedPageShift(dataHi) <= this.profile.secondLargestShift) {
      this.attached?.fill(CacheName.SecondLevel, level, dataHi, dataLo);
    }
    this.attached?.end(None, this.paHi, this.paLo, 0);
  }

  /** A fault drops nothing: what is cached stays until software invalidates it. */
  private faulted(kind: FaultKind): FaultKind {
    if (this.attached !== null) this.attached.end(kind, 0, 0, this.fault.reasons);
    return kind;
  }

  /**
   * A translation made ahead of any access, as a processor may do at any time: fills caches, sets the Access flag if
   * hardware manages it, never dirty state, and never faults.
   * @returns whether there was a translation
   */
  speculativeFill(hi: number, lo: number, fetch = false): boolean {
    const range = this.rangeOf(hi);
    if (!this.on || !range.contains(hi, lo, !fetch)) return false;
    const access = fetch ? FETCH : Access.Read;
    const tagLo = ((lo >>> 12) | (hi << 20)) & range.pageMask;
    const tagHi = ((hi >>> 12) & PAGE_HIGH_MASK) | range.contextTag;
    this.walker.speculative = true;
    const kind = this.walker.walk(hi, lo, access, range, tagLo, tagHi);
    this.walker.speculative = false;
    if (kind !== None) return false;
    this.fill(access, tagLo, tagHi, this.walker.dataLo, this.walker.dataHi);
    return true;
  }
}

const firstLevel = (access: number): CacheName =>
  (access & FETCH) === 0 ? CacheName.FirstLevelData : CacheName.FirstLevelFetch;
