/**
 * The stage 1 walk of VMSAv8-64 at EL1&0: one step per level, each reading one descriptor, checking it and going on to the
 * next table or to the leaf. It starts at TTBRn_EL1 or, where a walk cache knows the way, further down. Whether the
 * address lies in its range is checked before, by the MMU.
 * Left out: stage 2, big-endian walks (SCTLR_EL1.EE), the Access flag of table descriptors (FEAT_HAFT), Secure state
 * (NSTable, NS), guarded pages (BTI), memory attributes of the walk itself.
 *
 * Choices where the manual allows several:
 * - An access that is denied leaves the Access flag clear.
 * - A block's address bits below its size are ignored, as is nT.
 *
 * @see Arm ARM (DDI 0487), "Translation table walk", "VMSAv8-64 descriptor formats", "Hardware management of the Access
 * flag", "Hardware management of dirty state", "MMU fault types"
 */
import type { PagingStructureCaches } from '../../hardware/paging-structure-cache.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { FaultKind } from '../fault.ts';
import { CacheName, EntrySource, type WalkObserver } from '../walk-observer.ts';
import { type AddressRange, NO_CHUNK } from './address-range.ts';
import { Cached, leafShift } from './cached-translation.ts';
import { Reason } from './fault-reasons.ts';
import { ACCESS_MASK, type PermissionMemo, RIGHTS_MASK, Verdict } from './permissions.ts';
import { WalkCaches } from './walk-caches.ts';
import { entryOffset, WalkFaults } from './walk-faults.ts';

// Constants of other modules that the hot path reads are named again here: V8 folds a module's own `const`, but loads an
// imported one each time; see src/arch/x86_64/walker.ts.
const { ADDRESS_LOW, ADDRESS_HIGH, DEVICE, SIZE_SHIFT, SHAREABILITY_MASK, GLOBAL } = Cached;
const { Allowed, Denied, NeedsDirty } = Verdict;
const { None } = FaultKind;
const ACCESS = ACCESS_MASK;
const RIGHTS = RIGHTS_MASK;

/** Descriptor bits 1:0. */
const TYPE = 3;
const TABLE_OR_PAGE = 3;
const BLOCK = 1;
/** The Access flag, and AP[2] (nDirty), in the low half. */
const AF = 1 << 10;
const AP2 = 1 << 7;
/** APTable of table descriptors, in the high half. */
const AP_TABLE_NO_EL0 = 1 << 29;
const AP_TABLE_READ_ONLY = 1 << 30;
const AP_TABLE = AP_TABLE_NO_EL0 | AP_TABLE_READ_ONLY;

/** Rights, from their places in a leaf: AP[2:1] 7:6 → 1:0; DBM 51 → 2, PXN 53 → 4, UXN 54 → 5; POIndex 62:60 → 8:6. */
const LOW_RIGHTS = 3;
const MIDDLE_RIGHTS = 0x34;
const OVERLAY_INDEX = 0x1c0;
/** PXNTable 59 → 4, UXNTable 60 → 5. */
const TABLE_RIGHTS = 0x30;
const RIGHT_EL0 = 1 << 0;
const RIGHT_READ_ONLY = 1 << 1;
const RIGHT_DBM = 1 << 2;

/** Words of a 4 KiB table inside its chunk of memory: bits 21:12 of the address as an index of 32-bit words. */
const TABLE_IN_CHUNK = 0xffc00;
const ROOT_IN_CHUNK = 0xfffff;
/** Index of a descriptor's low word inside a 4 KiB table: nine bits of the address, two words a descriptor. */
const INDEX_MASK = 0x3fe;
const WORD_IN_CHUNK = 0xffffe;

export class Walker extends WalkFaults {
  private readonly verdicts: Uint8Array;
  private readonly caches: WalkCaches;

  /** TCR_EL1.HA: hardware sets the Access flag. */
  hardwareAccessFlag = false;
  /** By AttrIndx: the index, `Cached.DEVICE` and `Cached.TAGGED` in their places. */
  readonly attributes = new Int32Array(8);
  /** `PermissionMemo.classes`, kept here for `walkQuickly`. */
  classes: Uint16Array;

  /** The result: the translation in its cached form. */
  dataHi = 0;
  dataLo = 0;
  /** Walks made, for cost and reports; modulo 2^32. */
  walks = 0;
  /** Set around a speculative walk: a leaf that denies the access is still a translation, and dirty state stays. */
  speculative = false;
  /** Set around a walk that changes nothing in memory. */
  probing = false;
  /** The access that is translated is not aligned to its size. */
  unaligned = false;

