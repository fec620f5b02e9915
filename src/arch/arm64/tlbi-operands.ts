/**
 * What the register operand Xt of a TLBI instruction says: address, ASID, level hint, range. Decoding gives the scope of
 * the invalidation as plain numbers; encoding is for software that issues the instructions.
 * An address in a scope is VA[55:12] as a number from 0 to 2^44 - 1: bit 55 chooses the half, and the hardware takes
 * VA[63:56] to equal it.
 * Left out: the 128-bit operands of TLBIP, IPA operands, the forms of EL2 and EL3.
 *
 * Choices where the manual allows several:
 * - A level hint that is wrong, or names another granule than the entry's, drops no leaf: no entry has to go.
 * - A range whose granule is not that of the entry, or is the reserved 0b00, drops nothing.
 * - A range with a level hint that does not begin where an entry of that level does is UNPREDICTABLE: it is applied as it
 *   stands, and `unpredictable` names it.
 *
 * @see Arm ARM (DDI 0487), "TLB maintenance instructions" and the operand descriptions of TLBI VAE1 and TLBI RVAE1
 */
import { bits, Layout, reservedBits } from '../../base/layout.ts';
import { descriptorShift, type GranuleShift } from './entries.ts';
import type { Arm64Features } from './features.ts';
import type { TlbiOperation } from './tlbi.ts';

/** Xt of VAE1, VALE1, VAAE1 and VAALE1; the last two have no ASID. */
export const TLBI_ADDRESS = new Layout('TLBI by address', {
  ASID: bits(63, 48, 'ASID; not used by the forms for any ASID'),
  TTL: bits(47, 44, 'level hint: granule in bits 47:46 (0 no hint), level of the leaf in 45:44 (FEAT_TTL)'),
  VA: bits(43, 0, 'VA[55:12]'),
});

/** Xt of ASIDE1. */
export const TLBI_ASID = new Layout('TLBI by ASID', {
  ASID: bits(63, 48, 'ASID'),
  RES0_47_0: reservedBits(47, 0, 'RES0'),
});

/** Xt of RVAE1, RVALE1, RVAAE1 and RVAALE1; the last two have no ASID. */
export const TLBI_RANGE = new Layout('TLBI by range', {
  ASID: bits(63, 48, 'ASID; not used by the forms for any ASID'),
  TG: bits(47, 46, 'granule: 1 4 KiB, 2 16 KiB, 3 64 KiB'),
  SCALE: bits(45, 44, 'exponent of the size'),
  NUM: bits(43, 39, 'the range is (NUM + 1) * 2^(5 * SCALE + 1) granules'),
  TTL: bits(38, 37, 'level hint: level of all leaves, 0 any (FEAT_TTL)'),
  BaseADDR: bits(36, 0, 'first address: VA[48:12], [50:14] or [52:16] by granule; [52:16] with TCR_EL1.DS'),
});

/** What decoding an operand needs to know of the CPU that executes the instruction. */
export interface OperandControls {
  readonly features: Pick<Arm64Features, 'asidBits' | 'ttl' | 'lpa2Granule4k' | 'lpa2Granule16k'>;
  /** The effective value of TCR_EL1.DS: a range begins at BaseADDR[52:16] whatever the granule. */
  readonly wideAddresses: boolean;
}

/** Which cached entries one TLBI names. */
export interface TlbiScope {
  readonly operation: TlbiOperation;
  /** The ASID of non-global entries and of table entries; -1 any. */
  readonly asid: number;
  /** First and last VA[55:12]. `last` < `first`: no address at all. */
  readonly first: number;
  readonly last: number;
  /** The lookup level of the leaves, by the level hint; `ANY_LEVEL` without one. */
  readonly level: number;
  /** The granule of the entries as log2; 0 any. */
  readonly granule: GranuleShift | 0;
  /** What makes the instruction CONSTRAINED UNPREDICTABLE; null when nothing does. */
  readonly unpredictable: string | null;
}

export const ANY_LEVEL = 4;
const LAST_ADDRESS = 2 ** 44 - 1;
/** VA[51:12] = all ones with VA[55:52] = 0: the last address that a range of the lower half reaches. */
const LAST_LOW_ADDRESS = 2 ** 40 - 1;
/** VA[52] in a VA[55:12]: the sign of a range's addresses. */
const SIGN = 2 ** 40;

const GRANULE_BY_CODE = [0, 12, 14, 16] as const;
const granuleCode = (granule: GranuleShift): number => GRANULE_BY_CODE.indexOf(granule);

/** The scope of an instruction with its operand. @param xt Xt, a 64-bit word; the VMALL forms have none */
export function tlbiScope(operation: TlbiOperation, xt: bigint, controls: OperandControls): TlbiScope {
  if (operation.range) return rangeScope(operation, xt, controls);
  const scope = { operation, asid: -1, first: 0, last: LAST_ADDRESS, unpredictable: null } as const;
  const all = { ...scope, level: ANY_LEVEL, granule: 0 } as const;
  if (operation.type === 'VMALL') return all;
  const asid = operation.type === 'VAA' ? -1 : matchedAsid(TLBI_ADDRESS.get(xt, 'ASID'), controls);
  if (operation.type === 'ASID') return { ...all, asid };
  const page = Number(TLBI_ADDRESS.get(xt, 'VA'));
  return { ...scope, asid, first: page, last: page, ...levelHint(xt, controls) };
}

