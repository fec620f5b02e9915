/**
 * What the tables of one address range look like, as the walker takes them from the registers: for reports and checks.
 */
import { fromHalves } from '../../base/u64.ts';
import { AddressRange } from './address-range.ts';
import { descriptorShift, type GranuleShift } from './entries.ts';
import type { Arm64Features } from './features.ts';
import { TCR_EL1 } from './registers.ts';
import type { Arm64State } from './state.ts';

export interface TableShape {
  readonly granule: GranuleShift;
  /** Descriptors hold 52-bit output addresses: FEAT_LPA with 64 KiB, TCR_EL1.DS = 1 with the others. */
  readonly lpa: boolean;
  /** Bits of an address in the range: 64 - TnSZ, also where that is more or less than can be walked. */
  readonly inputBits: number;
  /** The lookup level of the first table, -1 to 3. */
  readonly rootLevel: number;
  /** Bytes of the first table. */
  readonly rootBytes: number;
}

/** @param upper the range of TTBR1_EL1 */
export function tableShape(state: Arm64State, features: Arm64Features, upper: boolean): TableShape {
  const range = new AddressRange(upper);
  range.update(state, features);
  const granule = range.granuleShift as GranuleShift;
  const rootLevel = 4 - range.topLevel;
  return {
    granule,
    lpa: range.wideMask !== 0,
    inputBits: 64 - Number(TCR_EL1.get(fromHalves(state.tcrHi, state.tcrLo), upper ? 'T1SZ' : 'T0SZ')),
    rootLevel,
    rootBytes: 8 * 2 ** (range.sizeShift - descriptorShift(granule, rootLevel)),
  };
}
