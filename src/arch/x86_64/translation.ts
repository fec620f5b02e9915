/**
 * Translation by one x86-64 CPU in 64-bit mode: canonical check with linear-address masking, TLBs, walk, permissions,
 * fill. What reads and writes data through it is in mmu.ts.
 * The registers are in `state`; after changing them, call `updateControls`. What a register write may be is in
 * control-registers.ts, what an invalidation drops in invalidation.ts.
 * Left out: LASS, HLAT, nested paging, AMD's upper-address ignore, CR0.PG = 0 (64-bit mode always pages).
 */
import { type Tlb, TlbTag } from '../../hardware/tlb.ts';
import { Access } from '../access.ts';
import { FaultKind } from '../fault.ts';
import { CacheName } from '../walk-observer.ts';
import { Cached, cachedSize, offsetMask } from './cached-translation.ts';
import { pageFaultFlush } from './invalidation.ts';
import { RIGHTS_MASK, Verdict } from './permissions.ts';
import { TranslationControls } from './translation-controls.ts';

// Named again here, as V8 folds a module's own constants and loads imported ones each time; see walker.ts.
const { ADDRESS_LOW, SIZE_MASK, GLOBAL } = Cached;
const { None } = FaultKind;
const { Allowed } = Verdict;
const { PAGE_HIGH_MASK } = TlbTag;
const FETCH = Access.Fetch;
const RIGHTS = RIGHTS_MASK;

/** As in translation-controls.ts. */
const NOT_MASKED = 0;

const TAG_SHIFT_2M = 9;
const TAG_SHIFT_1G = 18;
const TAG_2M = ~0x1ff;
const TAG_1G = ~0x3ffff;
const SIZE_2M = 1 << TlbTag.SIZE_SHIFT;
const SIZE_1G = 2 << TlbTag.SIZE_SHIFT;
const GLOBAL_TAG = TlbTag.VALID | TlbTag.GLOBAL;

export class Translation extends TranslationControls {
  translate(hi: number, lo: number, access: number): FaultKind {
    if (this.attached !== null) this.attached.begin(hi, lo, access);
    let high = hi;
    if ((hi << this.quickShift) >> this.quickShift !== hi) {
      if (!this.applyMask(hi, lo, access)) return FaultKind.NotCanonical;
      high = this.maskedHi;
    }
    const tagLo = (lo >>> 12) | (high << 20);
    const pageHigh = (high >>> 12) & PAGE_HIGH_MASK;
    const tagHi = pageHigh | this.contextTag;
    const tlb = (access & FETCH) === 0 ? this.dataTlb : this.fetchTlb;
    const entries = tlb.entries;
    const start = (tagLo & tlb.setMask) << tlb.setShift;
    const end = start + (tlb.ways << 2);
    for (let at = start; at < end; at += 4) {
      if (entries[at] !== tagLo) continue;
      const tag = entries[at + 1] as number;
      if (tag !== tagHi && tag !== (pageHigh | GLOBAL_TAG)) continue;
      const dataLo = entries[at + 2] as number;
      const dataHi = entries[at + 3] as number;
      if (this.verdicts[this.memo.accessIndex(access) | (dataLo & RIGHTS)] !== Allowed) {
        return this.hitDecides(high, lo, access, tagLo, tagHi, dataLo, dataHi, at);
      }
      tlb.touch(at);
      this.dataHi = dataHi;
      this.paLo = (dataLo & ADDRESS_LOW) | (lo & 0xfff);
      if (this.attached !== null) this.tellHit(access, dataLo);
      return None;
    }
    return this.missFirstLevel(high, lo, access, tagLo, tagHi, true);
  }

  private maskedHi = 0;

