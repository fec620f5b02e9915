/** The register words that `tablewalk decode` explains, with what follows from their fields together. */
import { InputError } from '../../base/input-error.ts';
import type { FieldValue, Layout } from '../../base/layout.ts';
import { hex, maskOf } from '../../base/u64.ts';
import {
  bitRange,
  type DecodedField,
  type DecodeKind,
  type DecodeOptions,
  decodeWith,
} from '../decode-kind.ts';
import { isMtrrType, isPatType, memoryTypeName } from './memory-type.ts';
import * as R from './registers.ts';

type Remarks = (value: bigint, options: DecodeOptions) => string[];

/** One register kind. */
function register<Name extends string>(
  name: string,
  layout: Layout<Name>,
  example: string,
  source: string,
  more: {
    readonly options?: readonly (keyof DecodeOptions)[];
    readonly words?: (field: FieldValue) => string | null;
    readonly remarks?: Remarks;
  } = {},
): DecodeKind {
  return {
    name,
    summary: layout.title,
    width: 64,
    options: more.options ?? [],
    example,
    decode: (value, options) =>
      decodeWith(name, layout, value, source, more.words, more.remarks?.(value, options) ?? []),
  };
}

const present = (...remarks: readonly (string | false)[]): string[] =>
  remarks.filter((remark): remark is string => remark !== false);

const cr0Remarks: Remarks = (value) => {
  const has = (name: 'PE' | 'PG' | 'CD' | 'NW' | 'ET'): boolean => R.CR0.has(value, name);
  return present(
    has('PG') && !has('PE') && 'PG = 1 with PE = 0: MOV to CR0 refuses it with #GP(0)',
    has('NW') && !has('CD') && 'NW = 1 with CD = 0: MOV to CR0 refuses it with #GP(0)',
    has('CD') && !has('NW') && 'no-fill cache mode: hits are served, misses fill nothing',
  );
};

/** MAXPHYADDR of the options, 52 by default. @throws InputError when the architecture does not allow it */
export function physicalWidth(options: DecodeOptions): number {
  const width = options.maxPhysAddr ?? 52;
  if (!Number.isInteger(width) || width < 32 || width > 52) {
    throw new InputError('MAXPHYADDR out of range', { expected: '32 to 52', found: String(width) });
  }
  return width;
}

function abovePhysical(value: bigint, options: DecodeOptions): string | false {
  const width = physicalWidth(options);
  const above = width < 52 ? value & maskOf(51, width) : 0n;
  return above !== 0n && `${bitRange(51, width)} reserved (MAXPHYADDR ${width}), not zero: ${hex(above)}`;
}

const cr3Kind: DecodeKind = {
  name: 'cr3',
  summary: 'CR3, with --pcide as it is while CR4.PCIDE = 1',
  width: 64,
  options: ['pcide', 'maxPhysAddr'],
  example: '0x80000001020001a3',
  decode: (value, options) => {
    const pcide = options.pcide === true;
    const layout: Layout = pcide ? R.CR3_PCIDE : R.CR3;
    const both = R.CR3.has(value, 'LAM_U57') && R.CR3.has(value, 'LAM_U48');
    return decodeWith(
      'cr3',
      layout,
      value,
      `Intel SDM vol. 3A, "Use of CR3 with 4-Level Paging and 5-Level Paging", CR4.PCIDE = ${pcide ? 1 : 0}`,
      ({ kind, value: field }) => (kind === 'address' ? `frame ${hex(field >> 12n)}` : null),
      present(abovePhysical(value, options), both && 'LAM_U57 and LAM_U48: bits 62:57 are masked'),
    );
  },
};

const cr4Remarks: Remarks = (value) =>
  present(
    R.CR4.has(value, 'LA57')
      ? '57-bit linear addresses, 5-level paging'
      : '48-bit linear addresses, 4-level paging',
    !R.CR4.has(value, 'PAE') && 'PAE = 0: not possible in IA-32e mode',
    R.CR4.has(value, 'CET') && 'CET = 1: CR0.WP must be 1',
  );

