/** A stage 1 descriptor in words, every field of it and what follows. Which form it has is entries.ts. */
import { InputError } from '../../base/input-error.ts';
import type { FieldValue } from '../../base/layout.ts';
import { hex } from '../../base/u64.ts';
import { type Decoded, type DecodeKind, type DecodeOptions, decodeWith } from '../decode-kind.ts';
import { SHAREABILITY_WORDS, sizeWords } from './attribute-words.ts';
import {
  contiguousRun,
  type DescriptorContext,
  descriptorAddress,
  descriptorForm,
  descriptorShift,
  type GranuleShift,
  layoutOfDescriptor,
  levelExists,
  reservedReason,
} from './entries.ts';

const GRANULES: Readonly<Record<string, GranuleShift>> = { '4k': 12, '16k': 14, '64k': 16 };

/** @throws InputError when the granule is unknown, or the level is missing or does not exist with this granule */
function contextOf(options: DecodeOptions): DescriptorContext {
  const granule = GRANULES[options.granule ?? '4k'];
  if (granule === undefined) {
    throw new InputError('unknown granule', { expected: '4k, 16k or 64k', found: String(options.granule) });
  }
  if (options.level === undefined) {
    throw new InputError('a descriptor means something at a level only', { expected: '--level -1 to 3' });
  }
  const context: DescriptorContext = {
    granule,
    level: options.level,
    lpa: options.lpa === true,
    pie: options.pie === true,
  };
  if (!levelExists(context)) {
    throw new InputError(`no lookup level ${options.level} with a ${options.granule ?? '4k'} granule`, {
      expected:
        granule === 12 ? '0 to 3, and -1 with 52-bit addresses' : granule === 14 ? '0 to 3' : '1 to 3',
    });
  }
  return context;
}

const ACCESS_PERMISSIONS = [
  'EL1 read-write, no EL0 data access',
  'EL1 and EL0 read-write',
  'EL1 read-only, no EL0 data access',
  'EL1 and EL0 read-only',
];
const TABLE_LIMITS = [
  'no effect',
  'no EL0 data access below',
  'no write access below',
  'no write access and no EL0 data access below',
];

const descriptorWords = (title: string, { name, value }: FieldValue): string | null => {
  const index = Number(value & 3n);
  if (name === 'SH') return SHAREABILITY_WORDS[index] ?? null;
  if (name === 'AP') return ACCESS_PERMISSIONS[index] ?? null;
  if (name === 'APTable') return TABLE_LIMITS[index] ?? null;
  if (name === 'AttrIndx') return `MAIR_EL1 field Attr${value}`;
  if (name === 'TYPE' && !title.includes('reserved'))
    return title.includes('block') ? 'block' : title.includes('page') ? 'page' : 'table';
  return null;
};

/**
 * What a run of the Contiguous bit is.
 * @param output the output address of one of its descriptors
 * @param input an address that this descriptor translates, without top byte, if one is known
 */
export function contiguousWords(context: DescriptorContext, output: bigint, input: bigint | null): string {
  const run = contiguousRun(context);
  if (run === null) return 'Contiguous = 1: the manual has no runs at this level';
  const shift = descriptorShift(context.granule, context.level);
  const size = BigInt(run) << BigInt(shift);
  const base = (address: bigint): string => hex(address - (address % size));
  const from = input === null ? '' : ` of addresses from ${base(input)}`;
  return (
    `Contiguous = 1: one of ${run} descriptors of ${sizeWords(shift)} that map ` +
    `${sizeWords(shift + Math.log2(run))}${from} at ${base(output)} and may share a TLB entry`
  );
}

const bitOf = (value: bigint, at: bigint): bigint => (value >> at) & 1n;
const DBM = 51n;
const AF = 10n;
const CONTIGUOUS = 52n;
const ATTR_INDEX_3 = 59n;

function invalidRemarks(value: bigint, context: DescriptorContext): string[] {
  if (descriptorForm(value, context) === 'reserved')
    return [`${reservedReason(context)}; a Translation fault`];
  const levels = `level ${context.level}`;
  if (value === 0n) return [`invalid: a Translation fault, ${levels}`];
  return [
    `invalid: a Translation fault, ${levels}; the hardware looks at bit 0 only`,
    'Linux keeps swap entries and PROT_NONE pages in descriptors with bit 0 clear',
  ];
}

