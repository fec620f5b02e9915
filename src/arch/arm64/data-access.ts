/**
 * What every data access of one arm64 CPU goes through beside translation: alignment, both pages of an access that
 * crosses a page, and the check of Allocation Tags. mmu.ts, which extends this, reads and writes.
 *
 * Order of the checks: what SCTLR_EL1.A and atomicity demand of the address, before any translation; translation of the
 * first and of the second page, each with its memory type's alignment and its permissions; tags, in address order.
 * An access that crosses pages or granules is several single-copy atomic accesses; the order of their faults is not
 * defined by the architecture, and this is the one chosen: no tag is checked of an access that cannot be made.
 * Left out: SCTLR_EL1.nAA, as there are no acquire and release accesses. What else the architecture leaves open and how it
 * is chosen: docs/decisions/0009-arm64-data-path-choices.md.
 * @see Arm ARM (DDI 0487), "Synchronous exception types and priorities", "Alignment of data accesses"
 */
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { TagMemory } from '../../hardware/tag-memory.ts';
import { Access } from '../access.ts';
import { FaultKind } from '../fault.ts';
import { Cached } from './cached-translation.ts';
import { Reason } from './fault-reasons.ts';
import { checkIndex, TagChecks } from './mte/tag-check.ts';
import type { Arm64MmuOptions } from './state.ts';
import { SCTLR_EL1 } from './system-registers.ts';
import { Translation } from './translation.ts';

// Named again here, as V8 folds a module's own constants and loads imported ones each time.
const { None } = FaultKind;
const { ADDRESS_HIGH } = Cached;
const {
  User: USER,
  Unprivileged: UNPRIVILEGED,
  Fetch: FETCH,
  ZeroBlock: ZERO_BLOCK,
  Atomic: ATOMIC,
  TagUnchecked: TAG_UNCHECKED,
  Tag: TAG,
} = Access;

/** Accesses that are never tag checked, whatever the registers: of tags themselves, and by SP plus an immediate. */
const UNCHECKED = TAG_UNCHECKED | TAG;
/** Accesses that are not of data. */
const OTHER = ZERO_BLOCK | FETCH;

/** In `Cached.TAGGED`'s place: with `checksMask`, one test asks for checks and for Tagged memory. */
const TAGGED = Cached.TAGGED;
const ALIGNMENT_CHECK = SCTLR_EL1.half('A').lo;
const DZE = SCTLR_EL1.half('DZE').lo;
/** The smallest page: an access that crosses a larger one crosses this too. */
const PAGE_MASK = 0xfff;
/** The largest access of one register; LDP and STP of two doublewords are two accesses of 8 bytes. */
const LARGEST_ALIGNMENT = 8;

/** op2 of the DC instructions on a block; op1 = 3, CRn = 7, CRm = 4. */
export const BlockOperation = { Zero: 1, Tag: 3, TagAndZero: 4 } as const;
export type BlockOperation = (typeof BlockOperation)[keyof typeof BlockOperation];

/**
 * ISS of a trapped DC ZVA, GVA or GZVA: Op0 = 1, Op1 = 3, CRn = 7, CRm = 4, Direction 0 (a write).
 * @see Arm ARM (DDI 0487), "ISS encoding for an exception from MSR, MRS, or System instruction execution in AArch64 state"
 */
const blockTrapSyndrome = (operation: BlockOperation): number =>
  (1 << 20) | (operation << 17) | (3 << 14) | (7 << 10) | (4 << 1);

export class DataAccess extends Translation {
  readonly tagChecks = new TagChecks();
  /** The second page of the last access of `translateAccess`, if `crossesPage`. */
  crossesPage = false;
  secondPaHi = 0;
  secondPaLo = 0;

  /** `Cached.TAGGED` while any access is tag checked, else 0. */
  protected checksMask = 0;
  protected tagMemory: TagMemory;
  protected alignmentEnforced = false;

  constructor(memory: PhysicalMemory, options: Arm64MmuOptions = {}) {
    super(memory, options);
    this.tagMemory = memory.tags ?? new TagMemory();
    this.prepareDataControls();
  }

  /** To be called after any change of `state` or `features`; drops nothing. */
  override updateControls(): void {
    super.updateControls();
    // The constructor of `Translation` calls this before there is anything of this class.
    if (this.tagChecks !== undefined) this.prepareDataControls();
  }

