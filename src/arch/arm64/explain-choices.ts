/**
 * What address and registers decide before a walk begins, in words: which half and TTBRn_EL1, top byte, region size,
 * granule, start level, first table, output size. Worked out from the registers with their layouts; a test holds the
 * start level against the walker's.
 */
import { fromHalves, hex } from '../../base/u64.ts';
import { Access } from '../access.ts';
import { type DescriptorContext, descriptorShift, type GranuleShift } from './entries.ts';
import type { Arm64Features } from './features.ts';
import type { Arm64Mmu } from './mmu.ts';
import { TCR_EL1 } from './registers.ts';
import type { Arm64State } from './state.ts';
import { TCR2_EL1, TTBR0_EL1 } from './system-registers.ts';
import { tableShape } from './table-shape.ts';

/** How addresses of one half are translated. */
export interface TranslationRegion {
  /** 0: TTBR0_EL1, 1: TTBR1_EL1. */
  readonly half: 0 | 1;
  readonly granule: GranuleShift;
  /** TnSZ as it stands in the register. */
  readonly sizeOffset: number;
  /** Lookup level of the first table, -1 to 3. */
  readonly startLevel: number;
  /** 52-bit output addresses in descriptors and TTBRn_EL1. */
  readonly lpa: boolean;
  /** TCR_EL1.DS is in effect: shareability is that of TCR_EL1. */
  readonly ds: boolean;
  /** TCR2_EL1.PIE is in effect: descriptors hold an index in place of permissions. */
  readonly pie: boolean;
  /** Output address size in bits, TCR_EL1.IPS. */
  readonly outputBits: number;
}

const OUTPUT_BITS = [32, 36, 40, 42, 44, 48, 52, 52] as const;
const GRANULE_64K = 16;

/** The registers as 64-bit words. */
export const registerWords = (state: Readonly<Arm64State>) => ({
  sctlr: fromHalves(state.sctlrHi, state.sctlrLo),
  tcr: fromHalves(state.tcrHi, state.tcrLo),
  tcr2: fromHalves(state.tcr2Hi, state.tcr2Lo),
  ttbr0: fromHalves(state.ttbr0Hi, state.ttbr0Lo),
  ttbr1: fromHalves(state.ttbr1Hi, state.ttbr1Lo),
  mair: fromHalves(state.mairHi, state.mairLo),
  pir: fromHalves(state.pirHi, state.pirLo),
  pire0: fromHalves(state.pire0Hi, state.pire0Lo),
  por0: fromHalves(state.porEl0Hi, state.porEl0Lo),
  por1: fromHalves(state.porEl1Hi, state.porEl1Lo),
});

/** The region of an address. Bit 55 alone chooses the half. */
export function regionOf(
  state: Readonly<Arm64State>,
  features: Arm64Features,
  address: bigint,
): TranslationRegion {
  const { tcr, tcr2 } = registerWords(state);
  const half = ((address >> 55n) & 1n) === 0n ? 0 : 1;
  const { granule, lpa, inputBits, rootLevel } = tableShape(state, features, half === 1);
  const ips = OUTPUT_BITS[Number(TCR_EL1.get(tcr, 'IPS'))] ?? 48;
  return {
    half,
    granule,
    sizeOffset: 64 - inputBits,
    startLevel: rootLevel,
    lpa,
    ds: lpa && granule !== GRANULE_64K,
    pie: features.s1pie && TCR2_EL1.has(tcr2, 'PIE'),
    outputBits: Math.min(ips, features.physicalAddressBits, lpa ? 52 : 48),
  };
}

/** The form of descriptors at a level of the region. */
export const contextAt = ({ granule, lpa, pie }: TranslationRegion, level: number): DescriptorContext => ({
  granule,
  level,
  lpa,
  pie,
});

