/**
 * The arm64 registers that translation depends on or reports in, bit by bit. Only their shape and what the values of
 * their fields mean. The registers beside TCR_EL1 and ESR_EL1 are in system-registers.ts. Left out: the EL2 and EL3 forms.
 */
import { bit, bits, Layout, reservedBits } from '../../base/layout.ts';

/** @see Arm ARM (DDI 0487), "TCR_EL1, Translation Control Register (EL1)" */
export const TCR_EL1 = new Layout('TCR_EL1', {
  T0SZ: bits(5, 0, 'size offset of the TTBR0_EL1 region: 2^(64 - T0SZ) bytes'),
  RES0_6: reservedBits(6, 6, 'RES0'),
  EPD0: bit(7, 'no walk through TTBR0_EL1: a TLB miss is a Translation fault'),
  IRGN0: bits(9, 8, 'inner cacheability of TTBR0_EL1 walks'),
  ORGN0: bits(11, 10, 'outer cacheability of TTBR0_EL1 walks'),
  SH0: bits(13, 12, 'shareability of TTBR0_EL1 walks'),
  TG0: bits(15, 14, 'granule of TTBR0_EL1'),
  T1SZ: bits(21, 16, 'size offset of the TTBR1_EL1 region: 2^(64 - T1SZ) bytes'),
  A1: bit(22, 'the ASID is in TTBR1_EL1, otherwise in TTBR0_EL1'),
  EPD1: bit(23, 'no walk through TTBR1_EL1: a TLB miss is a Translation fault'),
  IRGN1: bits(25, 24, 'inner cacheability of TTBR1_EL1 walks'),
  ORGN1: bits(27, 26, 'outer cacheability of TTBR1_EL1 walks'),
  SH1: bits(29, 28, 'shareability of TTBR1_EL1 walks'),
  TG1: bits(31, 30, 'granule of TTBR1_EL1; encoded differently from TG0'),
  IPS: bits(34, 32, 'intermediate physical address size'),
  RES0_35: reservedBits(35, 35, 'RES0'),
  AS: bit(36, 'ASIDs have 16 bits, otherwise 8'),
  TBI0: bit(37, 'top byte ignored, TTBR0_EL1 addresses'),
  TBI1: bit(38, 'top byte ignored, TTBR1_EL1 addresses'),
  HA: bit(39, 'hardware sets the Access flag (FEAT_HAFDBS)'),
  HD: bit(40, 'hardware manages dirty state (FEAT_HAFDBS); needs HA'),
  HPD0: bit(41, 'hierarchical permissions disabled, TTBR0_EL1 (FEAT_HPDS)'),
  HPD1: bit(42, 'hierarchical permissions disabled, TTBR1_EL1 (FEAT_HPDS)'),
  HWU059: bit(43, 'hardware use of bit 59 of TTBR0_EL1 leaf descriptors (FEAT_HPDS2)'),
  HWU060: bit(44, 'hardware use of bit 60 of TTBR0_EL1 leaf descriptors (FEAT_HPDS2)'),
  HWU061: bit(45, 'hardware use of bit 61 of TTBR0_EL1 leaf descriptors (FEAT_HPDS2)'),
  HWU062: bit(46, 'hardware use of bit 62 of TTBR0_EL1 leaf descriptors (FEAT_HPDS2)'),
  HWU159: bit(47, 'hardware use of bit 59 of TTBR1_EL1 leaf descriptors (FEAT_HPDS2)'),
  HWU160: bit(48, 'hardware use of bit 60 of TTBR1_EL1 leaf descriptors (FEAT_HPDS2)'),
  HWU161: bit(49, 'hardware use of bit 61 of TTBR1_EL1 leaf descriptors (FEAT_HPDS2)'),
  HWU162: bit(50, 'hardware use of bit 62 of TTBR1_EL1 leaf descriptors (FEAT_HPDS2)'),
  TBID0: bit(51, 'TBI0 applies to data accesses only (FEAT_PAuth)'),
  TBID1: bit(52, 'TBI1 applies to data accesses only (FEAT_PAuth)'),
  NFD0: bit(53, 'non-fault walks of TTBR0_EL1 disabled at EL0 (FEAT_SVE)'),
  NFD1: bit(54, 'non-fault walks of TTBR1_EL1 disabled at EL0 (FEAT_SVE)'),
  E0PD0: bit(55, 'unprivileged accesses to TTBR0_EL1 addresses fault (FEAT_E0PD)'),
  E0PD1: bit(56, 'unprivileged accesses to TTBR1_EL1 addresses fault (FEAT_E0PD)'),
  TCMA0: bit(57, 'accesses with logical tag 0b0000 in TTBR0_EL1 addresses are unchecked (FEAT_MTE2)'),
  TCMA1: bit(58, 'accesses with logical tag 0b1111 in TTBR1_EL1 addresses are unchecked (FEAT_MTE2)'),
  DS: bit(59, '52-bit addresses with 4 KiB and 16 KiB granules (FEAT_LPA2)'),
  MTX0: bit(60, 'extended memory tag checking, TTBR0_EL1 addresses (FEAT_MTE_NO_ADDRESS_TAGS)'),
  MTX1: bit(61, 'extended memory tag checking, TTBR1_EL1 addresses (FEAT_MTE_NO_ADDRESS_TAGS)'),
  RES0_63_62: reservedBits(63, 62, 'RES0'),
});

