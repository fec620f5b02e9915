/**
 * Stage 1 translation table descriptors of VMSAv8-64: table, block and page, for each granule, lookup level and
 * address size, every bit named. Which form a descriptor has is its bits 1:0 and the level it was read at.
 * Left out: stage 2, VMSAv9-128 (FEAT_D128), the Realm and Root forms of bits 5, 11 and 63 (NSE, AMEC).
 * @see Arm ARM (DDI 0487), "VMSAv8-64 descriptor formats"
 */
import {
  addressBits,
  bit,
  bits,
  type FieldDeclaration,
  ignoredBits,
  Layout,
  reservedBits,
} from '../../base/layout.ts';

/** Bytes of a granule as log2. */
export type GranuleShift = 12 | 14 | 16;

/** Where a descriptor was read, and how wide output addresses are. */
export interface DescriptorContext {
  readonly granule: GranuleShift;
  /** Lookup level, -1 (4 KiB with 52-bit addresses only) to 3. */
  readonly level: number;
  /** 52-bit output addresses: FEAT_LPA with 64 KiB granules, FEAT_LPA2 and TCR_ELx.DS = 1 with the others. */
  readonly lpa: boolean;
  /** TCR2_ELx.PIE = 1: a leaf holds an index into PIR_ELx, a table descriptor limits nothing. Default false. */
  readonly pie?: boolean;
}

export type DescriptorForm = 'invalid' | 'reserved' | 'table' | 'block' | 'page';

/** log2 of the bytes that one descriptor of this level maps. */
export const descriptorShift = (granule: GranuleShift, level: number): number =>
  granule + (3 - level) * (granule - 3);

/** The lookup levels that exist: -1 to 3 with 4 KiB, 0 to 3 with 16 KiB, 1 to 3 with 64 KiB. */
export function levelExists({ granule, level, lpa }: DescriptorContext): boolean {
  if (!Number.isInteger(level) || level > 3) return false;
  if (granule === 12) return level >= (lpa ? -1 : 0);
  return level >= (granule === 14 ? 0 : 1);
}

/**
 * May a descriptor of this level be a block?
 * @see Arm ARM (DDI 0487), "VMSAv8-64 Block descriptor and Page descriptor formats": 4 KiB at levels 1 and 2, and 0 with
 * FEAT_LPA2; 16 KiB at level 2, and 1 with FEAT_LPA2; 64 KiB at level 2, and 1 with FEAT_LPA
 */
export function blockAllowed({ granule, level, lpa }: DescriptorContext): boolean {
  const lowest = (granule === 12 ? 1 : 2) - (lpa ? 1 : 0);
  return level >= lowest && level <= 2;
}

/** Bits 1:0 and the level. A reserved form is treated as invalid. */
export function descriptorForm(value: bigint, context: DescriptorContext): DescriptorForm {
  if ((value & 1n) === 0n) return 'invalid';
  const bit1 = (value & 2n) !== 0n;
  if (context.level === 3) return bit1 ? 'page' : 'reserved';
  if (bit1) return 'table';
  return blockAllowed(context) ? 'block' : 'reserved';
}

/**
 * Why bits 1:0 = 0b01 are reserved at this level.
 * @see Arm ARM (DDI 0487), "VMSAv8-64 Block descriptor and Page descriptor formats"
 */
export function reservedReason({ granule, level, lpa }: DescriptorContext): string {
  const what = `bits 1:0 = 0b01 are reserved at level ${level} with a ${granuleName(granule)} granule`;
  if (level === 3) return `${what}: a page has 0b11`;
  if (lpa || !blockAllowed({ granule, level, lpa: true })) return `${what}: it has no blocks`;
  const needed = granule === 16 ? 'FEAT_LPA and 52-bit addresses' : 'FEAT_LPA2 and TCR_ELx.DS = 1';
  return `${what}: a block needs ${needed}`;
}

/**
 * How many descriptors a run of the Contiguous bit has; null where the manual has none.
 * @see Arm ARM (DDI 0487), "The Contiguous bit"
 */
export function contiguousRun({ granule, level }: DescriptorContext): number | null {
  if (granule === 12) return level >= 1 ? 16 : null;
  if (granule === 14) return level === 3 ? 128 : level === 2 ? 32 : null;
  return level >= 2 ? 32 : null;
}

type Fields = Record<string, FieldDeclaration>;

/** Adds RES0 bits high:low, if there are any. */
function addReserved(fields: Fields, high: number, low: number): void {
  if (high >= low) fields[`RES0_${high}_${low}`] = reservedBits(high, low, 'RES0');
}

