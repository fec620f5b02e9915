/**
 * The arm64 words that `tablewalk decode` explains: stage 1 descriptors, ESR_EL1 and TCR_EL1 here, the other registers in
 * register-kinds.ts, operands of TLBI in operand-kinds.ts, tag instructions in instruction-kind.ts.
 */
import { InputError } from '../../base/input-error.ts';
import type { FieldValue } from '../../base/layout.ts';
import { hex } from '../../base/u64.ts';
import { type Decoded, type DecodeKind, type DecodeOptions, decodeWith } from '../decode-kind.ts';
import { SHAREABILITY_WORDS } from './attribute-words.ts';
import {
  type DescriptorContext,
  descriptorAddress,
  descriptorForm,
  descriptorShift,
  type GranuleShift,
  layoutOfDescriptor,
  levelExists,
} from './entries.ts';
import { MTE_INSTRUCTION_KIND } from './instruction-kind.ts';
import { ARM64_OPERAND_KINDS } from './operand-kinds.ts';
import { ARM64_REGISTER_KINDS } from './register-kinds.ts';
import {
  DATA_ABORT_CLASSES,
  ESR_EL1,
  ESR_EL1_DATA_ABORT,
  ESR_EL1_INSTRUCTION_ABORT,
  EXCEPTION_CLASSES,
  faultStatusName,
  INSTRUCTION_ABORT_CLASSES,
  TCR_EL1,
} from './registers.ts';

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
  const context: DescriptorContext = { granule, level: options.level, lpa: options.lpa === true };
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
  if (name === 'TYPE') return title.includes('block') ? 'block' : title.includes('page') ? 'page' : 'table';
  return null;
};

