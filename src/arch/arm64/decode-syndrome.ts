/** ESR_EL1 in words: exception class, the syndrome of every class that EL1 reports, and what follows from it. */
import type { FieldValue } from '../../base/layout.ts';
import { hex } from '../../base/u64.ts';
import { type Decoded, type DecodeKind, decodeWith, type FieldWords } from '../decode-kind.ts';
import {
  DATA_ABORT_CLASSES,
  ESR_EL1,
  ESR_EL1_DATA_ABORT,
  ESR_EL1_INSTRUCTION_ABORT,
  EXCEPTION_CLASSES,
  faultStatusName,
  INSTRUCTION_ABORT_CLASSES,
} from './registers.ts';
import { SYSTEM_INSTRUCTION, SYSTEM_INSTRUCTION_128, syndromeLayout } from './syndromes.ts';
import { type SystemEncoding, systemInstruction, systemInstruction128 } from './system-encodings.ts';

/** Classes of ESR_EL2 and ESR_EL3 only. */
const HIGHER_CLASSES: Readonly<Record<number, string>> = {
  8: 'trapped VMRS (AArch32)',
  9: 'trapped use of Pointer Authentication',
  18: 'HVC from AArch32',
  19: 'SMC from AArch32',
  22: 'HVC from AArch64',
  23: 'SMC from AArch64',
  26: 'trapped ERET',
  30: 'Granule Protection Check exception',
  31: 'IMPLEMENTATION DEFINED exception to EL3',
  58: 'Vector Catch (AArch32)',
};

function classWords(exceptionClass: number): string {
  const higher = HIGHER_CLASSES[exceptionClass];
  if (higher !== undefined) return `${higher}; never taken to EL1`;
  return EXCEPTION_CLASSES[exceptionClass] ?? 'reserved';
}

type Words = (value: number) => string | undefined;

const oneOf =
  (...words: readonly string[]): Words =>
  (value) =>
    words[value] ?? 'reserved';

const register: Words = (value) => `X${value}, or XZR or SP for 31`;
const CONDITIONS = 'EQ NE CS CC MI PL VS VC HI LS GE LT GT LE AL NV'.split(' ');

/** The words of fields that mean the same wherever they are. */
const COMMON: Readonly<Record<string, Words>> = {
  EC: classWords,
  DFSC: faultStatusName,
  IFSC: faultStatusName,
  COND: (value) => CONDITIONS[value],
  Rt: (value) => (value === 31 ? 'XZR' : `X${value}`),
  Rt2: (value) => (value === 31 ? 'XZR' : `X${value}`),
  WnR: oneOf('read', 'write'),
};

const DIRECTION = oneOf('write: to the register', 'read: from the register');
const AARCH32_TRANSFER: Readonly<Record<string, Words>> = {
  Direction: oneOf('write: MCR, MCRR or LDC', 'read: MRC, MRRC or STC'),
  Rn: register,
};

/** Status code of a debug exception; the same number in other classes is a fault of an address walk. */
const debugStatus: Words = (value) => (value === 0b100010 ? 'debug exception' : 'reserved');
const SERROR_ASYNCHRONOUS = 0b010001;

const SERROR_WORDS: Readonly<Record<string, Words>> = {
  IDS: oneOf('as the architecture says', 'IMPLEMENTATION DEFINED'),
  WU: oneOf(
    'not an external abort of a write, or not known',
    'reserved',
    'the write was not made',
    'the write may have been made',
  ),
  AET: (value) =>
    value === 6
      ? 'corrected error (CE)'
      : ([
          'uncontainable error (UC)',
          'unrecoverable state (UEU)',
          'restartable state (UEO)',
          'recoverable state (UER)',
        ][value] ?? 'reserved'),
  DFSC: (value) =>
    value === 0 ? 'uncategorized error' : value === SERROR_ASYNCHRONOUS ? 'asynchronous SError' : 'reserved',
};

