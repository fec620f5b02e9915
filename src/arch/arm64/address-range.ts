/**
 * One of the two address ranges of EL1&0, translated by TTBR0_EL1 or TTBR1_EL1: everything that a walk of it needs of
 * the registers, prepared when they change.
 * Left out: NFD0 and NFD1 (there are no non-fault accesses), the Contiguous bit (each descriptor is cached alone),
 * FEAT_D128, FEAT_AIE.
 *
 * Choices where the manual allows several:
 * - TnSZ out of range, above or below, is a Translation fault of level 0.
 * - A reserved TG, or a granule that is not implemented, is taken for the smallest one implemented.
 * - A reserved IPS, or one above the implemented size, is the implemented size.
 * - Bits of TTBRn_EL1.BADDR below the size of the table are taken for 0.
 * - 64 KiB with FEAT_LPA: bits 15:12 of a descriptor are address bits whatever IPS is, so that they cause an Address size
 *   fault if IPS is below 52 bits. The same for bits 9:8 with TCR_EL1.DS = 1.
 *
 * @see Arm ARM (DDI 0487), "TCR_EL1, Translation Control Register (EL1)", "The VMSAv8-64 translation table format"
 */
import { FaultKind } from '../fault.ts';
import { Cached } from './cached-translation.ts';
import { Reason } from './fault-reasons.ts';
import type { Arm64Features } from './features.ts';
import { Right } from './permissions.ts';
import { TCR_EL1 } from './registers.ts';
import type { Arm64State } from './state.ts';
import { TCR2_EL1 } from './system-registers.ts';
import { firstWordMask, granuleCode, secondWordMask, Tag } from './tlb-tag.ts';

const DS = TCR_EL1.half('DS').hi;
const HA = TCR_EL1.half('HA').hi;
const HD = TCR_EL1.half('HD').hi;
const AS = TCR_EL1.half('AS').hi;
const A1 = TCR_EL1.half('A1').lo;
const PIE = TCR2_EL1.half('PIE').lo;
const A2 = TCR2_EL1.half('A2').lo;
const IPS_MASK = TCR_EL1.half('IPS').hi;

/** Where the two ranges have their fields: flags as masks of their half of the register, the rest as shifts. */
interface RangeFields {
  readonly txszShift: number;
  readonly tgShift: number;
  readonly shShift: number;
  readonly epd: number;
  readonly tbi: number;
  readonly tbid: number;
  readonly hpd: number;
  readonly e0pd: number;
  readonly fng: number;
  /** log2 of the granule's bytes by TG; 0 reserved. */
  readonly granules: readonly number[];
}
const LOWER: RangeFields = {
  txszShift: TCR_EL1.field('T0SZ').low,
  tgShift: TCR_EL1.field('TG0').low,
  shShift: TCR_EL1.field('SH0').low,
  epd: TCR_EL1.half('EPD0').lo,
  tbi: TCR_EL1.half('TBI0').hi,
  tbid: TCR_EL1.half('TBID0').hi,
  hpd: TCR_EL1.half('HPD0').hi,
  e0pd: TCR_EL1.half('E0PD0').hi,
  fng: TCR2_EL1.half('FNG0').lo,
  granules: [12, 16, 14, 0],
};
const UPPER: RangeFields = {
  txszShift: TCR_EL1.field('T1SZ').low,
  tgShift: TCR_EL1.field('TG1').low,
  shShift: TCR_EL1.field('SH1').low,
  epd: TCR_EL1.half('EPD1').lo,
  tbi: TCR_EL1.half('TBI1').hi,
  tbid: TCR_EL1.half('TBID1').hi,
  hpd: TCR_EL1.half('HPD1').hi,
  e0pd: TCR_EL1.half('E0PD1').hi,
  fng: TCR2_EL1.half('FNG1').lo,
  granules: [0, 14, 12, 16],
};

/** Output address size in bits by TCR_EL1.IPS. */
const IPS_BITS = [32, 36, 40, 42, 44, 48, 52, 52] as const;
const LARGEST_TXSZ = 39;
const LARGEST_TXSZ_TTST = 48;
const SMALLEST_TXSZ = 16;
const SMALLEST_TXSZ_52 = 12;
/** Bits 63:56 of an address, in the high half. */
const TOP_BYTE = 0xff000000 | 0;
const BIT_55 = 1 << 23;
/** UXNTable, PXNTable and APTable of a table descriptor, in the high half. */
const HIERARCHICAL = 0x78000000;
const HIGHEST_LEVEL = 5;
/** The bytes to which a first table is aligned at least: bits 5:2 of TTBRn_EL1 may hold other address bits then. */
const WIDE_TABLE_ALIGNMENT = 64;
/** Not the key of any chunk of memory, nor the one that stands for none. */
export const NO_CHUNK = -2;

