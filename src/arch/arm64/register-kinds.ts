/** The register words that `tablewalk decode` explains beside ESR_EL1 and TCR_EL1, with what follows from their fields. */
import type { FieldValue, Layout } from '../../base/layout.ts';
import { hex } from '../../base/u64.ts';
import {
  type Decoded,
  type DecodeKind,
  type DecodeOptions,
  decodeWith,
  type FieldWords,
} from '../decode-kind.ts';
import {
  BASE_PERMISSION_WORDS,
  overlayWords,
  SHAREABILITY_WORDS,
  TAG_CHECK_FAULT_WORDS,
  tagSetWords,
} from './attribute-words.ts';
import { memoryAttributeName } from './memory-attributes.ts';
import { faultStatusName } from './registers.ts';
import * as R from './system-registers.ts';

const arm = (section: string): string => `Arm ARM (DDI 0487), "${section}"`;

/** One register kind. */
function register<Name extends string>(
  layout: Layout<Name>,
  summary: string,
  example: string,
  more: {
    readonly name?: string;
    readonly section?: string;
    readonly options?: readonly (keyof DecodeOptions)[];
    readonly words?: FieldWords;
    readonly remarks?: (value: bigint, options: DecodeOptions) => readonly string[];
  } = {},
): DecodeKind {
  const name = more.name ?? layout.title.toLowerCase();
  const source = arm(more.section ?? `${layout.title}, ${summary}`);
  return {
    name,
    summary: `${layout.title}, ${summary}`,
    width: 64,
    options: more.options ?? [],
    example,
    decode: (value, options) =>
      decodeWith(name, layout, value, source, more.words, more.remarks?.(value, options) ?? []),
  };
}

const present = (...remarks: readonly (string | false)[]): string[] =>
  remarks.filter((remark): remark is string => remark !== false);

function sctlrRemarks(value: bigint): string[] {
  const has = (name: (typeof R.SCTLR_EL1.names)[number]): boolean => R.SCTLR_EL1.has(value, name);
  return present(
    !has('M') && 'M = 0: addresses are not translated at EL1 and EL0',
    has('M') &&
      !has('C') &&
      'C = 0: data accesses and table walks are Non-cacheable, and no memory is Tagged',
    has('WXN') && 'WXN = 1: has no effect while TCR2_EL1.PIE = 1',
    has('TCF') && !has('ATA') && 'ATA = 0: accesses at EL1 are not tag checked, whatever TCF says',
    has('TCF0') && !has('ATA0') && 'ATA0 = 0: accesses at EL0 are not tag checked, whatever TCF0 says',
    has('EPAN') && 'EPAN = 1: has no effect while TCR2_EL1.PIE = 1, where PAN looks at what EL0 is granted',
  );
}

const sctlrWords: FieldWords = ({ name, value }) =>
  name === 'TCF' || name === 'TCF0' ? TAG_CHECK_FAULT_WORDS[Number(value)] : null;

/** Where the table address stands when its table has 8 descriptors or more, and what is below it. */
const BASE_MASK = 0xffff_ffff_ffc0n;
const BELOW_BASE = 0x3en;
/** Bits 51:48 of the address with 52-bit addresses, in bits 5:2. */
const WIDE_BASE_SHIFT = 46n;
const WIDE_BASE_FIELD = 0x3cn;
const BELOW_4K = 0xfc0n;

/** @see Arm ARM (DDI 0487), "TTBR0_EL1", field BADDR: aligned to the size of the table, 64 bytes with 52-bit addresses */
function ttbrRemarks(value: bigint, { lpa }: DecodeOptions): string[] {
  const wide = lpa === true;
  const address = (value & BASE_MASK) | (wide ? (value & WIDE_BASE_FIELD) << WIDE_BASE_SHIFT : 0n);
  const reserved = value & (wide ? BELOW_BASE & ~WIDE_BASE_FIELD : BELOW_BASE);
  return present(
    `first table at ${hex(address)}${wide ? ': bits 5:2 are bits 51:48 of the address' : ''}`,
    reserved !== 0n &&
      (wide
        ? `bit 1 is RES0 and not zero: ${hex(reserved)}`
        : `bits 5:1 are RES0 for a table of 8 descriptors or more and not zero: ${hex(reserved)}; with 52-bit addresses (--lpa) bits 5:2 are bits 51:48 of the address`),
    (value & BELOW_4K) !== 0n &&
      'the address is not a multiple of 4 KiB: right only for a table of fewer than 512 descriptors, otherwise the bits below its size are RES0',
  );
}

const attributeWords: FieldWords = ({ name, value }) =>
  name.startsWith('Attr') ? memoryAttributeName(Number(value)) : null;

function tcr2Remarks(value: bigint): string[] {
  const has = (name: (typeof R.TCR2_EL1.names)[number]): boolean => R.TCR2_EL1.has(value, name);
  return present(
    has('PIE') &&
      'PIE = 1: descriptor bits 54:53, 51 and 6 are an index into PIR_EL1 and PIRE0_EL1, bit 7 is nDirty; hierarchical permissions and SCTLR_EL1.WXN have no effect',
    (has('POE') || has('E0POE')) && 'descriptor bits 62:60 are an index into POR_EL1 and POR_EL0',
    has('D128') && !has('PIE') && 'D128 = 1: the effective value of PIE is 1',
  );
}

const permissionWords: FieldWords = ({ value }) => BASE_PERMISSION_WORDS[Number(value)];
const porWords: FieldWords = ({ value }) => overlayWords(Number(value));