  /**
   * Linear-address masking and the canonical check, for addresses that are not plainly canonical. Masking applies to
   * explicit data accesses only: bits 62:48 or 62:57 become copies of bit 47 or 56, bit 63 stays, and the result has to
   * be canonical. Which half masks how depends on bit 63 of the pointer.
   * @returns false, with the fault set, when the address is not canonical; else the high half is in `maskedHi`
   * @see Intel SDM vol. 3A, "Linear-Address Pre-Processing" ("Linear-Address Masking (LAM)")
   */
  private applyMask(hi: number, lo: number, access: number): boolean {
    let masked = hi;
    if ((access & (FETCH | Access.Implicit)) === 0) {
      const shift = hi >= 0 ? this.maskShiftUser : this.maskShiftSupervisor;
      if (shift !== NOT_MASKED) masked = (((hi << shift) >> shift) & 0x7fffffff) | (hi & 0x80000000);
    }
    if ((masked << this.canonicalShift) >> this.canonicalShift !== masked) {
      this.walker.setFault(FaultKind.NotCanonical, hi, lo, access, 0);
      this.attached?.end(FaultKind.NotCanonical, 0, 0, 0);
      return false;
    }
    this.maskedHi = masked;
    return true;
  }

  /** A cached translation whose remembered verdict is not "allowed". `at`: its place in the first-level 4 KiB TLB, or -1. */
  private hitDecides(
    hi: number,
    lo: number,
    access: number,
    tagLo: number,
    tagHi: number,
    dataLo: number,
    dataHi: number,
    at: number,
  ): FaultKind {
    const index = this.memo.accessIndex(access) | (dataLo & RIGHTS);
    let verdict = this.memo.verdicts[index] as number;
    if (verdict === Verdict.Unknown) verdict = this.memo.decide(index);
    if (verdict === Allowed) {
      if (at >= 0) ((access & FETCH) === 0 ? this.dataTlb : this.fetchTlb).touch(at);
      this.use(lo, access, dataLo, dataHi);
      return None;
    }
    if (verdict === Verdict.Denied && this.adversarial) {
      this.walker.setFault(
        FaultKind.Permission,
        hi,
        lo,
        access,
        this.walker.reasons(dataLo & RIGHTS, access),
      );
      return this.faulted(FaultKind.Permission, hi, lo);
    }
    if (this.attached !== null) this.attached.rewalk(firstLevel(access), dataHi, dataLo);
    return this.missFirstLevel(hi, lo, access, tagLo, tagHi, false);
  }

  /** Takes a translation as the result. */
  private use(lo: number, access: number, dataLo: number, dataHi: number): void {
    this.dataHi = dataHi;
    this.paLo = largeAddress(dataLo, dataHi, lo);
    if (this.attached !== null) this.tellHit(access, dataLo);
  }

  private tellHit(access: number, dataLo: number, cache: CacheName = firstLevel(access)): void {
    this.attached?.hit(cache, this.dataHi, dataLo);
    this.attached?.end(None, this.paHi, this.paLo, 0);
  }