const eferRemarks: Remarks = (value, { vendor }) => {
  const amdOnly = R.EFER.mask('SVME', 'LMSLE', 'FFXSR', 'TCE', 'MCOMMIT', 'INTWB', 'UAIE', 'AIBRSE');
  const long = R.EFER.has(value, 'LMA') ? 'IA-32e mode is active' : false;
  return present(
    long,
    !R.EFER.has(value, 'NXE') && 'NXE = 0: bit 63 of every paging-structure entry is reserved',
    vendor === 'intel' && (value & amdOnly) !== 0n && 'bits that only AMD processors have: reserved on Intel',
  );
};

/** `1, 3-15` */
function ranges(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let at = 0; at < numbers.length; ) {
    const first = numbers[at] as number;
    let end = at;
    while (numbers[end + 1] === (numbers[end] as number) + 1) end++;
    parts.push(end === at ? `${first}` : `${first}-${numbers[end]}`);
    at = end + 1;
  }
  return parts.join(', ');
}

const keyRemarks: Remarks = (value) => {
  const keys = Array.from({ length: 16 }, (_, key) => key);
  const rightsOf = (key: number): number => Number((value >> BigInt(2 * key)) & 3n);
  const noAccess = keys.filter((key) => (rightsOf(key) & 1) !== 0);
  const noWrites = keys.filter((key) => rightsOf(key) === 2);
  if (noAccess.length + noWrites.length === 0) return ['every key allows everything'];
  return present(
    noAccess.length > 0 && `no data access with key ${ranges(noAccess)}`,
    noWrites.length > 0 && `no data writes with key ${ranges(noWrites)}`,
  );
};

const patWords = ({ name, value }: FieldValue): string | null => {
  if (!name.startsWith('PA')) return null;
  const type = Number(value);
  return isPatType(type) ? memoryTypeName(type) : 'reserved encoding: WRMSR refuses it with #GP(0)';
};

const mtrrWords = ({ name, value }: FieldValue): string | null => {
  if (!name.startsWith('TYPE')) return null;
  const type = Number(value);
  return isMtrrType(type) ? memoryTypeName(type) : 'reserved encoding: WRMSR refuses it with #GP(0)';
};

const physBaseRemarks: Remarks = (value, options) => present(abovePhysical(value, options));

/** MAXPHYADDR as the highest bit of a mask shows it, as software sets all bits from the range's size up. */
const widthOfMask = (mask: bigint): number => Math.max(32, mask.toString(2).length);

/**
 * The size of a range with a contiguous mask, or that the mask has holes. Which of them depends on MAXPHYADDR: a mask
 * that does not reach up to it has a hole at the top.
 */
const physMaskRemarks: Remarks = (value, options) => {
  const all = R.MTRR_PHYSMASK.get(value, 'MASK');
  const given = options.maxPhysAddr !== undefined;
  const width = given ? physicalWidth(options) : widthOfMask(all);
  const mask = all & maskOf(width - 1, 12);
  const size = mask & -mask;
  const contiguous = mask !== 0n && maskOf(width - 1, 0) + 1n - size === mask;
  const used = given ? `MAXPHYADDR ${width}` : `MAXPHYADDR ${width}, taken from the mask's highest bit`;
  return present(
    abovePhysical(value, options),
    !R.MTRR_PHYSMASK.has(value, 'V') && 'V = 0: the pair is not in use',
    contiguous && `a range of ${hex(size)} bytes (${used})`,
    mask === 0n && R.MTRR_PHYSMASK.has(value, 'V') && 'MASK = 0: every physical address belongs to the range',
    mask !== 0n && !contiguous && `the mask has holes: a range in several pieces (${used})`,
  );
};