/** The output address: where its bits stand depends on granule and address size. */
function addAddress(
  fields: Fields,
  { granule, lpa }: DescriptorContext,
  lowest: number,
  meaning: string,
): void {
  const wideLow = lpa && granule !== 16;
  const high = wideLow ? 49 : 47;
  fields['ADDRESS'] = addressBits(high, lowest, meaning);
  addReserved(fields, 49, high + 1);
}

const TABLE_LIMITS: Fields = {
  APTable: bits(62, 61, 'limits of access permissions below: bit 0 no EL0 access, bit 1 no writes'),
  UXNTable: bit(60, 'no execution at EL0 below'),
  PXNTable: bit(59, 'no execution at EL1 below'),
};

/**
 * A table descriptor: bits 1:0 = 0b11 at a level below 3.
 * @see Arm ARM (DDI 0487), "VMSAv8-64 Table descriptor format"
 */
export function tableLayout(context: DescriptorContext): Layout {
  const { granule, lpa } = context;
  const fields: Fields = {
    VALID: bit(0, 'valid'),
    TYPE: bit(1, 'descriptor type: 1 a table, 0 a block where this level has blocks'),
    NSTable: bit(63, 'the next level is in Non-secure memory (Secure state only)'),
    ...(context.pie === true
      ? {
          IGNORED_62_59: ignoredBits(
            62,
            59,
            'ignored: limits of permissions, which do not apply with PIE = 1',
          ),
        }
      : TABLE_LIMITS),
    IGNORED_58_51: ignoredBits(58, 51, 'ignored'),
    RES0_50: reservedBits(50, 50, 'RES0'),
    AF: bit(10, 'Access flag of the table (FEAT_HAFT), otherwise ignored'),
    IGNORED_11: ignoredBits(11, 11, 'ignored'),
  };
  const wideLow = lpa && granule !== 16;
  addAddress(fields, context, granule, 'address of the next table');
  if (wideLow) {
    fields['ADDRESS_51_50'] = bits(9, 8, 'address of the next table, bits 51:50');
    fields['IGNORED_7_2'] = ignoredBits(7, 2, 'ignored');
  } else {
    fields['IGNORED_9_2'] = ignoredBits(9, 2, 'ignored');
  }
  if (granule === 16 && lpa) fields['ADDRESS_51_48'] = bits(15, 12, 'address of the next table, bits 51:48');
  else addReserved(fields, granule - 1, 12);
  return new Layout(
    `stage 1 table descriptor, level ${context.level}, ${granuleName(granule)} granule`,
    fields,
  );
}

/** Permissions in the descriptor itself. @see Arm ARM (DDI 0487), "Stage 1 permissions", "Direct permissions" */
const DIRECT_PERMISSIONS: Fields = {
  AP: bits(7, 6, 'access permissions AP[2:1]: bit 0 EL0 access, bit 1 read-only'),
  DBM: bit(51, 'dirty bit modifier: with read-only, writable-clean (FEAT_HAFDBS)'),
  PXN: bit(53, 'no execution at EL1'),
  UXN: bit(54, 'no execution at EL0'),
  PBHA: bits(
    62,
    59,
    'page-based hardware attributes (FEAT_HPDS2), POIndex in 62:60 (FEAT_S1POE), AttrIndx[3] in 59 (FEAT_AIE), otherwise ignored',
  ),
};

/** Permissions by index. @see Arm ARM (DDI 0487), "Stage 1 Indirect permissions" */
const INDIRECT_PERMISSIONS: Fields = {
  PIIndex0: bit(6, 'bit 0 of the index into PIR_ELx and PIRE0_EL1'),
  nDirty: bit(7, 'clean: a write has to set dirty state first'),
  PIIndex1: bit(51, 'bit 1 of the index'),
  PIIndex2: bit(53, 'bit 2 of the index'),
  PIIndex3: bit(54, 'bit 3 of the index'),
  AttrIndx3: bit(
    59,
    'AttrIndx[3], with TCR2_ELx.AIE = 1 (FEAT_AIE); otherwise PBHA[0] (FEAT_HPDS2) or ignored',
  ),
  POIndex: bits(62, 60, 'index into POR_ELx (FEAT_S1POE); otherwise PBHA[3:1] (FEAT_HPDS2) or ignored'),
};

