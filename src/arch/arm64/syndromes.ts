/**
 * ESR_EL1 of every exception class but the aborts (registers.ts), each with its own syndrome bit by bit: the instruction
 * specific syndrome in bits 24:0, ISS2 in bits 55:32. Only shape and meaning; the words are in decode-syndrome.ts.
 * Left out: classes that are never taken to EL1, but for the immediates of HVC and SMC.
 */
import { bit, bits, type FieldDeclaration, Layout, reservedBits } from '../../base/layout.ts';
import { lazy } from '../../base/lazy.ts';

type Fields = Readonly<Record<string, FieldDeclaration>>;

/** The highest bit of ISS, and the bits of EC, IL and ISS2. */
const ISS_TOP = 24;
const COMMON: Fields = {
  EC: bits(31, 26, 'exception class'),
  IL: bit(25, 'instruction length'),
};

/** RES0 fields where nothing is declared, in ISS and above EC. */
function withReserved(declared: Fields): Fields {
  const fields: Record<string, FieldDeclaration> = { ...COMMON, ...declared };
  const taken = Object.values(fields).sort((a, b) => b.high - a.high);
  let next = 63;
  for (const { high, low } of [...taken, { high: -1, low: -1 }]) {
    if (high < next)
      fields[high + 1 === next ? `RES0_${next}` : `RES0_${next}_${high + 1}`] = reservedBits(
        next,
        high + 1,
        'RES0',
      );
    next = low - 1;
  }
  return fields;
}

/** A form: its layout is made when one is first decoded. */
type Form = () => Layout;
const syndrome = (what: string, declared: Fields): Form =>
  lazy(() => new Layout(`ESR_EL1 (${what})`, withReserved(declared)));

const CONDITION: Fields = {
  CV: bit(ISS_TOP, 'COND is valid; 1 from AArch64 state'),
  COND: bits(23, 20, 'condition code; 0b1110 from AArch64 state'),
};
const Rt = bits(9, 5, 'general-purpose register');
const DIRECTION = bit(0, 'direction');