export class AddressRange {
  readonly upper: boolean;
  /**
   * The quick range check: an address of a data access is inside if under `outsideHi` its high half is `expectedHi`. In a
   * range below 4 GiB no address passes it: `contains` decides.
   */
  outsideHi = 0;
  expectedHi = 0;
  /** First word of tags: the bits of the page number that name a page of the granule. */
  pageMask = -1;
  /** How far to shift the first word to choose a set: log2 of the granule's bytes, less 12. */
  pageShift = 0;
  /** Bits of an address inside a page of the granule. */
  offsetMask = 0xfff;
  /** Second word of tags but for the address: VALID, ASID and granule. */
  contextTag: number = Tag.VALID;
  globalTag: number = Tag.VALID | Tag.GLOBAL;

  granuleShift = 12;
  /** Address bits resolved at each level. */
  stride = 9;
  /** The level of the first lookup, 1 for the last level as in `FaultSlot.level`: 1 to 5. */
  topLevel = 4;
  /** Entries of the first table, less 1. */
  topIndexMask = 511;
  /** log2 of the bytes of the whole range. */
  sizeShift = 48;
  rootHi = 0;
  rootLo = 0;
  /** The highest level at which a block may be, counted as `topLevel`. */
  largestBlock = 3;
  /** Address bits 49:32 or 47:32 where they stand in the high half of a descriptor. */
  addressHigh = 0xffff;
  /** Address bits 51:48 or 51:50 in the low half of a descriptor, and how far they are to be shifted up. */
  wideMask = 0;
  wideShift = 0;
  /** Bits of the high half of an output address that must be 0. */
  beyondOutput = 0;
  /**
   * For the walker's short cut, few words in place of many: `hierarchical` with the bits of the high half of a descriptor
   * that must be 0 when its address ends at bit 47; `rightsBase` with `globalMask`; the index of the first descriptor's
   * low word, as a mask of the address shifted to it.
   */
  quickMask = 0;
  quickBase = 0;
  quickTopIndex = 0;
  /** APTable, PXNTable and UXNTable as far as they count, in the high half of a table descriptor. */
  hierarchical = HIERARCHICAL;
  /** `Right` bits of every translation of the range. */
  rightsBase = 0;
  /** `Cached` fields of every translation of the range: granule, and shareability where descriptors do not hold it. */
  cachedBase = 0;
  /** Which shareability bits come from the descriptor, and `Cached.GLOBAL` unless translations are made non-global. */
  shareabilityMask: number = Cached.SHAREABILITY_MASK;
  globalMask: number = Cached.GLOBAL;
  /** TBI, and whether it applies to fetches too. */
  topByteIgnored = false;
  topByteIgnoredForFetch = false;
  e0pd = false;
  /** The chunk of memory in which the walker may take its short cut, kept for it; see `Walker.prepare`. */
  quickKey = NO_CHUNK;
  /** Why no walk of this range can be made at all, and the reason; 0 when one can. */
  walkFault: FaultKind = FaultKind.None;
  walkReason = 0;
  /** Words of the tags of walk-cache entries, by level: what they keep of the address. */
  readonly prefixFirst = new Int32Array(HIGHEST_LEVEL + 1);
  readonly prefixSecond = new Int32Array(HIGHEST_LEVEL + 1);

  private readonly fields: RangeFields;

  constructor(upper: boolean) {
    this.upper = upper;
    this.fields = upper ? UPPER : LOWER;
  }