const parWords = ({ name, value }: FieldValue): string | null => {
  if (name === 'SH') return SHAREABILITY_WORDS[Number(value)] ?? null;
  if (name === 'ATTR') return memoryAttributeName(Number(value));
  return name === 'FST' ? faultStatusName(Number(value)) : null;
};

function decodePar(value: bigint): Decoded {
  const source = arm('PAR_EL1, Physical Address Register');
  if (R.PAR_EL1.has(value, 'F')) {
    const status = faultStatusName(Number(R.PAR_EL1_FAULT.get(value, 'FST')));
    return decodeWith('par_el1', R.PAR_EL1_FAULT, value, source, parWords, [`translation failed: ${status}`]);
  }
  const page = hex(R.PAR_EL1.get(value, 'PA'));
  return decodeWith('par_el1', R.PAR_EL1, value, source, parWords, [`the page is at ${page}`]);
}

function farRemarks(value: bigint): string[] {
  const extended = R.FAR_EL1.has(value, 'HALF') ? value | (0xffn << 56n) : value & ~(0xffn << 56n);
  return [`without the top byte: ${hex(extended)}`];
}

function gcrRemarks(value: bigint): string[] {
  const excluded = Number(R.GCR_EL1.get(value, 'Exclude'));
  if (excluded === 0xffff) return ['every tag is excluded: IRG, ADDG and SUBG give tag 0'];
  return [`tags that IRG, ADDG and SUBG choose from: ${tagSetWords(~excluded & 0xffff)}`];
}

const gcrWords: FieldWords = ({ name, value }) =>
  name === 'Exclude' ? `excluded: ${tagSetWords(Number(value))}` : null;

const rgsrRemarks = (value: bigint): string[] =>
  present(R.RGSR_EL1.get(value, 'SEED') === 0n && 'SEED = 0: with GCR_EL1.RRND = 0 the generator stays at 0');

const tagFaultRemarks = (value: bigint): string[] =>
  present((value & 3n) === 0n && 'no tag check failed asynchronously since it was last cleared');

/** `64 bytes`, of a field that is log2 of words. */
const blockWords: FieldWords = ({ name, value }) => (name === 'BS' ? `${4 << Number(value)} bytes` : null);

function gmidRemarks(value: bigint): string[] {
  const size = Number(R.GMID_EL1.get(value, 'BS'));
  return size >= 2 && size <= 6
    ? [`LDGM and STGM transfer ${2 ** (size - 2)} tags`]
    : ['BS is 2 to 6 in every processor'];
}

function dczidRemarks(value: bigint): string[] {
  return present(
    R.DCZID_EL0.has(value, 'DZP') && 'DZP = 1: DC ZVA, DC GVA and DC GZVA are UNDEFINED or trapped here',
    R.DCZID_EL0.get(value, 'BS') > 9n && 'BS is at most 9: 2 KiB',
  );
}

export const ARM64_REGISTER_KINDS: readonly DecodeKind[] = [
  register(R.SCTLR_EL1, 'System Control Register (EL1)', '0xc0034d8d805', {
    words: sctlrWords,
    remarks: sctlrRemarks,
  }),
  register(R.TTBR0_EL1, 'Translation Table Base Register 0 (EL1)', '0x660000a3d56f80', {
    options: ['lpa'],
    remarks: ttbrRemarks,
  }),
  register(R.TTBR1_EL1, 'Translation Table Base Register 1 (EL1)', '0x46000040604001', {
    options: ['lpa'],
    remarks: ttbrRemarks,
  }),
  register(R.MAIR_EL1, 'Memory Attribute Indirection Register (EL1)', '0xf044bb4fff0c0400', {
    words: attributeWords,
  }),
  register(R.TCR2_EL1, 'Extended Translation Control Register (EL1)', '0x2', { remarks: tcr2Remarks }),
  register(R.PIR_EL1, 'Permission Indirection Register 1 (EL1)', '0xe1ec570a7487a770', {
    words: permissionWords,
  }),
  register(R.PIRE0_EL1, 'Permission Indirection Register 0 (EL1)', '0x600015e00ea0c005', {
    words: permissionWords,
  }),
  register(R.POR_EL0, 'Permission Overlay Register 0 (EL0)', '0x7531', { words: porWords }),
  register(R.POR_EL1, 'Permission Overlay Register 1 (EL1)', '0x7', { words: porWords }),
  {
    name: 'par_el1',
    summary: 'PAR_EL1, Physical Address Register, after success and after failure',
    width: 64,
    options: [],
    example: '0xaa0000019332cb80',
    decode: decodePar,
  },
  register(R.FAR_EL1, 'Fault Address Register (EL1)', '0xb600ffffaeaf4a70', { remarks: farRemarks }),
  register(R.GCR_EL1, 'Tag Control Register', '0xffee', { words: gcrWords, remarks: gcrRemarks }),
  register(R.RGSR_EL1, 'Random Allocation Tag Seed Register', '0xaab40f', { remarks: rgsrRemarks }),
  register(R.TFSR_EL1, 'Tag Fault Status Register (EL1)', '0x2', { remarks: tagFaultRemarks }),
  register(R.TFSRE0_EL1, 'Tag Fault Status Register (EL0)', '0x1', { remarks: tagFaultRemarks }),
  register(R.GMID_EL1, 'Multiple tag transfer ID register', '0x6', {
    words: blockWords,
    remarks: gmidRemarks,
  }),
  register(R.DCZID_EL0, 'Data Cache Zero ID Register', '0x4', { words: blockWords, remarks: dczidRemarks }),
];