/** The attributes that block and page descriptors share. @see Arm ARM (DDI 0487), "Stage 1 attribute fields" */
function leafAttributes({ granule, lpa, pie }: DescriptorContext): Fields {
  return {
    VALID: bit(0, 'valid'),
    AttrIndx: bits(4, 2, 'index of the memory type in MAIR_ELx'),
    NS: bit(5, 'output address is Non-secure (Secure state only)'),
    ...(pie === true ? INDIRECT_PERMISSIONS : DIRECT_PERMISSIONS),
    ...(lpa && granule !== 16
      ? { ADDRESS_51_50: bits(9, 8, 'output address, bits 51:50; shareability is in TCR_ELx') }
      : { SH: bits(9, 8, 'shareability') }),
    AF: bit(10, 'Access flag'),
    nG: bit(11, 'not global: belongs to the current ASID'),
    GP: bit(50, 'guarded page (FEAT_BTI), otherwise RES0'),
    Contiguous: bit(52, 'one of a run of entries that may share a TLB entry'),
    SOFTWARE: ignoredBits(58, 55, 'for software'),
    IGNORED_63: ignoredBits(63, 63, 'ignored'),
  };
}

/**
 * A block descriptor: bits 1:0 = 0b01 at a level that allows blocks.
 * @see Arm ARM (DDI 0487), "VMSAv8-64 Block descriptor and Page descriptor formats"
 */
export function blockLayout(context: DescriptorContext): Layout {
  const lowest = descriptorShift(context.granule, context.level);
  const fields: Fields = {
    ...leafAttributes(context),
    TYPE: bit(1, 'descriptor type: 1 a table, 0 a block where this level has blocks'),
    nT: bit(16, 'block translation entry that must not conflict (FEAT_BBM), otherwise RES0'),
  };
  addAddress(fields, context, lowest, 'output address');
  addReserved(fields, lowest - 1, 17);
  if (context.granule === 16 && context.lpa) {
    fields['ADDRESS_51_48'] = bits(15, 12, 'output address, bits 51:48');
  } else addReserved(fields, 15, 12);
  const title = `stage 1 block descriptor, level ${context.level}, ${granuleName(context.granule)} granule`;
  return new Layout(title, fields);
}

/**
 * A page descriptor: bits 1:0 = 0b11 at level 3.
 * @see Arm ARM (DDI 0487), "VMSAv8-64 Block descriptor and Page descriptor formats"
 */
export function pageLayout(context: DescriptorContext): Layout {
  const { granule, lpa } = context;
  const fields: Fields = {
    ...leafAttributes(context),
    TYPE: bit(1, 'descriptor type: 1 a page, 0 reserved at level 3'),
  };
  addAddress(fields, context, granule, 'output address');
  if (granule === 16 && lpa) fields['ADDRESS_51_48'] = bits(15, 12, 'output address, bits 51:48');
  else addReserved(fields, granule - 1, 12);
  return new Layout(`stage 1 page descriptor, ${granuleName(granule)} granule`, fields);
}

/** A descriptor with bit 0 = 0: the hardware looks at nothing else. */
const invalidLayout = ({ granule, level }: DescriptorContext): Layout =>
  new Layout(`stage 1 invalid descriptor, level ${level}, ${granuleName(granule)} granule`, {
    VALID: bit(0, 'valid'),
    IGNORED: ignoredBits(63, 1, 'ignored'),
  });

/** One of a reserved form, bits 1:0 = 0b01: treated as invalid. */
const reservedLayout = ({ granule, level }: DescriptorContext): Layout =>
  new Layout(`stage 1 reserved descriptor, level ${level}, ${granuleName(granule)} granule`, {
    VALID: bit(0, 'not enough by itself: the descriptor is of a reserved form'),
    TYPE: bit(1, 'descriptor type: 0 is reserved here'),
    IGNORED: ignoredBits(63, 2, 'ignored'),
  });

/** `4 KiB`, `16 KiB` or `64 KiB`. */
const granuleName = (granule: GranuleShift): string => `${2 ** (granule - 10)} KiB`;

/** The full output address (or next table address) of a valid descriptor, its low bits 0. */
export function descriptorAddress(value: bigint, layout: Layout): bigint {
  let address = layout.get(value, 'ADDRESS');
  if (layout.names.includes('ADDRESS_51_50')) address |= layout.get(value, 'ADDRESS_51_50') << 50n;
  if (layout.names.includes('ADDRESS_51_48')) address |= layout.get(value, 'ADDRESS_51_48') << 48n;
  return address;
}

/** The layout of a descriptor by its form. */
export function layoutOfDescriptor(value: bigint, context: DescriptorContext): Layout {
  const form = descriptorForm(value, context);
  if (form === 'table') return tableLayout(context);
  if (form === 'block') return blockLayout(context);
  if (form === 'page') return pageLayout(context);
  return form === 'reserved' ? reservedLayout(context) : invalidLayout(context);
}
