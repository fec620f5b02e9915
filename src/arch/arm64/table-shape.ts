/**
 * What the tables of one of the two address ranges of EL1&0 look like, by TCR_EL1: granule, size, first lookup level, form of descriptors.
 * For reports and checks; the walker prepares its own controls. Reserved granule encodings are taken for 4 KiB.
 * @see Arm ARM (DDI 0487), "TCR_EL1", fields TG0, TG1, T0SZ, T1SZ and DS
 */
import { fromHalves } from '../../base/u64.ts';
import type { GranuleShift } from './entries.ts';
import type { Arm64Features } from './features.ts';
import { TCR_EL1 } from './registers.ts';
import type { Arm64State } from './state.ts';

export interface TableShape {
  readonly granule: GranuleShift;
  /** Descriptors hold 52-bit output addresses: FEAT_LPA with 64 KiB, TCR_EL1.DS = 1 with the others. */
  readonly lpa: boolean;
  /** Bits of an address in the range: 64 - TnSZ. */
  readonly inputBits: number;
  /** The lookup level of the first table, -1 to 3. */
  readonly rootLevel: number;
}

const TG0_GRANULES: readonly GranuleShift[] = [12, 16, 14, 12];
const TG1_GRANULES: readonly GranuleShift[] = [12, 14, 12, 16];

/** @param upper the range of TTBR1_EL1 */
export function tableShape(state: Readonly<Arm64State>, features: Arm64Features, upper: boolean): TableShape {
  const tcr = fromHalves(state.tcrHi, state.tcrLo);
  const field = (name: (typeof TCR_EL1.names)[number]): number => Number(TCR_EL1.get(tcr, name));
  const granule = (upper ? TG1_GRANULES[field('TG1')] : TG0_GRANULES[field('TG0')]) as GranuleShift;
  const inputBits = 64 - field(upper ? 'T1SZ' : 'T0SZ');
  const small = granule === 12 ? features.lpa2Granule4k : features.lpa2Granule16k;
  const lpa = granule === 16 ? features.lpa : small && TCR_EL1.has(tcr, 'DS');
  return { granule, lpa, inputBits, rootLevel: 4 - Math.ceil((inputBits - granule) / (granule - 3)) };
}