  /** Prepares everything from the registers, as far as the processor has the features. */
  update(state: Arm64State, features: Arm64Features): void {
    const { fields } = this;
    this.walkFault = FaultKind.None;
    this.walkReason = 0;
    const granule = fields.granules[(state.tcrLo >>> fields.tgShift) & 3] as number;
    this.setGranule(implementedGranule(granule, features));
    const wide = this.setAddressFormat(state, features);
    this.setSize((state.tcrLo >>> fields.txszShift) & 63, features);
    this.topByteIgnored = (state.tcrHi & fields.tbi) !== 0;
    const dataOnly = features.pauth && (state.tcrHi & fields.tbid) !== 0;
    this.topByteIgnoredForFetch = this.topByteIgnored && !dataOnly;
    this.setOutside();
    if ((state.tcrLo & fields.epd) !== 0) this.cannotWalk(FaultKind.NotPresent, Reason.Epd);
    this.setRoot(state, wide);
    this.setContext(state, features);
    this.setPermissions(state, features);
    this.quickMask = this.hierarchical | (this.beyondOutput & 0xffff);
    this.quickBase = this.rightsBase | this.globalMask;
    this.quickTopIndex = this.topIndexMask << 1;
  }

  private setGranule(granuleShift: number): void {
    this.granuleShift = granuleShift;
    this.stride = granuleShift - 3;
    this.pageMask = firstWordMask(granuleShift);
    this.pageShift = granuleShift - 12;
    this.offsetMask = (1 << granuleShift) - 1;
  }

  /**
   * Where descriptors have their addresses, and how wide these may be.
   * @returns has TTBRn_EL1 address bits 51:48 in its bits 5:2?
   */
  private setAddressFormat(state: Arm64State, features: Arm64Features): boolean {
    const { granuleShift } = this;
    const ds = hasLpa2(granuleShift, features) && (state.tcrHi & DS) !== 0;
    const lpa = granuleShift === 16 && features.lpa;
    const bits = outputBits(state, features, ds || lpa);
    this.beyondOutput = 0xfffff & ~(2 ** (bits - 32) - 1);
    this.addressHigh = ds ? 0x3ffff : 0xffff;
    this.wideMask = ds ? 0x300 : lpa ? 0xf000 : 0;
    this.wideShift = ds ? 10 : 4;
    // Level 1 with 4 KiB, level 2 with the others; one level above that with 52-bit addresses.
    this.largestBlock = (granuleShift === 12 ? 3 : 2) + (ds || lpa ? 1 : 0);
    this.shareabilityMask = ds ? 0 : Cached.SHAREABILITY_MASK;
    this.cachedBase = granuleCode(granuleShift) << Cached.GRANULE_SHIFT;
    if (ds) this.cachedBase |= ((state.tcrLo >>> this.fields.shShift) & 3) << Cached.SHAREABILITY_SHIFT;
    return ds || (lpa && bits === 52);
  }

  /** The size of the range, from TnSZ: a value out of range is taken for the nearest, and no walk can be made. */
  private setSize(txsz: number, features: Arm64Features): void {
    const { granuleShift, stride } = this;
    const wide = granuleShift === 16 ? features.lva : this.wideMask !== 0;
    const least = wide ? SMALLEST_TXSZ_52 : SMALLEST_TXSZ;
    const most = features.ttst ? LARGEST_TXSZ_TTST - (granuleShift === 16 ? 1 : 0) : LARGEST_TXSZ;
    if (txsz < least || txsz > most) this.cannotWalk(FaultKind.NotPresent, Reason.RegionSize);
    this.sizeShift = 64 - Math.min(Math.max(txsz, least), most);
    const levels = Math.floor((this.sizeShift - 1 - granuleShift) / stride);
    this.topLevel = levels + 1;
    this.topIndexMask = 2 ** (this.sizeShift - (granuleShift + levels * stride)) - 1;
    for (let level = 2; level <= HIGHEST_LEVEL; level++) {
      const shift = granuleShift + (level - 1) * stride;
      this.prefixFirst[level] = firstWordMask(shift);
      this.prefixSecond[level] = secondWordMask(shift);
    }
  }

  private setOutside(): void {
    const { sizeShift } = this;
    this.expectedHi = this.upper ? -1 : 0;
    this.outsideHi = sizeShift >= 32 ? ~(2 ** (sizeShift - 32) - 1) : -1;
    if (this.topByteIgnored) this.outsideHi &= ~TOP_BYTE;
    if (sizeShift < 32) this.expectedHi ^= BIT_55;
  }

  /** Is an address inside the range that its bit 55 names? @param data with TBI the top byte of a data address is ignored */
  contains(hi: number, lo: number, data: boolean): boolean {
    const { sizeShift } = this;
    const sign = this.upper ? -1 : 0;
    const ignored = data && this.topByteIgnored ? TOP_BYTE : 0;
    const outsideHi = sizeShift >= 32 ? ~(2 ** (sizeShift - 32) - 1) : -1;
    const outsideLo = sizeShift >= 32 ? 0 : ~(2 ** sizeShift - 1);
    return ((hi ^ sign) & outsideHi & ~ignored) === 0 && ((lo ^ sign) & outsideLo) === 0;
  }