  /** PSTATE.UAO alone. Cheap. */
  override setUao(on: boolean): void {
    super.setUao(on);
    this.prepareTagChecks();
  }

  /** PSTATE.TCO alone. Cheap. */
  setTco(on: boolean): void {
    this.state.tco = on;
    this.prepareTagChecks();
  }

  private prepareDataControls(): void {
    const { memory, state } = this;
    if (this.features.mte >= 2) {
      memory.tags ??= this.tagMemory;
      this.tagMemory = memory.tags;
    }
    this.alignmentEnforced = (state.sctlrLo & ALIGNMENT_CHECK) !== 0;
    this.prepareTagChecks();
  }

  private prepareTagChecks(): void {
    this.tagChecks.prepare(this.state, this.features);
    this.checksMask = this.tagChecks.active ? TAGGED : 0;
  }

  /**
   * As `translate`, for `length` bytes within one page, as one instruction accesses them: a block of DC ZVA around the
   * address (`Access.ZeroBlock`), the instruction that was branched to (`Access.Fetch`), one access of 1, 2, 4 or 8
   * bytes, a pair of 8 bytes (16); any other length is a run of byte accesses.
   * @throws RangeError when the bytes cross the page
   */
  translateBytes(hi: number, lo: number, access: number, length: number): FaultKind {
    if ((access & OTHER) !== 0) return this.translateOther(hi, lo, access);
    if (length === 8 && (lo & 7) === 0) return this.translateWord(hi, lo, access);
    checkWithinPage(lo, length);
    const kind = this.translateSpan(hi, lo, access, length, alignmentOf(length));
    return kind !== None ? kind : this.checkTags(hi, lo, access, length);
  }

  /**
   * As `translateBytes`, and the bytes may cross into the next page: then `crossesPage` is set, and `secondPaHi` and
   * `secondPaLo` say where they go on; `paHi` and `paLo` are of the first byte.
   * @param alignment bytes, a power of two: of what SCTLR_EL1.A and Device memory demand a multiple
   * @param always the alignment is demanded whatever SCTLR_EL1.A and the memory
   */
  translateAccess(
    hi: number,
    lo: number,
    access: number,
    length: number,
    alignment: number = alignmentOf(length),
    always = false,
  ): FaultKind {
    if ((access & OTHER) !== 0) return this.translateOther(hi, lo, access);
    if (always && (lo & (alignment - 1)) !== 0) {
      return this.raise(FaultKind.Alignment, hi, lo, access, Reason.MustBeAligned);
    }
    const kind = this.translateSpan(hi, lo, access, length, alignment);
    if (kind !== None || this.checksMask === 0) return kind;
    const first = this.crossesPage ? 0x1000 - (lo & PAGE_MASK) : length;
    const checked = this.checkTags(hi, lo, access, first);
    return checked !== None || first === length
      ? checked
      : this.checkSecondPage(hi, lo, access, length - first);
  }

  /** The commonest access: 8 aligned bytes lie in one page and in one granule. */
  private translateWord(hi: number, lo: number, access: number): FaultKind {
    this.crossesPage = false;
    const kind = this.translate(hi, lo, access);
    return kind !== None ? kind : this.checkTranslatedWord(hi, lo, access);
  }

  /** Checks the tag of 8 aligned bytes at the address that was translated last, by `translate` or `walkUncached`. */
  checkTranslatedWord(hi: number, lo: number, access: number): FaultKind {
    if ((this.dataHi & this.checksMask) === 0) return None;
    return this.tagPasses(hi, access) ? None : this.tagsDiffer(hi, lo, access);
  }

  /** DC ZVA, or the fetch of one instruction. */
  private translateOther(hi: number, lo: number, access: number): FaultKind {
    return (access & FETCH) === 0 ? this.translateBlock(hi, lo, access) : this.translateFetch(hi, lo, access);
  }

  /**
   * The fetch of an instruction that was branched to: PC alignment comes before everything, with the address as the
   * branch left it in the PC.
   * @see Arm ARM (DDI 0487), "PC alignment checking"; shared pseudocode AArch64.BranchAddr
   */
  private translateFetch(hi: number, lo: number, access: number): FaultKind {
    this.crossesPage = false;
    return (lo & 3) === 0 ? this.translate(hi, lo, access) : this.misalignedPc(hi, lo, access);
  }