  /** Does this walk fill the walk caches? */
  private keeping = false;
  private startHi = 0;
  private startLo = 0;
  private startLevel = 4;
  /** Hierarchical permissions of the tables that a walk cache has passed. */
  private startAttributes = 0;

  constructor(memory: PhysicalMemory, memo: PermissionMemo, caches: PagingStructureCaches) {
    super(memory, memo);
    this.verdicts = memo.verdicts;
    this.classes = memo.classes;
    this.caches = new WalkCaches(caches);
  }

  /** Tells `observer` of every step from now on; null for none. */
  attach(observer: WalkObserver | null): void {
    this.observer = observer;
  }

  /** To be called after a change of the range: says whether `walkQuickly` may be tried, and in which chunk of memory. */
  prepare(range: AddressRange): void {
    const usual = range.granuleShift === 12 && range.topLevel === 4 && range.wideMask === 0;
    const quick = usual && !mayRefuse(range) && this.observer === null;
    range.quickKey = quick ? (range.rootHi << 10) | (range.rootLo >>> 22) : NO_CHUNK;
  }

  /**
   * Walks an address of the range, from as far down as the walk caches know.
   * @param tagLo @param tagHi its tag for caches, see `Tag`
   * @returns 0, with the translation in `dataHi`/`dataLo`; or a fault kind, with `fault` filled in
   */
  walk(hi: number, lo: number, access: number, range: AddressRange, tagLo: number, tagHi: number): FaultKind {
    if (!this.caches.exist) return this.walkFromRoot(hi, lo, access, range);
    if (mayRefuse(range)) {
      const refused = this.refuse(hi, lo, access, range);
      if (refused !== None) return refused;
    }
    this.walks = (this.walks + 1) | 0;
    this.keeping = !this.probing;
    const found = this.caches.find(tagLo, tagHi, range);
    if (found === 0) this.startAtRoot(range);
    else this.startAfter(found);
    return this.walkTables(hi, lo, access, range);
  }

  /** Walks an address of the range from TTBRn_EL1: no walk cache is asked or filled. */
  walkFromRoot(hi: number, lo: number, access: number, range: AddressRange): FaultKind {
    this.walks = (this.walks + 1) | 0;
    if (range.quickKey === this.memory.tableKey && this.walkQuickly(hi, lo, access, range) !== 0) return None;
    if (mayRefuse(range)) {
      const refused = this.refuse(hi, lo, access, range);
      if (refused !== None) return refused;
    }
    this.startAtRoot(range);
    this.keeping = false;
    return this.walkTables(hi, lo, access, range);
  }

  private startAtRoot(range: AddressRange): void {
    this.startHi = range.rootHi;
    this.startLo = range.rootLo;
    this.startLevel = range.topLevel;
    this.startAttributes = 0;
  }

  /** The descriptor of `level` that a walk cache gave says where to begin. */
  private startAfter(level: number): void {
    const { dataHi, dataLo } = this.caches;
    this.startHi = dataHi & ADDRESS_HIGH;
    this.startLo = dataLo;
    this.startLevel = level - 1;
    this.startAttributes = dataHi;
    this.observer?.entry(level, EntrySource.Cache, 0, 0, dataHi, dataLo);
  }

