/**
 * What a dump's ID registers say of its processor, as far as translation sees it. A feature that the control registers
 * use is there whatever the ID registers say or however many of them are missing; what nothing tells is taken to be there.
 * @see Arm ARM (DDI 0487), "ID_AA64MMFR0_EL1" to "ID_AA64MMFR3_EL1"
 */
import { ARM64_COMPLETE, type Arm64Features } from '../../arch/arm64/features.ts';

/** An ID register, or undefined where it is not known. */
export type IdRegister = (
  name: 'id_aa64mmfr0' | 'id_aa64mmfr1' | 'id_aa64mmfr2' | 'id_aa64mmfr3',
) => bigint | undefined;

/** The 4-bit field from bit `low` on. */
const field = (register: bigint, low: number): number => Number((register >> BigInt(low)) & 0xfn);

const PHYSICAL_BITS = [32, 36, 40, 42, 44, 48, 52] as const;
/** In TGran4 and TGran64: the granule is not there. */
const NO_GRANULE = 0xf;

function sizes(register: bigint): Partial<Arm64Features> {
  const range = field(register, 0);
  const [tgran16, tgran64, tgran4] = [field(register, 20), field(register, 24), field(register, 28)];
  return {
    physicalAddressBits: PHYSICAL_BITS[range] ?? 52,
    asidBits: field(register, 4) === 0 ? 8 : 16,
    granule4k: tgran4 !== NO_GRANULE,
    granule16k: tgran16 !== 0,
    granule64k: tgran64 !== NO_GRANULE,
    lpa: range >= 6,
    lpa2Granule4k: tgran4 === 1,
    lpa2Granule16k: tgran16 === 2,
  };
}

function updates(register: bigint): Partial<Arm64Features> {
  const hafdbs = field(register, 0);
  const pan = field(register, 20);
  return {
    hafdbs: hafdbs === 0 ? 0 : hafdbs === 1 ? 1 : 2,
    hpds: field(register, 12) !== 0,
    pan: pan === 0 ? 0 : pan === 1 ? 1 : pan === 2 ? 2 : 3,
  };
}

function ranges(register: bigint): Partial<Arm64Features> {
  return {
    uao: field(register, 4) !== 0,
    lva: field(register, 16) !== 0,
    ttst: field(register, 28) !== 0,
    e0pd: field(register, 60) !== 0,
  };
}

function indirection(register: bigint): Partial<Arm64Features> {
  return {
    tcr2: field(register, 0) !== 0,
    s1pie: field(register, 8) !== 0,
    s1poe: field(register, 16) !== 0,
  };
}

/** What of this the control registers use. */
export interface UsedFeatures {
  /** TCR_EL1.DS = 1. */
  readonly lpa2: boolean;
  /** TCR2_EL1.PIE = 1, and any of its POE bits. */
  readonly permissionIndirection: boolean;
  readonly permissionOverlay: boolean;
}

export function featuresOf(idRegister: IdRegister, used: UsedFeatures): Arm64Features {
  const readers = [
    [idRegister('id_aa64mmfr0'), sizes],
    [idRegister('id_aa64mmfr1'), updates],
    [idRegister('id_aa64mmfr2'), ranges],
    [idRegister('id_aa64mmfr3'), indirection],
  ] as const;
  let features = ARM64_COMPLETE;
  for (const [register, read] of readers) {
    if (register !== undefined) features = { ...features, ...read(register) };
  }
  return {
    ...features,
    lpa2Granule4k: features.lpa2Granule4k || used.lpa2,
    lpa2Granule16k: features.lpa2Granule16k || used.lpa2,
    tcr2: features.tcr2 || used.permissionIndirection || used.permissionOverlay,
    s1pie: features.s1pie || used.permissionIndirection,
    s1poe: features.s1poe || used.permissionOverlay,
  };
}