/** The index into each table, from the start level on; the first table may be smaller or larger than the others. */
export function tableIndices(
  { granule, startLevel, sizeOffset }: TranslationRegion,
  address: bigint,
): { name: string; index: number }[] {
  const indices: { name: string; index: number }[] = [];
  for (let level = startLevel; level <= 3; level++) {
    const shift = descriptorShift(granule, level);
    const bits = level === startLevel ? 64 - sizeOffset - shift : granule - 3;
    const index = Number((address >> BigInt(shift)) & ((1n << BigInt(bits)) - 1n));
    indices.push({ name: `level ${level}`, index });
  }
  return indices;
}

const sizeText = (shift: number): string => `${2 ** (shift - 10)} KiB`;

function topByteWords(tcr: bigint, half: 0 | 1, access: number): string {
  const ignored = TCR_EL1.has(tcr, `TBI${half}`);
  if (!ignored) return `TBI${half} = 0: bits 63:56 are a part of the address`;
  const dataOnly = TCR_EL1.has(tcr, `TBID${half}`);
  if ((access & Access.Fetch) === 0) return `TBI${half} = 1: bits 63:56 are ignored`;
  return dataOnly
    ? `TBI${half} = 1 and TBID${half} = 1: bits 63:56 are ignored for data only, this is a fetch`
    : `TBI${half} = 1: bits 63:56 are ignored; a branch makes them the sign extension of bit 55`;
}

/** The address of the first table, as TTBRn_EL1 gives it. */
function firstTable(state: Readonly<Arm64State>, region: TranslationRegion): bigint {
  const { ttbr0, ttbr1 } = registerWords(state);
  const ttbr = region.half === 0 ? ttbr0 : ttbr1;
  const base = TTBR0_EL1.get(ttbr, 'BADDR');
  const bits = 64 - region.sizeOffset - descriptorShift(region.granule, region.startLevel);
  // A table of less than 64 bytes is aligned to 64 bytes where addresses have 52 bits.
  const wide = region.lpa && region.outputBits === 52;
  const alignment = BigInt(Math.max(bits + 3, wide ? 6 : 0));
  const low = (base >> alignment) << alignment;
  return wide ? low | (((ttbr >> 2n) & 15n) << 48n) : low;
}

/** The choices in the order in which they are made, a line each. */
export function choiceLines(
  { state, features }: Pick<Arm64Mmu, 'state' | 'features'>,
  region: TranslationRegion,
  access: number,
): string[] {
  const { tcr } = registerWords(state);
  const { half, granule, sizeOffset, startLevel, outputBits } = region;
  const inputBits = 64 - sizeOffset;
  const shift = descriptorShift(granule, startLevel);
  const lines = [
    `bit 55 of the address is ${half}: TTBR${half}_EL1 and the TCR_EL1 fields with ${half}`,
    topByteWords(tcr, half, access),
    `T${half}SZ = ${sizeOffset}: ${inputBits}-bit addresses; TG${half}: ${sizeText(granule)} granule; ` +
      `${inputBits - granule} bits above the page, ${granule - 3} a level: the walk starts at level ${startLevel}`,
  ];
  if (inputBits > shift && startLevel >= -1 && startLevel <= 3) {
    const entries = 2 ** (inputBits - shift);
    lines.push(
      `first table at ${hex(firstTable(state, region))}: ${entries} descriptors, by bits ${inputBits - 1}:${shift}`,
    );
  }
  lines.push(
    `IPS: output addresses of ${outputBits} bits${region.ds ? '; DS = 1: descriptor bits 9:8 are address bits 51:50' : ''}`,
  );
  const hardware = hardwareUpdates(tcr, features);
  if (hardware !== null) lines.push(hardware);
  return lines;
}

/** What hardware updates in descriptors; null when nothing is asked of it. */
function hardwareUpdates(tcr: bigint, { hafdbs }: Arm64Features): string | null {
  const [ha, hd] = [TCR_EL1.has(tcr, 'HA') && hafdbs >= 1, TCR_EL1.has(tcr, 'HD') && hafdbs >= 2];
  if (ha)
    return hd
      ? 'HA = HD = 1: hardware sets the Access flag and dirty state'
      : 'HA = 1: hardware sets the Access flag';
  return hd ? 'HD = 1 has no effect while HA = 0' : null;
}