  /**
   * Second level, then larger pages, then the walk and the fill. One function on purpose: it is too large for V8 to put
   * into `translate`, where it would make a first-level hit slower (92 in place of 115 million/s).
   * @param lookUp false when a cached translation was found and cannot be used: it is walked again and replaced
   */
  // biome-ignore lint/complexity/noExcessiveCognitiveComplexity: see above, with the measurement
  private missFirstLevel(
    hi: number,
    lo: number,
    access: number,
    tagLo: number,
    tagHi: number,
    lookUp: boolean,
  ): FaultKind {
    const second = this.secondTlb;
    const first = (access & FETCH) === 0 ? this.dataTlb : this.fetchTlb;
    if (lookUp) {
      const at = second.findEither(tagLo, tagHi, (tagHi & PAGE_HIGH_MASK) | GLOBAL_TAG, tagLo);
      if (at >= 0) {
        const { entries } = second;
        const dataLo = entries[at + 2] as number;
        const dataHi = entries[at + 3] as number;
        if (!this.allows(access, dataLo))
          return this.hitDecides(hi, lo, access, tagLo, tagHi, dataLo, dataHi, -1);
        second.touch(at);
        this.secondLevelHits++;
        first.insertNew(tagLo, entries[at + 1] as number, dataLo, dataHi, tagLo);
        this.dataHi = dataHi;
        this.paLo = (dataLo & ADDRESS_LOW) | (lo & 0xfff);
        if (this.attached !== null) this.tellHit(access, dataLo, CacheName.SecondLevel);
        return None;
      }
      if (this.hasLarge) {
        const kind = this.findLarge(hi, lo, access, tagLo, tagHi);
        if (kind >= 0) return kind as FaultKind;
      }
    }
    const walker = this.walker;
    const kind = walker.walk(hi, lo, access, tagLo, tagHi);
    if (kind !== None) return this.faulted(kind, hi, lo);
    const dataLo = walker.dataLo;
    const dataHi = walker.dataHi;
    this.dataHi = dataHi;
    if (lookUp && (dataHi & (SIZE_MASK | GLOBAL)) === 0) {
      this.paLo = (dataLo & ADDRESS_LOW) | (lo & 0xfff);
      second.insertNew(tagLo, tagHi, dataLo, dataHi, tagLo);
      first.insertNew(tagLo, tagHi, dataLo, dataHi, tagLo);
    } else {
      this.paLo = largeAddress(dataLo, dataHi, lo);
      this.fill(access, tagLo, tagHi, dataLo, dataHi);
    }
    if (this.attached !== null) this.tellFilled(access, dataLo);
    return None;
  }

  /** Is the access plainly allowed by a cached translation, as far as is known or can be decided? */
  private allows(access: number, dataLo: number): boolean {
    const index = this.memo.accessIndex(access) | (dataLo & RIGHTS);
    const verdict = this.verdicts[index] as number;
    return (verdict === Verdict.Unknown ? this.memo.decide(index) : verdict) === Allowed;
  }

  /** Looks for a 2 MiB or 1 GiB page in both levels. @returns the outcome, or -1 when there is none */
  private findLarge(hi: number, lo: number, access: number, tagLo: number, tagHi: number): number {
    const first = (access & FETCH) === 0 ? this.largeDataTlb : this.largeFetchTlb;
    const second = this.secondTlb;
    for (let size = 1; size <= 2; size++) {
      const pageLo = tagLo & (size === 1 ? TAG_2M : TAG_1G);
      const set = tagLo >>> (size === 1 ? TAG_SHIFT_2M : TAG_SHIFT_1G);
      const sized = tagHi | (size === 1 ? SIZE_2M : SIZE_1G);
      const global = (sized & ~TlbTag.CONTEXT_MASK) | TlbTag.GLOBAL;
      let at = first.findEither(pageLo, sized, global, set);
      if (at >= 0) return this.hitLarge(first, at, hi, lo, access, tagLo, tagHi);
      at = second.findEither(pageLo, sized, global, set);
      if (at < 0) continue;
      const { entries } = second;
      this.secondLevelHits++;
      first.insertNew(
        pageLo,
        entries[at + 1] as number,
        entries[at + 2] as number,
        entries[at + 3] as number,
        set,
      );
      return this.hitLarge(second, at, hi, lo, access, tagLo, tagHi);
    }
    return -1;
  }

  private hitLarge(
    tlb: Tlb,
    at: number,
    hi: number,
    lo: number,
    access: number,
    tagLo: number,
    tagHi: number,
  ): FaultKind {
    tlb.touch(at);
    const dataLo = tlb.entries[at + 2] as number;
    return this.hitDecides(hi, lo, access, tagLo, tagHi, dataLo, tlb.entries[at + 3] as number, -1);
  }