/** `2 MiB`, and the like: what a descriptor maps is a power of two from 4 KiB up. */
function sizeWords(shift: number): string {
  const unit = Math.min(4, Math.floor(shift / 10));
  return `${2 ** (shift - 10 * unit)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
}

function descriptorRemarks(value: bigint, context: DescriptorContext): string[] {
  const form = descriptorForm(value, context);
  if (form === 'invalid') {
    if (value === 0n) return ['invalid: a Translation fault'];
    return [
      'invalid: a Translation fault; the hardware looks at bit 0 only',
      'Linux keeps swap entries and PROT_NONE pages in descriptors with bit 0 clear',
    ];
  }
  if (form === 'reserved') {
    return [`bits 1:0 = 0b01 are reserved at level ${context.level} with this granule: a Translation fault`];
  }
  const address = hex(descriptorAddress(value, layoutOfDescriptor(value, context)));
  if (form === 'table') return [`next table at ${address}`];
  const remarks = [`maps ${sizeWords(descriptorShift(context.granule, context.level))} at ${address}`];
  const AF = 1n << 10n;
  if ((value & AF) === 0n)
    remarks.push('AF = 0: an Access flag fault, unless TCR_EL1.HA = 1 and the walker sets it');
  remarks.push(...indirectionRemarks(value));
  const DBM = 1n << 51n;
  if ((value & DBM) !== 0n) {
    remarks.push('DBM = 1: with TCR_EL1.HD = 1, AP[2] = 1 is writable-clean and AP[2] = 0 writable-dirty');
  }
  return remarks;
}

/** What the same bits are where permissions are indirect. @see Arm ARM (DDI 0487), "Stage 1 Indirect permissions" */
function indirectionRemarks(value: bigint): string[] {
  const index = (((value >> 53n) & 3n) << 2n) | (((value >> 51n) & 1n) << 1n) | ((value >> 6n) & 1n);
  const clean = (value >> 7n) & 1n;
  return [
    `with TCR2_EL1.PIE = 1: PIIndex ${index} (bits 54:53, 51 and 6), nDirty ${clean} (bit 7); overlays: POIndex ${(value >> 60n) & 7n}`,
  ];
}

/** A descriptor, every field in words. */
export function decodeDescriptor(value: bigint, context: DescriptorContext): Decoded {
  const layout = layoutOfDescriptor(value, context);
  const remarks = descriptorRemarks(value, context);
  const source = 'Arm ARM (DDI 0487), "VMSAv8-64 descriptor formats"';
  const words = (field: FieldValue): string | null => descriptorWords(layout.title, field);
  return decodeWith('arm64.descriptor', layout, value, source, words, remarks);
}

const descriptorKind: DecodeKind = {
  name: 'arm64.descriptor',
  summary: 'stage 1 table, block or page descriptor of VMSAv8-64',
  width: 64,
  options: ['granule', 'level', 'lpa'],
  example: '0x60000041234f53',
  exampleOptions: { granule: '4k', level: 3 },
  decode: (value, options) => decodeDescriptor(value, contextOf(options)),
};

const esrWords = ({ name, value }: FieldValue): string | null => {
  if (name === 'EC') return EXCEPTION_CLASSES[Number(value)] ?? 'reserved';
  return name === 'DFSC' || name === 'IFSC' ? faultStatusName(Number(value)) : null;
};

/**
 * What aborted. With CM = 1 the access was no write though WnR says so.
 * @see Arm ARM (DDI 0487), "ISS encoding for an exception from a Data Abort", fields CM and WnR
 * @see Linux arch/arm64/mm/fault.c, is_write_abort
 */
function dataAbortRemarks(value: bigint): string[] {
  const has = (name: 'CM' | 'WnR'): boolean => ESR_EL1_DATA_ABORT.has(value, name);
  const maintenance = has('CM');
  const what = maintenance
    ? 'cache maintenance or address translation instruction'
    : has('WnR')
      ? 'write'
      : 'read';
  const status = faultStatusName(Number(ESR_EL1_DATA_ABORT.get(value, 'DFSC')));
  const remarks = [`${EXCEPTION_CLASSES[Number(ESR_EL1.get(value, 'EC'))]}: ${what}, ${status}`];
  if (maintenance) {
    remarks.push(
      has('WnR')
        ? 'CM = 1: WnR is always 1 then and says nothing; Linux takes the access for a read'
        : 'CM = 1 with WnR = 0: no processor reports this',
    );
  }
  return remarks;
}

/** ESR_EL1 with the ISS of its exception class. */
export function decodeEsr(value: bigint): Decoded {
  const exceptionClass = Number(ESR_EL1.get(value, 'EC'));
  const source = 'Arm ARM (DDI 0487), "ESR_EL1, Exception Syndrome Register (EL1)"';
  if (DATA_ABORT_CLASSES.includes(exceptionClass)) {
    return decodeWith('esr_el1', ESR_EL1_DATA_ABORT, value, source, esrWords, dataAbortRemarks(value));
  }
  if (INSTRUCTION_ABORT_CLASSES.includes(exceptionClass)) {
    const status = faultStatusName(Number(ESR_EL1_INSTRUCTION_ABORT.get(value, 'IFSC')));
    const remark = `${EXCEPTION_CLASSES[exceptionClass]}: ${status}`;
    return decodeWith('esr_el1', ESR_EL1_INSTRUCTION_ABORT, value, source, esrWords, [remark]);
  }
  return decodeWith('esr_el1', ESR_EL1, value, source, esrWords, [
    'the ISS of this exception class is not taken apart: only those of Data Aborts and Instruction Aborts are',
  ]);
}

const TG0 = ['4 KiB', '64 KiB', '16 KiB', 'reserved'];
const TG1 = ['reserved', '16 KiB', '4 KiB', '64 KiB'];
const IPS = [
  '32 bits',
  '36 bits',
  '40 bits',
  '42 bits',
  '44 bits',
  '48 bits',
  '52 bits',
  '56 bits (FEAT_D128)',
];
const CACHEABILITY = [
  'non-cacheable',
  'write-back, read-allocate, write-allocate',
  'write-through, read-allocate, no write-allocate',
  'write-back, read-allocate, no write-allocate',
];

const tcrWords = ({ name, value }: FieldValue): string | null => {
  const index = Number(value);
  if (name === 'TG0') return TG0[index] ?? null;
  if (name === 'TG1') return TG1[index] ?? null;
  if (name === 'IPS') return IPS[index] ?? null;
  if (name.startsWith('SH')) return SHAREABILITY_WORDS[index] ?? null;
  if (/^[IO]RGN[01]$/.test(name)) return CACHEABILITY[index] ?? null;
  if (!/^T[01]SZ$/.test(name)) return null;
  return index < SMALLEST_TXSZ_52 || index > LARGEST_TXSZ_TTST
    ? 'out of range'
    : `${64n - value}-bit addresses`;
};

/** The range of T0SZ and T1SZ. @see Arm ARM (DDI 0487), "TCR_EL1", field T0SZ; FEAT_LVA, FEAT_LPA2, FEAT_TTST */
const SMALLEST_TXSZ_52 = 12;
const SMALLEST_TXSZ = 16;
const LARGEST_TXSZ = 39;
const LARGEST_TXSZ_TTST = 48;
const GRANULE_64K_TG0 = 1;
const GRANULE_64K_TG1 = 3;

/** What a T0SZ or T1SZ needs, or that no processor takes it. Without walks (EPDn = 1) the field is not used. */
function regionSizeRemarks(value: bigint, half: 0 | 1): string[] {
  if (TCR_EL1.has(value, `EPD${half}`)) return [];
  const size = Number(TCR_EL1.get(value, `T${half}SZ`));
  const field = `T${half}SZ = ${size}`;
  const granule64k =
    Number(TCR_EL1.get(value, `TG${half}`)) === (half === 0 ? GRANULE_64K_TG0 : GRANULE_64K_TG1);
  const largest = granule64k ? LARGEST_TXSZ_TTST - 1 : LARGEST_TXSZ_TTST;
  if (size < SMALLEST_TXSZ_52 || size > largest) {
    return [
      `${field} is out of range (${SMALLEST_TXSZ_52} to ${largest}): a Translation fault, or it acts as the nearest value in range`,
    ];
  }
  if (size < SMALLEST_TXSZ) {
    if (granule64k) return [`${field} needs 52-bit virtual addresses (FEAT_LVA)`];
    return TCR_EL1.has(value, 'DS')
      ? []
      : [`${field} is out of range with this granule while DS = 0 (at least ${SMALLEST_TXSZ})`];
  }
  return size > LARGEST_TXSZ ? [`${field} needs small translation tables (FEAT_TTST)`] : [];
}

function tcrRemarks(value: bigint): string[] {
  const remarks: string[] = [];
  if (TCR_EL1.has(value, 'HD') && !TCR_EL1.has(value, 'HA'))
    remarks.push('HD = 1 has no effect while HA = 0');
  if (TCR_EL1.has(value, 'EPD0'))
    remarks.push('EPD0 = 1: T0SZ, TG0 and the walk attributes of TTBR0_EL1 are not used for walks');
  if (TCR_EL1.has(value, 'EPD1'))
    remarks.push('EPD1 = 1: T1SZ, TG1 and the walk attributes of TTBR1_EL1 are not used for walks');
  remarks.push(...regionSizeRemarks(value, 0), ...regionSizeRemarks(value, 1));
  return remarks;
}

export const ARM64_DECODE_KINDS: readonly DecodeKind[] = [
  descriptorKind,
  {
    name: 'esr_el1',
    summary: 'ESR_EL1, the syndrome of an exception taken to EL1',
    width: 64,
    options: [],
    example: '0x9200004f',
    decode: decodeEsr,
  },
  {
    name: 'tcr_el1',
    summary: 'TCR_EL1, control of the EL1&0 stage 1 translation',
    width: 64,
    options: [],
    example: '0x5f5b5503510',
    decode: (value) => {
      const source = 'Arm ARM (DDI 0487), "TCR_EL1, Translation Control Register (EL1)"';
      return decodeWith('tcr_el1', TCR_EL1, value, source, tcrWords, tcrRemarks(value));
    },
  },
  ...ARM64_REGISTER_KINDS,
  ...ARM64_OPERAND_KINDS,
  MTE_INSTRUCTION_KIND,
];