/** @see Arm ARM (DDI 0487), "ESR_EL1, Exception Syndrome Register (EL1)" */
export const ESR_EL1 = new Layout('ESR_EL1', {
  ISS: bits(24, 0, 'instruction specific syndrome'),
  IL: bit(25, 'instruction length'),
  EC: bits(31, 26, 'exception class'),
  ISS2: bits(55, 32, 'instruction specific syndrome, second part'),
  RES0_63_56: reservedBits(63, 56, 'RES0'),
});

/**
 * ESR_EL1 of a Data Abort (EC 0b100100 and 0b100101).
 * @see Arm ARM (DDI 0487), "ESR_EL1", "ISS encoding for an exception from a Data Abort" and the ISS2 encoding beside it
 */
export const ESR_EL1_DATA_ABORT = new Layout('ESR_EL1 (Data Abort)', {
  DFSC: bits(5, 0, 'data fault status code'),
  WnR: bit(6, 'write or read'),
  S1PTW: bit(7, 'fault on the stage 2 translation of a stage 1 walk'),
  CM: bit(8, 'from a cache maintenance or address translation instruction'),
  EA: bit(9, 'external abort type, IMPLEMENTATION DEFINED'),
  FnV: bit(10, 'FAR is not valid'),
  LST_SET: bits(12, 11, 'load/store type, or synchronous error type'),
  VNCR: bit(13, 'from use of VNCR_EL2'),
  AR: bit(14, 'acquire/release; if ISV'),
  SF: bit(15, '64-bit register; if ISV'),
  SRT: bits(20, 16, 'register number; if ISV'),
  SSE: bit(21, 'sign extend; if ISV'),
  SAS: bits(23, 22, 'access size: 0 byte, 1 halfword, 2 word, 3 doubleword; if ISV'),
  ISV: bit(24, 'bits 23:14 are valid; stage 2 aborts and LS64 only'),
  IL: bit(25, 'instruction length'),
  EC: bits(31, 26, 'exception class'),
  Xs: bits(36, 32, 'register of an ST64B-class instruction'),
  DirtyBit: bit(37, 'Permission fault because of dirty state (FEAT_S1PIE, FEAT_S2PIE)'),
  Overlay: bit(38, 'Permission fault because of an overlay (FEAT_S1POE, FEAT_S2POE)'),
  AssuredOnly: bit(39, 'Permission fault on an assured translation (FEAT_THE)'),
  GCS: bit(40, 'Guarded Control Stack access (FEAT_GCS)'),
  TagAccess: bit(41, 'NoTagAccess fault (FEAT_MTE_PERM)'),
  TnD: bit(42, 'fault of an instruction that accesses Allocation Tags (FEAT_MTE2, FEAT_MTE_CANONICAL_TAGS)'),
  HDBSSF: bit(43, 'fault of an update of the dirty state tracking structure (FEAT_HDBSS)'),
  RES0_63_44: reservedBits(63, 44, 'RES0'),
});

/**
 * ESR_EL1 of an Instruction Abort (EC 0b100000 and 0b100001).
 * @see Arm ARM (DDI 0487), "ESR_EL1", "ISS encoding for an exception from an Instruction Abort"
 */
export const ESR_EL1_INSTRUCTION_ABORT = new Layout('ESR_EL1 (Instruction Abort)', {
  IFSC: bits(5, 0, 'instruction fault status code'),
  RES0_6: reservedBits(6, 6, 'RES0'),
  S1PTW: bit(7, 'fault on the stage 2 translation of a stage 1 walk'),
  RES0_8: reservedBits(8, 8, 'RES0'),
  EA: bit(9, 'external abort type, IMPLEMENTATION DEFINED'),
  FnV: bit(10, 'FAR is not valid'),
  SET: bits(12, 11, 'synchronous error type'),
  RES0_24_13: reservedBits(24, 13, 'RES0'),
  IL: bit(25, 'instruction length'),
  EC: bits(31, 26, 'exception class'),
  RES0_36_32: reservedBits(36, 32, 'RES0'),
  DirtyBit: bit(37, 'Permission fault because of dirty state (FEAT_S1PIE)'),
  Overlay: bit(38, 'Permission fault because of an overlay (FEAT_S1POE)'),
  AssuredOnly: bit(39, 'Permission fault on an assured translation (FEAT_THE)'),
  RES0_42_40: reservedBits(42, 40, 'RES0'),
  HDBSSF: bit(43, 'fault of an update of the dirty state tracking structure (FEAT_HDBSS)'),
  RES0_63_44: reservedBits(63, 44, 'RES0'),
});