const MEMORY_COPY_WORDS: Readonly<Record<string, Words>> = {
  MemInst: oneOf('Memory Copy (CPY*)', 'Memory Set (SET*)'),
  OptionA: oneOf('option B', 'option A'),
  FromEpilogue: oneOf('main instruction', 'epilogue instruction'),
  destreg: (value) => `X${value}`,
  srcreg: (value) => (value === 31 ? 'XZR' : `X${value}`),
  sizereg: (value) => `X${value}`,
};

const BRANCHES = [
  'not branched to',
  'BR through X16 or X17, or BR from a page that is not guarded',
  'BLR',
  'BR from a guarded page, not through X16 or X17',
];

const FLOATING_POINT_WORDS: Readonly<Record<string, Words>> = {
  TFV: oneOf('the bits below are UNKNOWN', 'valid'),
};

/** The words of fields by exception class. */
const BY_CLASS: Readonly<Record<number, Readonly<Record<string, Words>>>> = {
  1: { TI: oneOf('WFI', 'WFE', 'WFIT', 'WFET'), RN: (value) => `X${value}` },
  3: AARCH32_TRANSFER,
  4: AARCH32_TRANSFER,
  5: AARCH32_TRANSFER,
  6: {
    ...AARCH32_TRANSFER,
    AM: oneOf(
      'immediate unindexed',
      'immediate post-indexed',
      'immediate offset',
      'immediate pre-indexed',
      'literal unindexed',
      'reserved',
      'literal offset',
    ),
  },
  10: { ISS: oneOf('ST64BV', 'ST64BV0', 'LD64B or ST64B', 'TSB CSYNC', 'PSB CSYNC') },
  12: AARCH32_TRANSFER,
  13: { BTYPE: (value) => BRANCHES[value] },
  20: {
    Direction: DIRECTION,
    Rt: (value) => (value === 15 ? 'X30 and XZR' : `X${2 * value} and X${2 * value + 1}`),
  },
  24: { Direction: DIRECTION },
  27: { Rd: (value) => (value === 31 ? 'XZR' : `X${value}`) },
  28: { DATA: oneOf('instruction key', 'data key'), B: oneOf('A key', 'B key') },
  29: {
    SMTC: oneOf(
      'SME is not enabled: CPACR_EL1.SMEN, CPTR_EL2 or CPTR_EL3',
      'the instruction is illegal in Streaming SVE mode (PSTATE.SM = 1)',
      'the instruction needs Streaming SVE mode (PSTATE.SM = 0)',
      'the instruction needs the ZA storage (PSTATE.ZA = 0)',
      'ZT0 is not enabled: SMCR_ELx.EZT0',
    ),
  },
  39: MEMORY_COPY_WORDS,
  40: FLOATING_POINT_WORDS,
  44: FLOATING_POINT_WORDS,
  45: {
    ExType: oneOf('data check', 'exception return lock (PSTATE.EXLOCK)', 'GCSSTR or GCSSTTR is not enabled'),
    IT: oneOf(
      'RET',
      'GCSPOPM',
      'RET with pointer authentication, key A',
      'RET with pointer authentication, key B',
      'GCSSS1',
      'GCSSS2',
      'GCSPOPCX',
      'GCSPOPX',
    ),
    Rn: (value) => (value === 31 ? 'XZR, or none' : `X${value}`),
    Raddr: (value) => (value === 31 ? 'SP' : `X${value}`),
    Rvalue: (value) => (value === 31 ? 'XZR' : `X${value}`),
  },
  47: SERROR_WORDS,
  48: { IFSC: debugStatus },
  49: { IFSC: debugStatus },
  50: { IFSC: debugStatus, EX: oneOf('another instruction', 'a Load-Exclusive') },
  51: { IFSC: debugStatus, EX: oneOf('another instruction', 'a Load-Exclusive') },
  52: { DFSC: debugStatus },
  53: { DFSC: debugStatus },
};