/**
 * With ASIDs of 8 bits the upper half of the field is RES0 and not looked at. With 16 bits all of it counts, whatever
 * TCR_EL1.AS says: software has to write zeros there for a context of 8 bits, whose entries have zeros as well.
 */
const matchedAsid = (field: bigint, { features }: OperandControls): number =>
  Number(field) & (features.asidBits === 16 ? 0xffff : 0xff);

/** @see Arm ARM (DDI 0487), "TTL field encodings in TLB instructions that apply to a single address" */
function levelHint(xt: bigint, { features }: OperandControls): Pick<TlbiScope, 'level' | 'granule'> {
  const field = Number(TLBI_ADDRESS.get(xt, 'TTL'));
  const granule = GRANULE_BY_CODE[field >> 2] as GranuleShift | 0;
  const level = field & 3;
  let lowest = 1;
  if (granule === 12 && features.lpa2Granule4k) lowest = 0;
  if (granule === 14 && !features.lpa2Granule16k) lowest = 2;
  if (!features.ttl || granule === 0 || level < lowest) return { level: ANY_LEVEL, granule: 0 };
  return { level, granule };
}

function rangeScope(operation: TlbiOperation, xt: bigint, controls: OperandControls): TlbiScope {
  const field = (name: (typeof TLBI_RANGE.names)[number]): number => Number(TLBI_RANGE.get(xt, name));
  const asid = operation.type === 'VAA' ? -1 : matchedAsid(TLBI_RANGE.get(xt, 'ASID'), controls);
  const granule = GRANULE_BY_CODE[field('TG')] as GranuleShift | 0;
  if (granule === 0) {
    const unpredictable = 'TG is the reserved value 0b00: no entry is named';
    return { operation, asid, first: 0, last: -1, level: ANY_LEVEL, granule, unpredictable };
  }
  const pagesPerGranule = 2 ** (granule - 12);
  const base = field('BaseADDR');
  const unit = controls.wideAddresses ? 16 : pagesPerGranule;
  // The field's top bit is copied upwards to bit 55: the field is signed.
  const signed = base >= 2 ** 36 ? base - 2 ** 37 : base;
  const first = (signed * unit + 2 ** 44) % 2 ** 44;
  const pages = (field('NUM') + 1) * 2 ** (5 * field('SCALE') + 1) * pagesPerGranule;
  const end = first >= SIGN ? LAST_ADDRESS : LAST_LOW_ADDRESS;
  const level = rangeLevel(field('TTL'), granule, controls);
  const unpredictable = misaligned(first, granule, level);
  return {
    operation,
    asid,
    first,
    last: Math.min(first + pages - 1, end),
    level,
    granule,
    unpredictable,
  };
}

/** @see Arm ARM (DDI 0487), "TTL field encodings in TLB instructions that apply to a range of addresses" */
function rangeLevel(field: number, granule: GranuleShift, { features }: OperandControls): number {
  const reserved = field === 1 && granule === 14 && !features.lpa2Granule16k;
  return !features.ttl || field === 0 || reserved ? ANY_LEVEL : field;
}

/**
 * The manual also lists ranges without a hint, of 4 KiB granules with DS = 1, that do not begin at a level 0 entry: as
 * that would be every useful range of a system with 52-bit addresses, it is not named here.
 */
function misaligned(first: number, granule: GranuleShift, level: number): string | null {
  if (level >= 3) return null;
  const shift = descriptorShift(granule, level);
  if (first % 2 ** (shift - 12) === 0) return null;
  return `a range with the level hint ${level} does not begin at a multiple of 2^${shift} bytes`;
}

/** Xt of a single address. @param page VA[55:12] or any page number whose low 44 bits are that @param level leaf's level, for the hint */
export function addressOperand(
  page: number,
  asid: number,
  hint: { readonly granule: GranuleShift; readonly level: number } | null = null,
): bigint {
  const TTL = hint === null ? 0 : granuleCode(hint.granule) * 4 + hint.level;
  return TLBI_ADDRESS.encode({ ASID: asid, TTL, VA: page % 2 ** 44 });
}

/** Xt of ASIDE1. */
export const asidOperand = (asid: number): bigint => TLBI_ASID.encode({ ASID: asid });

/** A range as its operand can say it. */
export interface RangeOperand {
  readonly asid: number;
  /** First page number of 4 KiB: VA[55:12], or any whose low 44 bits are that. */
  readonly page: number;
  readonly granule: GranuleShift;
  readonly scale: number;
  readonly num: number;
  /** Level of all leaves; 0 no hint. */
  readonly level?: number;
}

/**
 * Xt of a range.
 * @param wide TCR_EL1.DS = 1
 * @throws RangeError when the first page is no multiple of the unit that BaseADDR counts in
 */
export function rangeOperand(
  { asid, page, granule, scale, num, level = 0 }: RangeOperand,
  wide: boolean,
): bigint {
  const unit = wide ? 16 : 2 ** (granule - 12);
  if (page % unit !== 0)
    throw new RangeError(`TLBI range from page ${page}, not a multiple of ${unit} pages`);
  const BaseADDR = ((page % 2 ** 44) / unit) % 2 ** 37;
  const TG = granuleCode(granule);
  return TLBI_RANGE.encode({ ASID: asid, TG, SCALE: scale, NUM: num, TTL: level, BaseADDR });
}

/** Pages of 4 KiB that a range covers. */
export const rangePages = (granule: GranuleShift, scale: number, num: number): number =>
  (num + 1) * 2 ** (5 * scale + 1) * 2 ** (granule - 12);