  private setRoot(state: Arm64State, wide: boolean): void {
    const hi = this.upper ? state.ttbr1Hi : state.ttbr0Hi;
    const lo = this.upper ? state.ttbr1Lo : state.ttbr0Lo;
    const bytes = Math.max((this.topIndexMask + 1) * 8, wide ? WIDE_TABLE_ALIGNMENT : 0);
    this.rootLo = lo & ~(bytes - 1);
    this.rootHi = hi & 0xffff;
    if (wide) this.rootHi |= (lo & 0x3c) << 14;
    if ((this.rootHi & this.beyondOutput) !== 0) this.cannotWalk(FaultKind.AddressSize, Reason.TableBase);
  }

  /**
   * The ASID: of the register that A1 names, or with FEAT_ASID2 and A2 = 1 of the range's own.
   * @see Arm ARM (DDI 0487), "TCR_EL1", fields A1 and AS; "TCR2_EL1", field A2
   */
  private setContext(state: Arm64State, features: Arm64Features): void {
    const asid2 = features.tcr2 && features.asid2;
    const fromUpper = asid2 && (state.tcr2Lo & A2) !== 0 ? this.upper : (state.tcrLo & A1) !== 0;
    const register = (fromUpper ? state.ttbr1Hi : state.ttbr0Hi) >>> 16;
    const asid = features.asidBits === 16 && (state.tcrHi & AS) !== 0 ? register : register & 0xff;
    const granule = granuleCode(this.granuleShift) << Tag.GRANULE_SHIFT;
    this.contextTag = Tag.VALID | granule | (asid << Tag.ASID_SHIFT);
    this.globalTag = Tag.VALID | granule | Tag.GLOBAL;
    this.globalMask = asid2 && (state.tcr2Lo & this.fields.fng) !== 0 ? 0 : Cached.GLOBAL;
  }

  private setPermissions(state: Arm64State, features: Arm64Features): void {
    const indirect = features.tcr2 && features.s1pie && (state.tcr2Lo & PIE) !== 0;
    const disabled = indirect || (features.hpds && (state.tcrHi & this.fields.hpd) !== 0);
    this.hierarchical = disabled ? 0 : HIERARCHICAL;
    this.rightsBase = (indirect ? Right.Indirect : 0) | (this.upper ? Right.UpperRange : 0);
    this.e0pd = features.e0pd && (state.tcrHi & this.fields.e0pd) !== 0;
  }

  /** The first fault is the one: TnSZ before EPDn before the table base. */
  private cannotWalk(kind: FaultKind, reason: number): void {
    if (this.walkFault !== FaultKind.None) return;
    this.walkFault = kind;
    this.walkReason = reason;
  }
}

/** The output address size: TCR_EL1.IPS, as far as processor and descriptor format go. */
function outputBits(state: Arm64State, features: Arm64Features, wide: boolean): number {
  const bits = Math.min(IPS_BITS[state.tcrHi & IPS_MASK] as number, features.physicalAddressBits);
  return wide ? bits : Math.min(bits, 48);
}

const hasLpa2 = (granuleShift: number, features: Arm64Features): boolean =>
  granuleShift === 12 ? features.lpa2Granule4k : granuleShift === 14 && features.lpa2Granule16k;

/** The granule that is used: the one asked for if it is implemented. */
function implementedGranule(granuleShift: number, features: Arm64Features): number {
  if (granuleShift === 12 && features.granule4k) return 12;
  if (granuleShift === 14 && features.granule16k) return 14;
  if (granuleShift === 16 && features.granule64k) return 16;
  if (features.granule4k) return 12;
  return features.granule16k ? 14 : 16;
}

/** What hardware may change in descriptors. */
export interface HardwareUpdates {
  /** TCR_EL1.HA. */
  readonly accessFlag: boolean;
  /** HA and HD: HD alone has no effect. */
  readonly dirty: boolean;
}

export function hardwareUpdates(state: Arm64State, features: Arm64Features): HardwareUpdates {
  const accessFlag = features.hafdbs >= 1 && (state.tcrHi & HA) !== 0;
  return { accessFlag, dirty: accessFlag && features.hafdbs >= 2 && (state.tcrHi & HD) !== 0 };
}