  /** Alignment and translation; no tags. The access has at most one page end inside. */
  protected translateSpan(
    hi: number,
    lo: number,
    access: number,
    length: number,
    alignment: number,
  ): FaultKind {
    this.crossesPage = false;
    const aligned = (lo & (alignment - 1)) === 0;
    if (!aligned && (access & FETCH) !== 0) return this.misalignedPc(hi, lo, access);
    if (!aligned && this.mustBeAligned(lo, access, length)) {
      return this.raise(FaultKind.Alignment, hi, lo, access, Reason.MustBeAligned);
    }
    const first = aligned ? this.translate(hi, lo, access) : this.translateUnaligned(hi, lo, access);
    if (first !== None || (lo & PAGE_MASK) + length <= 0x1000) return first;
    const dataHi = this.dataHi;
    const paLo = this.paLo;
    const nextLo = ((lo | PAGE_MASK) + 1) | 0;
    const nextHi = nextLo === 0 ? (hi + 1) | 0 : hi;
    const second = aligned
      ? this.translate(nextHi, nextLo, access)
      : this.translateUnaligned(nextHi, nextLo, access);
    if (second !== None) return second;
    this.crossesPage = true;
    this.secondDataHi = this.dataHi;
    this.secondPaHi = this.paHi;
    this.secondPaLo = this.paLo;
    this.dataHi = dataHi;
    this.paLo = paLo;
    return None;
  }

  /**
   * A PC alignment fault, which wins over every fault of the translation. The address is what was branched to.
   * @see Arm ARM (DDI 0487), "PC alignment checking"
   */
  private misalignedPc(hi: number, lo: number, access: number): FaultKind {
    if (this.features.translationBeforePcAlignment) {
      const kind = this.translate(hi, lo, access);
      if (kind !== None) return kind;
    }
    return this.raise(FaultKind.Alignment, this.branchAddress(hi), lo, access, Reason.MustBeAligned);
  }

  private secondDataHi = 0;

  /** Is the second page of the last access Tagged Normal memory? */
  get secondTagged(): boolean {
    return this.secondDataHi < 0;
  }

  /**
   * Does an address that is not aligned fault whatever the memory? An atomic access has to lie within 16 aligned bytes
   * with FEAT_LSE2, and be aligned without.
   * An unaligned atomic access to memory that is not Inner and Outer Write-Back may raise an Alignment fault
   * (CONSTRAINED UNPREDICTABLE); here it does not, unless the memory is of a Device type.
   * @see Arm ARM (DDI 0487), shared pseudocode AArch64.UnalignedAccessFaults
   */
  private mustBeAligned(lo: number, access: number, length: number): boolean {
    if (this.alignmentEnforced) return true;
    if ((access & ATOMIC) === 0) return false;
    return !this.features.lse2 || (lo & 15) + length > 16;
  }

  /**
   * DC ZVA, GVA and GZVA: one access to the whole aligned block, reported with the address as given. Trapped at EL0 with
   * SCTLR_EL1.DZE = 0; the syndrome says Rt = 0 unless whoever decoded the instruction puts it in.
   * @see Arm ARM (DDI 0487), "DC ZVA", and "FAR_EL1": the register argument of the instruction
   */
  translateBlock(
    hi: number,
    lo: number,
    access: number,
    operation: BlockOperation = BlockOperation.Zero,
  ): FaultKind {
    this.crossesPage = false;
    if ((access & USER) !== 0 && (this.state.sctlrLo & DZE) === 0) {
      return this.raise(FaultKind.Trapped, hi, lo, access, blockTrapSyndrome(operation));
    }
    // Any Device memory refuses the whole block, as it refuses an unaligned access.
    const kind = this.translateUnaligned(hi, lo, access);
    if (kind !== None) return kind;
    const block = this.zeroBlockBytes;
    const offset = lo & (block - 1);
    const paLo = this.paLo;
    this.paLo = paLo - offset;
    const checked = this.checkTags(hi, lo - offset, access, block);
    this.paLo = paLo;
    return checked;
  }

  /** Bytes that DC ZVA zeroes and STZGM tags. */
  get zeroBlockBytes(): number {
    return 4 << this.features.dczidBs;
  }