const pfRemarks: Remarks = (value) => {
  const has = (name: 'P' | 'WR' | 'US' | 'RSVD' | 'ID' | 'PK' | 'SS'): boolean =>
    R.PAGE_FAULT_ERROR.has(value, name);
  const who = has('US') ? 'user-mode' : 'supervisor-mode';
  const what = has('ID') ? 'instruction fetch' : has('WR') ? 'write' : 'read';
  let why = has('P') ? 'the translation forbids it' : 'an entry is not present';
  if (has('RSVD')) why = 'an entry has a reserved bit set';
  if (has('PK')) why = 'protection-key rights forbid it (perhaps among other reasons)';
  return present(
    `${who} ${has('SS') ? 'shadow-stack ' : ''}${what}: ${why}`,
    has('RSVD') && !has('P') && 'RSVD = 1 with P = 0: no processor reports this',
    has('PK') && !has('P') && 'PK = 1 with P = 0: no processor reports this',
    has('ID') && has('WR') && 'I/D = 1 with W/R = 1: no processor reports this',
  );
};

/** 128 bits: the descriptor as a number, bytes 0-7 in bits 63:0. */
const invpcidKind: DecodeKind = {
  name: 'invpcid',
  summary: 'INVPCID descriptor, 128 bits',
  width: 128,
  options: [],
  example: '0x7f00123450000000000000000010',
  decode: (value) => {
    const low = decodeWith('invpcid', R.INVPCID_LOW, value & maskOf(63, 0), '');
    const high = R.INVPCID_HIGH.decode(value >> 64n).map(
      (field): DecodedField => ({ ...field, high: field.high + 64, low: field.low + 64, decoded: null }),
    );
    return {
      ...low,
      title: 'INVPCID descriptor',
      value,
      fields: [...high, ...low.fields],
      source: 'Intel SDM vol. 2A, "INVPCID—Invalidate Process-Context Identifier"',
    };
  },
};

const SDM = 'Intel SDM vol. 3A';

export const REGISTER_KINDS: readonly DecodeKind[] = [
  register('cr0', R.CR0, '0x80050033', `${SDM}, "Control Registers"`, { remarks: cr0Remarks }),
  register('cr2', R.CR2, '0x7f0012345678', `${SDM}, "Control Registers"`),
  cr3Kind,
  register('cr4', R.CR4, '0x3506f0', `${SDM}, "Control Registers"`, { remarks: cr4Remarks }),
  register('efer', R.EFER, '0xd01', `${SDM}, "Extended Feature Enable Register"; AMD APM vol. 2, the same`, {
    options: ['vendor'],
    remarks: eferRemarks,
  }),
  register('rflags', R.RFLAGS, '0x40246', `${SDM}, "System Flags and Fields in the EFLAGS Register"`),
  register('pkru', R.PKRU, '0x55555554', `${SDM}, "Protection Keys"`, { remarks: keyRemarks }),
  register('pkrs', R.PKRS, '0x55555554', `${SDM}, "Protection Keys"`, { remarks: keyRemarks }),
  register('pat', R.PAT, '0x407050600070106', `${SDM}, "IA32_PAT MSR"`, { words: patWords }),
  register('mtrr-cap', R.MTRR_CAP, '0xd0a', `${SDM}, "MTRR Feature Identification"`),
  register('mtrr-def-type', R.MTRR_DEF_TYPE, '0xc06', `${SDM}, "IA32_MTRR_DEF_TYPE MSR"`, {
    words: mtrrWords,
  }),
  register('mtrr-physbase', R.MTRR_PHYSBASE, '0xc0000000', `${SDM}, "Variable Range MTRRs"`, {
    options: ['maxPhysAddr'],
    words: mtrrWords,
    remarks: physBaseRemarks,
  }),
  register('mtrr-physmask', R.MTRR_PHYSMASK, '0x3fffc0000800', `${SDM}, "Variable Range MTRRs"`, {
    options: ['maxPhysAddr'],
    words: mtrrWords,
    remarks: physMaskRemarks,
  }),
  register('mtrr-fixed', R.MTRR_FIXED, '0x606060606060606', `${SDM}, "Fixed Range MTRRs"`, {
    words: mtrrWords,
  }),
  register('pf-error', R.PAGE_FAULT_ERROR, '0x7', `${SDM}, "Page-Fault Exceptions"`, { remarks: pfRemarks }),
  invpcidKind,
];