  /**
   * As `translate`, but by walking from CR3: no TLB or paging-structure cache is asked or filled. Accessed and dirty are
   * set as by any access.
   */
  walkUncached(hi: number, lo: number, access: number): FaultKind {
    if (this.attached !== null) this.attached.begin(hi, lo, access);
    let high = hi;
    if ((hi << this.quickShift) >> this.quickShift !== hi) {
      if (!this.applyMask(hi, lo, access)) return FaultKind.NotCanonical;
      high = this.maskedHi;
    }
    const walker = this.walker;
    const kind = walker.walkFromRoot(high, lo, access);
    if (kind !== None) {
      this.attached?.end(kind, 0, 0, this.fault.reasons);
      return kind;
    }
    const dataHi = walker.dataHi;
    this.dataHi = dataHi;
    if ((dataHi & SIZE_MASK) === 0) this.paLo = (walker.dataLo & ADDRESS_LOW) | (lo & 0xfff);
    else this.paLo = largeAddress(walker.dataLo, dataHi, lo);
    if (this.attached !== null) this.attached.end(None, this.paHi, this.paLo, 0);
    return None;
  }

  /** Fills with any translation; a large page is one entry, so that dropping it drops the whole page. */
  private fill(access: number, tagLo: number, tagHi: number, dataLo: number, dataHi: number): void {
    const size = cachedSize(dataHi);
    const fetch = (access & FETCH) !== 0;
    let entryTagHi = tagHi | (size << TlbTag.SIZE_SHIFT);
    if ((dataHi & GLOBAL) !== 0) entryTagHi = (entryTagHi & ~TlbTag.CONTEXT_MASK) | TlbTag.GLOBAL;
    const pageLo = tagLo & ~((1 << (9 * size)) - 1);
    const set = tagLo >>> (9 * size);
    if (size > 0) this.hasLarge = true;
    if (size <= this.secondLargest) this.secondTlb.insert(pageLo, entryTagHi, dataLo, dataHi, set);
    const small = fetch ? this.fetchTlb : this.dataTlb;
    const large = fetch ? this.largeFetchTlb : this.largeDataTlb;
    (size === 0 ? small : large).insert(pageLo, entryTagHi, dataLo, dataHi, set);
  }

  private tellFilled(access: number, dataLo: number): void {
    const level = cachedSize(this.dataHi) + 1;
    if (this.dataTlb.ways !== 0) this.attached?.fill(firstLevel(access), level, this.dataHi, dataLo);
    if (this.secondTlb.ways !== 0 && level - 1 <= this.secondLargest) {
      this.attached?.fill(CacheName.SecondLevel, level, this.dataHi, dataLo);
    }
    this.attached?.end(None, this.paHi, this.paLo, 0);
  }

  /** A page fault drops what is cached for its address, so that it does not come again for what memory no longer says. */
  private faulted(kind: FaultKind, hi: number, lo: number): FaultKind {
    if (kind !== FaultKind.Bus) pageFaultFlush(this, hi, lo);
    if (this.attached !== null) this.attached.end(kind, 0, 0, this.fault.reasons);
    return kind;
  }

  /**
   * A translation made ahead of any access, as a processor may do at any time: fills caches, sets accessed flags,
   * never dirty, and never faults.
   * @returns whether there was a translation
   */
  speculativeFill(hi: number, lo: number, fetch = false): boolean {
    if ((hi << this.canonicalShift) >> this.canonicalShift !== hi) return false;
    const access = fetch ? FETCH : Access.Read;
    const tagLo = (lo >>> 12) | (hi << 20);
    const tagHi = ((hi >>> 12) & PAGE_HIGH_MASK) | this.contextTag;
    this.walker.speculative = true;
    const kind = this.walker.walk(hi, lo, access, tagLo, tagHi);
    this.walker.speculative = false;
    if (kind !== None) return false;
    this.fill(access, tagLo, tagHi, this.walker.dataLo, this.walker.dataHi);
    return true;
  }
}

/** Bits 31:0 of the physical address, whatever the page size. */
function largeAddress(dataLo: number, dataHi: number, lo: number): number {
  const mask = offsetMask(cachedSize(dataHi));
  return (dataLo & ADDRESS_LOW & ~mask) | (lo & mask);
}

const firstLevel = (access: number): CacheName =>
  (access & FETCH) === 0 ? CacheName.FirstLevelData : CacheName.FirstLevelFetch;