function descriptorRemarks(value: bigint, context: DescriptorContext): string[] {
  const form = descriptorForm(value, context);
  if (form === 'invalid' || form === 'reserved') return invalidRemarks(value, context);
  const address = descriptorAddress(value, layoutOfDescriptor(value, context));
  if (form === 'table') return [`next table at ${hex(address)}`];
  const remarks = [`maps ${sizeWords(descriptorShift(context.granule, context.level))} at ${hex(address)}`];
  if (bitOf(value, AF) === 0n)
    remarks.push('AF = 0: an Access flag fault, unless TCR_EL1.HA = 1 and the walker sets it');
  if (bitOf(value, CONTIGUOUS) === 1n) remarks.push(contiguousWords(context, address, null));
  remarks.push(...(context.pie === true ? indirectRemarks(value) : directRemarks(value)));
  if (bitOf(value, ATTR_INDEX_3) === 1n) remarks.push(attributeRemark(value));
  return remarks;
}

/** @see Arm ARM (DDI 0487), "Stage 1 attribute fields", AttrIndx; FEAT_AIE */
function attributeRemark(value: bigint): string {
  const index = 8n + ((value >> 2n) & 7n);
  return `with TCR2_EL1.AIE = 1 (FEAT_AIE) bit 59 is AttrIndx[3]: AttrIndx = ${index}, MAIR2_EL1 field Attr${index}`;
}

const indirectionIndexOf = (value: bigint): bigint =>
  (((value >> 53n) & 3n) << 2n) | (bitOf(value, DBM) << 1n) | bitOf(value, 6n);

/** What the same bits are where permissions are indirect. @see Arm ARM (DDI 0487), "Stage 1 Indirect permissions" */
function directRemarks(value: bigint): string[] {
  const clean = bitOf(value, 7n);
  const remarks = [
    `with TCR2_EL1.PIE = 1 (--pie): PIIndex ${indirectionIndexOf(value)} (bits 54:53, 51 and 6), nDirty ${clean} (bit 7); overlays: POIndex ${(value >> 60n) & 7n}`,
  ];
  if (bitOf(value, DBM) === 1n) {
    remarks.push('DBM = 1: with TCR_EL1.HD = 1, AP[2] = 1 is writable-clean and AP[2] = 0 writable-dirty');
  }
  return remarks;
}

/** With TCR2_EL1.PIE = 1: where the permissions come from. */
function indirectRemarks(value: bigint): string[] {
  const index = indirectionIndexOf(value);
  const overlay = (value >> 60n) & 7n;
  const remarks = [
    `PIIndex ${index}: permissions of EL1 are field ${index} of PIR_EL1, those of EL0 field ${index} of PIRE0_EL1`,
    `POIndex ${overlay}: with TCR2_EL1.POE or E0POE = 1 the overlay is field ${overlay} of POR_EL1 and POR_EL0`,
  ];
  if (bitOf(value, 7n) === 1n)
    remarks.push(
      'nDirty = 1: a write is a Permission fault, unless TCR_EL1.HA and HD = 1 and the walker clears it',
    );
  return remarks;
}

/** A descriptor, every field in words. */
export function decodeDescriptor(value: bigint, context: DescriptorContext): Decoded {
  const layout = layoutOfDescriptor(value, context);
  const remarks = descriptorRemarks(value, context);
  const source = 'Arm ARM (DDI 0487), "VMSAv8-64 descriptor formats"';
  const words = (field: FieldValue): string | null => descriptorWords(layout.title, field);
  return decodeWith('arm64.descriptor', layout, value, source, words, remarks);
}

export const DESCRIPTOR_KIND: DecodeKind = {
  name: 'arm64.descriptor',
  summary: 'stage 1 table, block or page descriptor of VMSAv8-64',
  width: 64,
  options: ['granule', 'level', 'lpa', 'pie'],
  example: '0x60000041234f53',
  exampleOptions: { granule: '4k', level: 3 },
  decode: (value, options) => decodeDescriptor(value, contextOf(options)),
};