/** Exception classes. @see Arm ARM (DDI 0487), "ESR_EL1", field EC */
export const EXCEPTION_CLASSES: Readonly<Record<number, string>> = {
  0: 'unknown reason',
  1: 'trapped WF* instruction',
  3: 'trapped MCR or MRC, coproc 0b1111 (AArch32)',
  4: 'trapped MCRR or MRRC, coproc 0b1111 (AArch32)',
  5: 'trapped MCR or MRC, coproc 0b1110 (AArch32)',
  6: 'trapped LDC or STC (AArch32)',
  7: 'access to SME, SVE, Advanced SIMD or floating-point trapped by CPACR_EL1.FPEN, CPTR_EL2 or CPTR_EL3',
  10: 'trapped execution of an instruction not covered by another class (LD64B and others)',
  12: 'trapped MRRC, coproc 0b1110 (AArch32)',
  13: 'Branch Target exception',
  14: 'Illegal Execution state',
  17: 'SVC from AArch32',
  20: 'trapped MSRR, MRRS or 128-bit System instruction',
  21: 'SVC from AArch64',
  24: 'trapped MSR, MRS or System instruction',
  25: 'access to SVE trapped by CPACR_EL1.ZEN, CPTR_EL2 or CPTR_EL3',
  27: 'trapped TSTART (FEAT_TME)',
  28: 'Pointer Authentication failure',
  29: 'access to SME trapped by CPACR_EL1.SMEN, CPTR_EL2 or CPTR_EL3',
  32: 'Instruction Abort from a lower Exception level',
  33: 'Instruction Abort without a change of Exception level',
  34: 'PC alignment fault',
  36: 'Data Abort from a lower Exception level',
  37: 'Data Abort without a change of Exception level',
  38: 'SP alignment fault',
  39: 'Memory Copy or Memory Set instruction',
  40: 'trapped floating-point exception (AArch32)',
  44: 'trapped floating-point exception (AArch64)',
  45: 'Guarded Control Stack exception',
  47: 'SError',
  48: 'Breakpoint from a lower Exception level',
  49: 'Breakpoint without a change of Exception level',
  50: 'Software Step from a lower Exception level',
  51: 'Software Step without a change of Exception level',
  52: 'Watchpoint from a lower Exception level',
  53: 'Watchpoint without a change of Exception level',
  56: 'BKPT (AArch32)',
  60: 'BRK (AArch64)',
  61: 'PMU exception (FEAT_EBEP)',
};

/** The classes whose ISS is that of an abort, and their layout. */
export const DATA_ABORT_CLASSES: readonly number[] = [0x24, 0x25];
export const INSTRUCTION_ABORT_CLASSES: readonly number[] = [0x20, 0x21];

/** Codes that come in groups of four, one for each of the levels 0 to 3. */
const LEVEL_GROUPS: Readonly<Record<number, string>> = {
  0: 'Address size fault',
  1: 'Translation fault',
  2: 'Access flag fault',
  3: 'Permission fault',
  5: 'synchronous External abort on translation table walk or hardware update',
  7: 'synchronous parity or ECC error on translation table walk or hardware update',
  9: 'Granule Protection Fault on translation table walk or hardware update',
};

const SINGLE_STATUS_CODES: Readonly<Record<number, string>> = {
  16: 'synchronous External abort, not on translation table walk or hardware update',
  17: 'synchronous Tag Check Fault',
  18: 'synchronous External abort on translation table walk or hardware update, level -2',
  19: 'synchronous External abort on translation table walk or hardware update, level -1',
  24: 'synchronous parity or ECC error, not on translation table walk or hardware update',
  27: 'synchronous parity or ECC error on translation table walk or hardware update, level -1',
  33: 'Alignment fault',
  34: 'Granule Protection Fault on translation table walk or hardware update, level -2',
  35: 'Granule Protection Fault on translation table walk or hardware update, level -1',
  40: 'Granule Protection Fault, not on translation table walk or hardware update',
  41: 'Address size fault, level -1',
  42: 'Translation fault, level -2',
  43: 'Translation fault, level -1',
  44: 'Address size fault, level -2',
  48: 'TLB conflict abort',
  49: 'Unsupported atomic hardware update fault',
  52: 'IMPLEMENTATION DEFINED fault (Lockdown)',
  53: 'IMPLEMENTATION DEFINED fault (unsupported Exclusive or Atomic access)',
};

/** The words of a DFSC or IFSC. @see Arm ARM (DDI 0487), "ESR_EL1", fields DFSC and IFSC */
export function faultStatusName(code: number): string {
  const single = SINGLE_STATUS_CODES[code];
  if (single !== undefined) return single;
  const group = LEVEL_GROUPS[code >> 2];
  return group === undefined ? 'reserved' : `${group}, level ${code & 3}`;
}
