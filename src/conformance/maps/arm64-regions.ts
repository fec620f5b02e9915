/**
 * The two halves of the address space as a list of mappings needs them: where the tables start and how descriptors hold
 * addresses. The registers are read by the MMU's own `AddressRange`; here is only another view of it.
 */
import { AddressRange } from '../../arch/arm64/address-range.ts';
import { Reason } from '../../arch/arm64/fault-reasons.ts';
import { Right } from '../../arch/arm64/permissions.ts';
import { TCR_EL1 } from '../../arch/arm64/registers.ts';
import { TCR2_EL1 } from '../../arch/arm64/system-registers.ts';
import { FaultKind } from '../../arch/fault.ts';
import { registersOf } from './arm64-mmu.ts';
import type { Arm64DumpState } from './arm64-state.ts';

export interface Arm64Region {
  readonly walks: true;
  /** `TTBR0_EL1` or `TTBR1_EL1`. */
  readonly register: string;
  /** log2 of the granule's bytes. */
  readonly granule: number;
  /** Bits of the addresses that the tables translate. */
  readonly addressBits: number;
  /** -1 to 3. */
  readonly startLevel: number;
  readonly startEntries: number;
  /** Byte address of the first table. */
  readonly tableAddress: number;
  /** First page of the half, in 4 KiB. */
  readonly firstPage: number;
  /** The lowest lookup level that has blocks. */
  readonly firstBlockLevel: number;
  /** Mask of the address bits in the high half of a descriptor, from bit 32 on. */
  readonly addressHigh: number;
  /** The topmost address bits as they stand in the low half, and how far up they belong in the high one. */
  readonly wideMask: number;
  readonly wideShift: number;
  /** Bit 7 of a leaf is nDirty, not AP[2]; bit 51 is no DBM (permission indirection). */
  readonly indirect: boolean;
  /** Bits of the high half of a leaf that hardware ignores. */
  readonly ignoredHigh: number;
}

const ADDRESS_SPACE_PAGES = 2 ** 52;
/** `AddressRange` counts levels from the last one, 1; the manual ends with 3. */
const lookupLevel = (level: number): number => 4 - level;

/** A half in which no walk can be made, and why. */
export interface Arm64NoRegion {
  readonly register: string;
  readonly walks: false;
  readonly reason: string;
}

function noWalk(reason: number, half: 0 | 1): string {
  if (reason === Reason.Epd) return `TCR_EL1.EPD${half} = 1`;
  if (reason === Reason.RegionSize) return `TCR_EL1.T${half}SZ is out of range`;
  return 'its first table lies beyond the output size';
}

/** Bits 58:55, for software, and 63, as there is no FEAT_MEC, as they stand in the high half of a leaf. */
const ALWAYS_IGNORED = (0xf << 23) | (1 << 31);
/** Bits 62:60, POIndex, there. */
const OVERLAY_INDEX = 7 << 28;

/**
 * Bits 62:59, PBHA, count where TCR_EL1.HWUnxx gives them a use of hardware, which needs HPDn = 1; 62:60 as POIndex also
 * where overlays are on. Left out: bit 59 as AttrIndx[3] (FEAT_AIE).
 * @see Arm ARM (DDI 0487), "VMSAv8-64 descriptor formats", "Page-based hardware attributes", "Ignored fields"
 */
function ignoredHigh(half: 0 | 1, { tcr, tcr2, features, indirect }: Arm64DumpState): number {
  let ignored = ALWAYS_IGNORED;
  const hardwareUse = indirect || TCR_EL1.has(tcr, `HPD${half}`);
  for (const bit of [59, 60, 61, 62] as const) {
    if (!hardwareUse || !TCR_EL1.has(tcr, `HWU${half}${bit}`)) ignored |= 1 << (bit - 32);
  }
  const overlays = TCR2_EL1.has(tcr2, 'POE') || TCR2_EL1.has(tcr2, 'E0POE');
  return features.s1poe && overlays ? ignored & ~OVERLAY_INDEX : ignored;
}

/** One half, 0 from TTBR0_EL1 or 1 from TTBR1_EL1. */
export function regionOf(half: 0 | 1, state: Arm64DumpState): Arm64Region | Arm64NoRegion {
  const range = new AddressRange(half === 1);
  range.update(registersOf(state), state.features);
  if (range.walkFault !== FaultKind.None) {
    return { register: `TTBR${half}_EL1`, walks: false, reason: noWalk(range.walkReason, half) };
  }
  return {
    walks: true,
    register: `TTBR${half}_EL1`,
    granule: range.granuleShift,
    addressBits: range.sizeShift,
    startLevel: lookupLevel(range.topLevel),
    startEntries: range.topIndexMask + 1,
    tableAddress: range.rootHi * 2 ** 32 + (range.rootLo >>> 0),
    firstPage: half === 0 ? 0 : ADDRESS_SPACE_PAGES - 2 ** (range.sizeShift - 12),
    firstBlockLevel: lookupLevel(range.largestBlock),
    addressHigh: range.addressHigh,
    wideMask: range.wideMask,
    wideShift: range.wideShift,
    indirect: (range.rightsBase & Right.Indirect) !== 0,
    ignoredHigh: ignoredHigh(half, state),
  };
}