/** The only classes whose instruction may have 16 bits: those of AArch32. */
const AARCH32_CLASSES: readonly number[] = [
  0x00, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0c, 0x11, 0x12, 0x13, 0x28, 0x38, 0x01,
];
/** Exceptions that no instruction made, or that report 1 whatever its length. */
const NO_LENGTH: readonly number[] = [
  0x00, 0x0e, 0x20, 0x21, 0x22, 0x26, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3d,
];

/** @see Arm ARM (DDI 0487), "ESR_EL1", field IL */
function lengthWords(il: bigint, exceptionClass: number): string {
  if (NO_LENGTH.includes(exceptionClass))
    return il === 1n ? 'always 1 in this class' : 'this class reports 1';
  const abort = DATA_ABORT_CLASSES.includes(exceptionClass);
  if (il === 1n) return abort ? '32-bit instruction, or ISV = 0' : '32-bit instruction';
  return '16-bit instruction';
}

function lengthRemarks(value: bigint, exceptionClass: number): string[] {
  if (ESR_EL1.has(value, 'IL')) return [];
  if (NO_LENGTH.includes(exceptionClass))
    return ['IL = 0: no processor reports this with this class, where IL is 1'];
  if (AARCH32_CLASSES.includes(exceptionClass)) return [];
  if (DATA_ABORT_CLASSES.includes(exceptionClass) && ESR_EL1_DATA_ABORT.has(value, 'ISV')) return [];
  return [
    'IL = 0 says a 16-bit instruction: there is none in A64, and no processor reports this from AArch64 state',
  ];
}

const EXTERNAL_ABORT = 0b010000;
const SET_WORDS = oneOf(
  'recoverable state (UER)',
  'reserved',
  'uncontainable error (UC)',
  'restartable state (UEO)',
);
const LOAD_STORE_WORDS = oneOf('not specified', 'ST64BV', 'LD64B or ST64B', 'ST64BV0');

/** LST and SET share their bits: which of them it is follows from DFSC. */
function abortWords(value: bigint): Readonly<Record<string, Words>> {
  const external = Number(value & 0x3fn) === EXTERNAL_ABORT;
  const valid = ESR_EL1_DATA_ABORT.has(value, 'ISV');
  const ifValid =
    (words: Words): Words =>
    (field) =>
      valid ? words(field) : undefined;
  const set: Words = (field) => (external ? `SET: ${SET_WORDS(field)}` : undefined);
  return {
    SET: set,
    LST_SET: (field) => (external ? set(field) : field === 0 ? undefined : `LST: ${LOAD_STORE_WORDS(field)}`),
    SRT: ifValid((field) => (field === 31 ? 'XZR' : `X${field}`)),
    SAS: ifValid(oneOf('byte', 'halfword', 'word', 'doubleword')),
    ISV: oneOf('bits 23:14 say nothing', 'bits 23:14 are valid'),
  };
}

function fieldWords(value: bigint, exceptionClass: number): FieldWords {
  const abort =
    DATA_ABORT_CLASSES.includes(exceptionClass) || INSTRUCTION_ABORT_CLASSES.includes(exceptionClass);
  const special = abort ? abortWords(value) : (BY_CLASS[exceptionClass] ?? {});
  return ({ name, value: field }: FieldValue) => {
    if (name === 'IL') return lengthWords(field, exceptionClass);
    return (special[name] ?? COMMON[name])?.(Number(field));
  };
}

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

const MSR_MRS = 0x18;
const MSRR_MRRS = 0x14;

function encodingOf(value: bigint): SystemEncoding {
  const field = (name: 'Op0' | 'Op1' | 'CRn' | 'CRm' | 'Op2'): number =>
    Number(SYSTEM_INSTRUCTION().get(value, name));
  return { op0: field('Op0'), op1: field('Op1'), crn: field('CRn'), crm: field('CRm'), op2: field('Op2') };
}