  /** Of an aligned access to Tagged memory, which lies in one granule: is it unchecked, or does its tag agree? */
  protected tagPasses(hi: number, access: number): boolean {
    const index = ((hi >>> 23) & 1) | ((access & USER) >>> 1) | ((access & UNPRIVILEGED) >>> 4);
    const logical = hi >>> 24;
    if ((((this.tagChecks.checked[index] as number) >>> (logical & 15)) & 1) === 0) return true;
    const tags = this.tagMemory;
    const paLo = this.paLo;
    const key = ((this.dataHi & ADDRESS_HIGH) << 10) | (paLo >>> 22);
    if (key !== tags.key) tags.select(this.dataHi & ADDRESS_HIGH, paLo);
    const word = tags.words[(paLo >>> 7) & 0x7fff] as number;
    return (((word >>> ((paLo >>> 2) & 0x1c)) ^ logical) & 15) === 0;
  }

  /**
   * Checks the tags of bytes of the page that was translated last; `paLo` is of the first.
   * @returns `FaultKind.TagCheck` with the first failing byte in `fault`; None also for a failure that is only noted
   */
  protected checkTags(hi: number, lo: number, access: number, length: number): FaultKind {
    if ((this.dataHi & this.checksMask) === 0) return None;
    const logical = (hi >>> 24) & 15;
    if ((((this.tagChecks.checked[checkIndex(hi, access)] as number) >>> logical) & 1) === 0) return None;
    const { tagMemory, paLo } = this;
    const paHi = this.dataHi & ADDRESS_HIGH;
    for (let at = 0; at < length; ) {
      if (tagMemory.tag(paHi, paLo + at) !== logical) return this.tagsDiffer(hi, (lo + at) | 0, access);
      at += 16 - ((lo + at) & 15);
    }
    return None;
  }

  /** The same for the part of an access that lies in its second page. */
  protected checkSecondPage(hi: number, lo: number, access: number, length: number): FaultKind {
    const { dataHi, paLo } = this;
    this.dataHi = this.secondDataHi;
    this.paLo = this.secondPaLo;
    const nextLo = ((lo | PAGE_MASK) + 1) | 0;
    const kind = this.checkTags(nextLo === 0 ? (hi + 1) | 0 : hi, nextLo, access, length);
    this.dataHi = dataHi;
    this.paLo = paLo;
    return kind;
  }

  /**
   * A check has failed at this byte: an exception, or a bit in TFSR_EL1 or TFSRE0_EL1 by the rights of the access and
   * VA bit 55, which shows at once (hardware may wait for a DSB or an exception entry).
   * FAR_EL1 has the logical tag also without FEAT_MTE_TAGGED_FAR, where bits 63:60 are UNKNOWN.
   * @see Arm ARM (DDI 0487), shared pseudocode AArch64.TagCheckFault, AArch64.ReportTagCheckFault
   */
  protected tagsDiffer(hi: number, lo: number, access: number): FaultKind {
    if ((access & UNCHECKED) !== 0) return None;
    const { tagChecks, state } = this;
    if (tagChecks.failsSynchronously(access)) return this.raise(FaultKind.TagCheck, hi, lo, access, 0);
    const bit = 1 << ((hi >>> 23) & 1);
    const user = tagChecks.isEl0(access);
    const before = user ? state.tfsre0 : state.tfsr;
    if (user) state.tfsre0 |= bit;
    else state.tfsr |= bit;
    if ((before & bit) === 0) this.attached?.tagCheckNoted?.(hi, lo, user);
    return None;
  }

  /** A fault that no descriptor decided. */
  raise(kind: FaultKind, hi: number, lo: number, access: number, reasons: number): FaultKind {
    const fault = this.fault;
    fault.kind = kind;
    fault.addressHi = hi;
    fault.addressLo = lo;
    fault.access = access;
    fault.reasons = reasons;
    fault.level = 0;
    fault.entryAddressHi = 0;
    fault.entryAddressLo = 0;
    fault.entryHi = 0;
    fault.entryLo = 0;
    this.attached?.raised?.();
    return kind;
  }

  /** An External abort of the data itself: the address is outside memory. */
  protected dataBus(hi: number, lo: number, access: number): FaultKind {
    return this.raise(FaultKind.Bus, hi, lo, access, 0);
  }
}

/** What an access of so many bytes has to be a multiple of; 1 where it is a run of bytes. */
function alignmentOf(length: number): number {
  if (length > 16 || (length & (length - 1)) !== 0) return 1;
  return length > LARGEST_ALIGNMENT ? LARGEST_ALIGNMENT : length;
}

export function checkWithinPage(lo: number, length: number): void {
  if ((lo & PAGE_MASK) + length > 0x1000)
    throw new RangeError(`${length} bytes at page offset ${lo & PAGE_MASK} cross the page`);
}