  /**
   * The usual walk to a 4 KiB page and nothing else: four levels, tables all the way, all of them in the root's chunk of
   * memory, the Access flag set, no APTable, the output address in range, the access allowed and nothing to set. It only
   * reads, and judges all four descriptors together at the end; where anything is different, `walkTables` does the walk
   * from the start. An unaligned access to Device memory is seen afterwards, as on a hit. It is here for speed, as in src/arch/x86_64/walker.ts.
   * @returns 1, with the translation in `dataHi`/`dataLo`; 0 when the walk is not a usual one
   */
  private walkQuickly(hi: number, lo: number, access: number, range: AddressRange): number {
    const chunk = this.memory.tableChunk;
    const { rootHi, rootLo, quickMask, quickBase } = range;

    let index = ((rootLo >>> 2) & ROOT_IN_CHUNK) | ((hi >>> 6) & range.quickTopIndex);
    const lo0 = chunk[index] as number;
    const hi0 = chunk[index + 1] as number;
    index = ((lo0 >>> 2) & TABLE_IN_CHUNK) | (((hi << 3) | (lo >>> 29)) & INDEX_MASK);
    const lo1 = chunk[index] as number;
    const hi1 = chunk[index + 1] as number;
    index = ((lo1 >>> 2) & TABLE_IN_CHUNK) | ((lo >>> 20) & INDEX_MASK);
    const lo2 = chunk[index] as number;
    const hi2 = chunk[index + 1] as number;
    index = ((lo2 >>> 2) & TABLE_IN_CHUNK) | ((lo >>> 11) & INDEX_MASK);
    const lo3 = chunk[index] as number;
    const hi3 = chunk[index + 1] as number;

    const ors = (hi0 | hi1 | hi2) & quickMask;
    const elsewhereHi = (hi0 ^ rootHi) | (hi1 ^ rootHi) | (hi2 ^ rootHi);
    const elsewhereLo = (lo0 ^ rootLo) | (lo1 ^ rootLo) | (lo2 ^ rootLo);
    const unusual =
      (~(lo0 & lo1 & lo2 & lo3) & TYPE) |
      (~lo3 & AF) |
      (ors & AP_TABLE) |
      (elsewhereHi & 0xffff) |
      (elsewhereLo >>> 22) |
      (hi3 & quickMask & 0xffff);
    if (unusual !== 0) return 0;
    const rights =
      ((lo3 >>> 6) & LOW_RIGHTS) |
      ((hi3 >>> 17) & MIDDLE_RIGHTS) |
      ((hi3 >>> 22) & OVERLAY_INDEX) |
      ((ors >>> 23) & TABLE_RIGHTS) |
      (quickBase & RIGHTS);
    if (this.verdicts[(this.classes[access & ACCESS] as number) | rights] !== Allowed) return 0;
    const attribute = this.attributes[(lo3 >>> 2) & 7] as number;
    this.dataLo = (lo3 & ADDRESS_LOW) | rights;
    // SH 9:8 → 24:23, nG 11 → 29.
    this.dataHi =
      (hi3 & 0xffff) | attribute | ((lo3 << 15) & SHAREABILITY_MASK) | ((~lo3 << 18) & quickBase & GLOBAL);
    return 1;
  }

  /**
   * The walk, one descriptor per turn, from the table in `startHi`/`startLo`. `attributes` are the hierarchical permissions
   * of all table descriptors so far ORed, each in its place; its other bits mean nothing.
   */
  private walkTables(hi: number, lo: number, access: number, range: AddressRange): FaultKind {
    const memory = this.memory;
    let attributes = this.startAttributes;
    this.tableHi = this.startHi;
    this.tableLo = this.startLo;
    for (let level = this.startLevel; ; level--) {
      const { tableHi, tableLo } = this;
      this.offset = entryOffset(hi, lo, level, range);
      if (
        ((tableHi << 10) | (tableLo >>> 22)) !== memory.tableKey &&
        !memory.selectTable(tableHi, tableLo | this.offset)
      ) {
        return this.bus(hi, lo, access, level);
      }
      const index = ((tableLo | this.offset) >>> 2) & WORD_IN_CHUNK;
      const entryLo = memory.tableChunk[index] as number;
      const entryHi = memory.tableChunk[index + 1] as number;
      if (level === 1 || (entryLo & TYPE) !== TABLE_OR_PAGE) {
        return this.endOfWalk(hi, lo, access, range, level, index, entryHi, entryLo, attributes);
      }
      const nextHi = (entryHi & range.addressHigh) | ((entryLo & range.wideMask) << range.wideShift);
      if ((nextHi & range.beyondOutput) !== 0) {
        return this.stop(FaultKind.AddressSize, hi, lo, access, level, entryHi, entryLo);
      }
      attributes |= entryHi;
      const nextLo = entryLo & ~range.offsetMask;
      if (this.observer !== null) this.tellEntry(level, entryHi, entryLo, entryLo);
      if (this.keeping) this.keep(level, nextHi, nextLo, attributes, range);
      this.tableHi = nextHi;
      this.tableLo = nextLo;
    }
  }

  /** A descriptor that names no table: a block or page where it may be one, else invalid or reserved. */
  private endOfWalk(
    hi: number,
    lo: number,
    access: number,
    range: AddressRange,
    level: number,
    index: number,
    entryHi: number,
    entryLo: number,
    attributes: number,
  ): FaultKind {
    const expected = level === 1 ? TABLE_OR_PAGE : BLOCK;
    if ((entryLo & TYPE) !== expected || level > range.largestBlock) {
      return this.stop(FaultKind.NotPresent, hi, lo, access, level, entryHi, entryLo);
    }
    return this.leaf(hi, lo, access, range, level, index, entryHi, entryLo, attributes);
  }