/** The trapped instruction, as it is written. */
function instructionOf(value: bigint, exceptionClass: number): string | null {
  if (exceptionClass === MSR_MRS) {
    const rt = Number(SYSTEM_INSTRUCTION().get(value, 'Rt'));
    return systemInstruction(encodingOf(value), rt, SYSTEM_INSTRUCTION().has(value, 'Direction'));
  }
  if (exceptionClass === MSRR_MRRS) {
    const rt = 2 * Number(SYSTEM_INSTRUCTION_128().get(value, 'Rt'));
    return systemInstruction128(encodingOf(value), rt, SYSTEM_INSTRUCTION_128().has(value, 'Direction'));
  }
  const immediate = { 21: 'SVC', 22: 'HVC', 23: 'SMC', 60: 'BRK' }[exceptionClass];
  return immediate === undefined ? null : `${immediate} #${hex(value & 0xffffn)}`;
}

/** Immediates of BRK that Linux gives a meaning. @see Linux arch/arm64/include/asm/brk-imm.h */
function breakpointUse(immediate: number): string | null {
  const exact: Readonly<Record<number, string>> = {
    4: 'Linux: a kprobe',
    5: 'Linux: a uprobe',
    6: 'Linux: a kprobe single-stepped',
    256: 'Linux: a fault made on purpose',
    1024: 'Linux: KGDB, dynamic breakpoint',
    1025: 'Linux: KGDB, compiled-in breakpoint',
    2048: 'Linux: BUG or WARN',
  };
  if ((immediate & ~0xff) === 0x900) return 'Linux: a software tag-based KASAN report';
  if ((immediate & ~0xff) === 0x5500) return 'Linux: an undefined behaviour trap (UBSAN)';
  if ((immediate & ~0x3ff) === 0x8000) return 'Linux: a control flow integrity failure (kCFI)';
  return exact[immediate] ?? null;
}

function syndromeRemarks(value: bigint, exceptionClass: number): string[] {
  const words = classWords(exceptionClass);
  const instruction = instructionOf(value, exceptionClass);
  const remarks = [instruction === null ? words : `${words}: ${instruction}`];
  if (exceptionClass === 0x3c) {
    const use = breakpointUse(Number(value & 0xffffn));
    if (use !== null) remarks.push(use);
  }
  return remarks;
}

/** ESR_EL1 with the syndrome of its exception class. */
export function decodeEsr(value: bigint): Decoded {
  const exceptionClass = Number(ESR_EL1.get(value, 'EC'));
  const source = 'Arm ARM (DDI 0487), "ESR_EL1, Exception Syndrome Register (EL1)"';
  const words = fieldWords(value, exceptionClass);
  const length = lengthRemarks(value, exceptionClass);
  if (DATA_ABORT_CLASSES.includes(exceptionClass)) {
    const remarks = [...dataAbortRemarks(value), ...length];
    return decodeWith('esr_el1', ESR_EL1_DATA_ABORT, value, source, words, remarks);
  }
  if (INSTRUCTION_ABORT_CLASSES.includes(exceptionClass)) {
    const status = faultStatusName(Number(ESR_EL1_INSTRUCTION_ABORT.get(value, 'IFSC')));
    const remarks = [`${EXCEPTION_CLASSES[exceptionClass]}: ${status}`, ...length];
    return decodeWith('esr_el1', ESR_EL1_INSTRUCTION_ABORT, value, source, words, remarks);
  }
  const layout = syndromeLayout(exceptionClass, value) ?? ESR_EL1;
  const remarks = [...syndromeRemarks(value, exceptionClass), ...length];
  return decodeWith('esr_el1', layout, value, source, words, remarks);
}

export const ESR_KIND: DecodeKind = {
  name: 'esr_el1',
  summary: 'ESR_EL1, the syndrome of an exception taken to EL1',
  width: 64,
  options: [],
  example: '0x9200004f',
  decode: decodeEsr,
};