/** @see Arm ARM (DDI 0487), "ISS encoding for exceptions with an unknown reason", and of the other classes without one */
const NOTHING = (what: string): Form => syndrome(what, {});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from a WF* instruction" */
const WAIT = syndrome('WF* instruction', {
  ...CONDITION,
  RN: bits(9, 5, 'register of WFIT and WFET, if RV (FEAT_WFxT)'),
  RV: bit(2, 'RN is valid (FEAT_WFxT)'),
  TI: bits(1, 0, 'trapped instruction'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from an MCR or MRC access" */
const MCR = syndrome('MCR or MRC', {
  ...CONDITION,
  Opc2: bits(19, 17, 'opc2'),
  Opc1: bits(16, 14, 'opc1'),
  CRn: bits(13, 10, 'CRn'),
  Rt,
  CRm: bits(4, 1, 'CRm'),
  Direction: DIRECTION,
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from an MCRR or MRRC access" */
const MCRR = syndrome('MCRR or MRRC', {
  ...CONDITION,
  Opc1: bits(19, 16, 'opc1'),
  Rt2: bits(14, 10, 'second general-purpose register'),
  Rt,
  CRm: bits(4, 1, 'CRm'),
  Direction: DIRECTION,
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from an LDC or STC instruction" */
const LDC = syndrome('LDC or STC', {
  ...CONDITION,
  imm8: bits(19, 12, 'immediate'),
  Rn: bits(9, 5, 'base register; not for the literal form'),
  Offset: bit(4, 'the offset is added, otherwise subtracted'),
  AM: bits(3, 1, 'addressing mode'),
  Direction: DIRECTION,
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from an access to SVE, Advanced SIMD or floating-point …" */
const FLOATING_POINT = syndrome('SIMD or floating-point access', CONDITION);

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from an instruction not covered by another class" */
const OTHER_INSTRUCTION = syndrome('instruction of no other class', {
  ISS: bits(ISS_TOP, 0, 'which instruction was trapped'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from Branch Target Identification instruction" */
const BRANCH_TARGET = syndrome('Branch Target exception', {
  BTYPE: bits(1, 0, 'PSTATE.BTYPE: how the instruction was branched to'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from HVC, SVC or SMC instruction execution" */
const CALL = (name: string): Form => syndrome(name, { imm16: bits(15, 0, 'immediate of the instruction') });

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from MSR, MRS, or System instruction execution" */
export const SYSTEM_INSTRUCTION = syndrome('MSR, MRS or System instruction', {
  Op0: bits(21, 20, 'op0'),
  Op2: bits(19, 17, 'op2'),
  Op1: bits(16, 14, 'op1'),
  CRn: bits(13, 10, 'CRn'),
  Rt,
  CRm: bits(4, 1, 'CRm'),
  Direction: DIRECTION,
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from MSRR, MRRS, or 128-bit System instruction execution" */
export const SYSTEM_INSTRUCTION_128 = syndrome('MSRR, MRRS or 128-bit System instruction', {
  Op0: bits(21, 20, 'op0'),
  Op2: bits(19, 17, 'op2'),
  Op1: bits(16, 14, 'op1'),
  CRn: bits(13, 10, 'CRn'),
  Rt: bits(9, 6, 'bits 4:1 of the first register of the pair'),
  CRm: bits(4, 1, 'CRm'),
  Direction: DIRECTION,
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from a TSTART instruction" */
const TSTART = syndrome('TSTART', { Rd: bits(9, 5, 'destination register of TSTART') });

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from a Pointer Authentication instruction …" */
const POINTER_AUTHENTICATION = syndrome('Pointer Authentication failure', {
  DATA: bit(1, 'instruction or data key'),
  B: bit(0, 'key A or B'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception due to SME functionality" */
const SME = syndrome('SME access', { SMTC: bits(2, 0, 'why it was trapped') });

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from the Memory Copy and Memory Set instructions" */
const MEMORY_COPY = syndrome('Memory Copy or Memory Set', {
  MemInst: bit(24, 'Copy or Set'),
  isSETG: bit(23, 'the instruction also sets Allocation Tags; of Set only'),
  Options: bits(22, 19, 'the options field of the instruction'),
  FromEpilogue: bit(18, 'from the epilogue instruction, otherwise from the main one'),
  WrongOption: bit(17, 'the registers are in the format of the option that this processor does not use'),
  OptionA: bit(16, 'this processor uses option A, otherwise B'),
  destreg: bits(14, 10, 'register of the destination address'),
  srcreg: bits(9, 5, 'register of the source address, or of the data for Set'),
  sizereg: bits(4, 0, 'register of the size'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from a trapped floating-point exception" */
const FLOATING_POINT_EXCEPTION = syndrome('floating-point exception', {
  TFV: bit(23, 'the exception bits below are valid'),
  VECITR: bits(10, 8, 'AArch32 vector iteration; RES1 from AArch64 state'),
  IDF: bit(7, 'input denormal'),
  IXF: bit(4, 'inexact'),
  UFF: bit(3, 'underflow'),
  OFF: bit(2, 'overflow'),
  DZF: bit(1, 'divide by zero'),
  IOF: bit(0, 'invalid operation'),
});

/** The three forms of a Guarded Control Stack exception. @see Arm ARM (DDI 0487), "ISS encoding for a GCS exception" */
const GCS_TYPE = bits(23, 20, 'which check failed');
const GCS_DATA_CHECK = syndrome('GCS data check', {
  ExType: GCS_TYPE,
  Rn: bits(9, 5, 'register of the instruction; 31 where it has none'),
  IT: bits(4, 0, 'instruction'),
});
const GCS_EXLOCK = syndrome('GCS exception return lock', { ExType: GCS_TYPE });
const GCS_STORE = syndrome('GCSSTR or GCSSTTR', {
  ExType: GCS_TYPE,
  Raddr: bits(14, 10, 'register of the address'),
  Rvalue: bits(9, 5, 'register of the value'),
});
const GCS_FORMS: readonly Form[] = [GCS_DATA_CHECK, GCS_EXLOCK, GCS_STORE];
const GCS_RESERVED = syndrome('GCS exception', {
  ExType: GCS_TYPE,
  ISS_19_0: bits(19, 0, 'of a reserved ExType'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an SError exception" */
const SERROR = syndrome('SError', {
  IDS: bit(24, 'the rest of ISS is IMPLEMENTATION DEFINED'),
  WU: bits(17, 16, 'whether a write was made, if an External abort (FEAT_RASv2)'),
  VFV: bit(15, 'the virtual address in FAR_EL1 is valid (FEAT_RASv2)'),
  PFV: bit(14, 'the physical address in PFAR_EL1 is valid (FEAT_PFAR)'),
  IESB: bit(13, 'synchronized by an implicit error synchronization event; if DFSC = 0b010001 (FEAT_IESB)'),
  AET: bits(12, 10, 'state of the processor after the error; if DFSC = 0b010001 (FEAT_RAS)'),
  EA: bit(9, 'external abort type, IMPLEMENTATION DEFINED'),
  WnRV: bit(7, 'WnR is valid (FEAT_RASv2)'),
  WnR: bit(6, 'write or read, if WnRV (FEAT_RASv2)'),
  DFSC: bits(5, 0, 'fault status code'),
});
const SERROR_IMPLEMENTATION_DEFINED = syndrome('SError, IMPLEMENTATION DEFINED', {
  IDS: bit(24, 'the rest of ISS is IMPLEMENTATION DEFINED'),
  IMPDEF_23_0: bits(23, 0, 'IMPLEMENTATION DEFINED'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from a Breakpoint or Vector Catch debug exception" */
const BREAKPOINT = syndrome('Breakpoint', { IFSC: bits(5, 0, 'instruction fault status code') });

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from a Software Step exception" */
const SOFTWARE_STEP = syndrome('Software Step', {
  ISV: bit(24, 'EX is valid'),
  EX: bit(6, 'what was stepped is a Load-Exclusive'),
  IFSC: bits(5, 0, 'instruction fault status code'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from a Watchpoint exception", and the ISS2 encoding */
const WATCHPOINT = syndrome('Watchpoint', {
  GCS: bit(40, 'Guarded Control Stack access (FEAT_GCS)'),
  WPT: bits(23, 18, 'number of the watchpoint, if WPTV'),
  WPTV: bit(17, 'WPT is valid'),
  WPF: bit(16, 'the watchpoint may be false: a match beyond the bytes accessed'),
  FnP: bit(15, 'FAR_EL1 is not precise: within the accessed range, rounded'),
  VNCR: bit(13, 'from use of VNCR_EL2'),
  FnV: bit(10, 'FAR_EL1 is not valid'),
  CM: bit(8, 'from a cache maintenance instruction'),
  WnR: bit(6, 'write or read'),
  DFSC: bits(5, 0, 'data fault status code'),
});

/** @see Arm ARM (DDI 0487), "ISS encoding for an exception from execution of a Breakpoint instruction" */
const BREAKPOINT_INSTRUCTION = (name: string): Form =>
  syndrome(name, { Comment: bits(15, 0, 'immediate of the instruction') });

/** @see Arm ARM (DDI 0487), "ISS encoding for a PMU exception" */
const PMU = syndrome('PMU exception', { SYNC: bit(0, 'synchronous') });

const FIXED_FORMS: Readonly<Record<number, Form>> = {
  0: NOTHING('unknown reason'),
  1: WAIT,
  3: MCR,
  4: MCRR,
  5: MCR,
  6: LDC,
  7: FLOATING_POINT,
  10: OTHER_INSTRUCTION,
  12: MCRR,
  13: BRANCH_TARGET,
  14: NOTHING('Illegal Execution state'),
  17: CALL('SVC from AArch32'),
  20: SYSTEM_INSTRUCTION_128,
  21: CALL('SVC'),
  22: CALL('HVC'),
  23: CALL('SMC'),
  24: SYSTEM_INSTRUCTION,
  25: NOTHING('SVE access'),
  27: TSTART,
  28: POINTER_AUTHENTICATION,
  29: SME,
  34: NOTHING('PC alignment fault'),
  38: NOTHING('SP alignment fault'),
  39: MEMORY_COPY,
  40: FLOATING_POINT_EXCEPTION,
  44: FLOATING_POINT_EXCEPTION,
  48: BREAKPOINT,
  49: BREAKPOINT,
  50: SOFTWARE_STEP,
  51: SOFTWARE_STEP,
  52: WATCHPOINT,
  53: WATCHPOINT,
  56: BREAKPOINT_INSTRUCTION('BKPT'),
  60: BREAKPOINT_INSTRUCTION('BRK'),
  61: PMU,
};

function syndromeForm(exceptionClass: number, value: bigint): Form | undefined {
  if (exceptionClass === 0x2d) return GCS_FORMS[Number(GCS_EXLOCK().get(value, 'ExType'))] ?? GCS_RESERVED;
  if (exceptionClass === 0x2f) return SERROR().has(value, 'IDS') ? SERROR_IMPLEMENTATION_DEFINED : SERROR;
  return FIXED_FORMS[exceptionClass];
}

/** The form of a syndrome by its exception class; undefined for an abort, or a class that EL1 never reports. */
export function syndromeLayout(exceptionClass: number, value: bigint): Layout | undefined {
  return syndromeForm(exceptionClass, value)?.();
}