  private keep(level: number, nextHi: number, nextLo: number, attributes: number, range: AddressRange): void {
    if (!this.caches.keep(level, nextHi, nextLo, attributes, range)) return;
    this.observer?.fill(CacheName.PagingStructure, level, this.caches.dataHi, this.caches.dataLo);
  }

  /**
   * A block or page: output address size, Access flag, alignment to Device memory, permission, in this order; then the
   * translation in its cached form.
   */
  private leaf(
    hi: number,
    lo: number,
    access: number,
    range: AddressRange,
    level: number,
    index: number,
    entryHi: number,
    entryLo: number,
    attributes: number,
  ): FaultKind {
    const shift = leafShift(range.granuleShift, level - 1);
    const inBlockHi = shift > 32 ? (1 << (shift - 32)) - 1 : 0;
    const addressHi =
      ((entryHi & range.addressHigh) | ((entryLo & range.wideMask) << range.wideShift)) & ~inBlockHi;
    if ((addressHi & range.beyondOutput) !== 0) {
      return this.stop(FaultKind.AddressSize, hi, lo, access, level, entryHi, entryLo);
    }
    if ((entryLo & AF) === 0 && !this.hardwareAccessFlag) {
      return this.stop(FaultKind.AccessFlag, hi, lo, access, level, entryHi, entryLo);
    }
    const attribute = this.attributes[(entryLo >>> 2) & 7] as number;
    if (this.unaligned && (attribute & DEVICE) !== 0) {
      return this.stop(FaultKind.Alignment, hi, lo, access, level, entryHi, entryLo, Reason.DeviceMemory);
    }
    const found = rightsOf(entryHi, entryLo, attributes & range.hierarchical) | range.rightsBase;
    const rights = this.grant(hi, lo, access, level, index, entryHi, entryLo, found);
    if (rights < 0) return FaultKind.Permission;
    this.dataLo = (shift >= 32 ? 0 : entryLo & -(1 << shift) & ADDRESS_LOW) | rights;
    this.dataHi =
      addressHi |
      attribute |
      ((entryLo << 15) & range.shareabilityMask) |
      ((~entryLo << 18) & range.globalMask) |
      ((level - 1) << SIZE_SHIFT) |
      range.cachedBase;
    return None;
  }

  /**
   * Permission, then the Access flag and dirty state. Hardware makes a page writable-dirty by clearing AP[2] (nDirty), on
   * a write that is allowed and finds it set.
   * @returns the rights to cache, as they are now; -1 when the access is denied, with the fault set
   */
  private grant(
    hi: number,
    lo: number,
    access: number,
    level: number,
    index: number,
    entryHi: number,
    entryLo: number,
    rights: number,
  ): number {
    const verdict = this.memo.verdict(access, rights);
    if (verdict === Denied && !this.speculative) {
      const reasons = this.memo.reasons(access, rights);
      this.stop(FaultKind.Permission, hi, lo, access, level, entryHi, entryLo, reasons);
      return -1;
    }
    let newLo = entryLo | AF;
    if (verdict === NeedsDirty) newLo &= ~AP2;
    if (this.probing) newLo = entryLo;
    if (newLo !== entryLo) this.memory.tableChunk[index] = newLo;
    if (this.observer !== null) this.tellEntry(level, entryHi, entryLo, newLo);
    return verdict === NeedsDirty ? rights & ~RIGHT_READ_ONLY : rights;
  }
}

/** May there be walks of this range that cannot even begin? */
const mayRefuse = (range: AddressRange): boolean => range.e0pd || range.walkFault !== None;

/**
 * What a leaf allows, as `Right` bits, with the hierarchical permissions of the tables above.
 * @see Arm ARM (DDI 0487), "Stage 1 permissions", "Hierarchical permissions"
 */
function rightsOf(entryHi: number, entryLo: number, attributes: number): number {
  let rights =
    ((entryLo >>> 6) & LOW_RIGHTS) |
    ((entryHi >>> 17) & MIDDLE_RIGHTS) |
    ((entryHi >>> 22) & OVERLAY_INDEX) |
    ((attributes >>> 23) & TABLE_RIGHTS);
  if ((attributes & AP_TABLE_NO_EL0) !== 0) rights &= ~RIGHT_EL0;
  if ((attributes & AP_TABLE_READ_ONLY) !== 0) rights = (rights | RIGHT_READ_ONLY) & ~RIGHT_DBM;
  return rights;
}
