/**
 * The arm64 registers beside TCR_EL1 and ESR_EL1 (registers.ts) that translation and MTE depend on or report in, bit by
 * bit. Left out: the EL2 and EL3 forms, the 128-bit forms of FEAT_D128.
 */
import { addressBits, bit, bits, type FieldDeclaration, Layout, reservedBits } from '../../base/layout.ts';

/** @see Arm ARM (DDI 0487), "SCTLR_EL1, System Control Register (EL1)" */
export const SCTLR_EL1 = new Layout('SCTLR_EL1', {
  M: bit(0, 'EL1&0 stage 1 address translation enable'),
  A: bit(1, 'alignment check enable'),
  C: bit(2, 'data accesses may be cacheable'),
  SA: bit(3, 'SP alignment check at EL1'),
  SA0: bit(4, 'SP alignment check at EL0'),
  CP15BEN: bit(5, 'AArch32 CP15 barriers at EL0'),
  nAA: bit(6, 'unaligned accesses that LSE2 does not make single-copy atomic do not fault (FEAT_LSE2)'),
  ITD: bit(7, 'AArch32 IT instructions disabled at EL0'),
  SED: bit(8, 'AArch32 SETEND disabled at EL0'),
  UMA: bit(9, 'EL0 accesses to PSTATE.DAIF are not trapped'),
  EnRCTX: bit(10, 'EL0 prediction restriction instructions (FEAT_SPECRES)'),
  EOS: bit(11, 'exception exit is context synchronizing (FEAT_ExS)'),
  I: bit(12, 'instruction fetches may be cacheable'),
  EnDB: bit(13, 'pointer authentication, data key B (FEAT_PAuth)'),
  DZE: bit(14, 'EL0 DC ZVA, DC GVA and DC GZVA are not trapped'),
  UCT: bit(15, 'EL0 reads of CTR_EL0 are not trapped'),
  nTWI: bit(16, 'EL0 WFI is not trapped'),
  RES0_17: reservedBits(17, 17, 'RES0'),
  nTWE: bit(18, 'EL0 WFE is not trapped'),
  WXN: bit(19, 'what is writable is not executable'),
  TSCXT: bit(20, 'EL0 accesses to SCXTNUM_EL0 are trapped (FEAT_CSV2_2)'),
  IESB: bit(21, 'implicit error synchronization (FEAT_IESB)'),
  EIS: bit(22, 'exception entry is context synchronizing (FEAT_ExS)'),
  SPAN: bit(23, 'PSTATE.PAN is left as it is on an exception to EL1; with 0 it is set (FEAT_PAN)'),
  E0E: bit(24, 'EL0 data accesses are big-endian'),
  EE: bit(25, 'EL1 data accesses and table walks are big-endian'),
  UCI: bit(26, 'EL0 cache maintenance is not trapped'),
  EnDA: bit(27, 'pointer authentication, data key A (FEAT_PAuth)'),
  nTLSMD: bit(28, 'AArch32 load and store multiple to Device memory is not trapped (FEAT_LSMAOC)'),
  LSMAOE: bit(29, 'AArch32 load and store multiple atomicity and ordering (FEAT_LSMAOC)'),
  EnIB: bit(30, 'pointer authentication, instruction key B (FEAT_PAuth)'),
  EnIA: bit(31, 'pointer authentication, instruction key A (FEAT_PAuth)'),
  CMOW: bit(32, 'EL0 cache maintenance needs write permission (FEAT_CMOW)'),
  MSCEn: bit(33, 'EL0 Memory Copy and Memory Set instructions (FEAT_MOPS)'),
  EnFPM: bit(34, 'EL0 accesses to FPMR (FEAT_FPMR)'),
  BT0: bit(35, 'PACIASP and PACIBSP are no landing pads at EL0 for BTYPE 0b11 (FEAT_BTI)'),
  BT1: bit(36, 'PACIASP and PACIBSP are no landing pads at EL1 for BTYPE 0b11 (FEAT_BTI)'),
  ITFSB: bit(37, 'exception entry waits for asynchronous tag check faults (FEAT_MTE_ASYNC)'),
  TCF0: bits(39, 38, 'what a tag check fault at EL0 does (FEAT_MTE2)'),
  TCF: bits(41, 40, 'what a tag check fault at EL1 does (FEAT_MTE2)'),
  ATA0: bit(42, 'access to Allocation Tags at EL0 (FEAT_MTE2)'),
  ATA: bit(43, 'access to Allocation Tags at EL1 (FEAT_MTE2)'),
  DSSBS: bit(44, 'PSTATE.SSBS on exception entry (FEAT_SSBS)'),
  TWEDEn: bit(45, 'delay of the WFE trap enable (FEAT_TWED)'),
  TWEDEL: bits(49, 46, 'delay of the WFE trap (FEAT_TWED)'),
  TMT0: bit(50, 'transactions at EL0 are made to fail (FEAT_TME)'),
  TMT: bit(51, 'transactions at EL1 are made to fail (FEAT_TME)'),
  TME0: bit(52, 'TSTART at EL0 (FEAT_TME)'),
  TME: bit(53, 'TSTART at EL1 (FEAT_TME)'),
  EnASR: bit(54, 'EL0 ST64BV is not trapped (FEAT_LS64_V)'),
  EnAS0: bit(55, 'EL0 ST64BV0 is not trapped (FEAT_LS64_ACCDATA)'),
  EnALS: bit(56, 'EL0 LD64B and ST64B are not trapped (FEAT_LS64)'),
  EPAN: bit(57, 'PSTATE.PAN also covers memory that EL0 can only execute (FEAT_PAN3)'),
  TCSO0: bit(58, 'tag checking of stores only, EL0 (FEAT_MTE_STORE_ONLY)'),
  TCSO: bit(59, 'tag checking of stores only, EL1 (FEAT_MTE_STORE_ONLY)'),
  EnTP2: bit(60, 'EL0 accesses to TPIDR2_EL0 are not trapped (FEAT_SME)'),
  NMI: bit(61, 'non-maskable interrupts (FEAT_NMI)'),
  SPINTMASK: bit(62, 'PSTATE.SP masks interrupts (FEAT_NMI)'),
  TIDCP: bit(63, 'EL0 accesses to IMPLEMENTATION DEFINED registers are trapped (FEAT_TIDCP1)'),
});

/** TTBR0_EL1 and TTBR1_EL1. */
const ttbr = (name: string): Layout<'CnP' | 'BADDR' | 'ASID'> =>
  new Layout(name, {
    CnP: bit(0, 'the tables are common to the processors of the Inner Shareable domain (FEAT_TTCNP)'),
    BADDR: addressBits(
      47,
      1,
      'address of the first table, bits 47:x; bits 5:2 are address bits 51:48 where addresses have 52 bits',
    ),
    ASID: bits(63, 48, 'address space identifier; bits 63:56 only with TCR_EL1.AS = 1'),
  });
/** @see Arm ARM (DDI 0487), "TTBR0_EL1, Translation Table Base Register 0 (EL1)" */
export const TTBR0_EL1 = ttbr('TTBR0_EL1');
/** @see Arm ARM (DDI 0487), "TTBR1_EL1, Translation Table Base Register 1 (EL1)" */
export const TTBR1_EL1 = ttbr('TTBR1_EL1');

/** @see Arm ARM (DDI 0487), "MAIR_EL1, Memory Attribute Indirection Register (EL1)" */
export const MAIR_EL1 = new Layout('MAIR_EL1', {
  Attr0: bits(7, 0, 'memory attributes for AttrIndx = 0'),
  Attr1: bits(15, 8, 'memory attributes for AttrIndx = 1'),
  Attr2: bits(23, 16, 'memory attributes for AttrIndx = 2'),
  Attr3: bits(31, 24, 'memory attributes for AttrIndx = 3'),
  Attr4: bits(39, 32, 'memory attributes for AttrIndx = 4'),
  Attr5: bits(47, 40, 'memory attributes for AttrIndx = 5'),
  Attr6: bits(55, 48, 'memory attributes for AttrIndx = 6'),
  Attr7: bits(63, 56, 'memory attributes for AttrIndx = 7'),
});

/** @see Arm ARM (DDI 0487), "TCR2_EL1, Extended Translation Control Register (EL1)" */
export const TCR2_EL1 = new Layout('TCR2_EL1', {
  PnCH: bit(0, 'Protected attribute in place of the Contiguous bit (FEAT_THE)'),
  PIE: bit(1, 'permission indirection enable (FEAT_S1PIE)'),
  E0POE: bit(2, 'permission overlays at EL0 (FEAT_S1POE)'),
  POE: bit(3, 'permission overlays at EL1 (FEAT_S1POE)'),
  AIE: bit(4, 'attribute index extension: MAIR2_EL1 (FEAT_AIE)'),
  D128: bit(5, '128-bit descriptors (FEAT_D128)'),
  RES0_9_6: reservedBits(9, 6, 'RES0'),
  PTTWI: bit(10, 'table walks may be incoherent with RCW instructions (FEAT_THE)'),
  HAFT: bit(11, 'hardware sets the Access flag of table descriptors (FEAT_HAFT)'),
  RES0_13_12: reservedBits(13, 12, 'RES0'),
  DisCH0: bit(14, 'Contiguous bit disabled, TTBR0_EL1 (FEAT_D128)'),
  DisCH1: bit(15, 'Contiguous bit disabled, TTBR1_EL1 (FEAT_D128)'),
  A2: bit(16, 'each address range has the ASID of its own TTBRn_EL1 (FEAT_ASID2)'),
  FNG0: bit(17, 'all TTBR0_EL1 translations are non-global (FEAT_ASID2)'),
  FNG1: bit(18, 'all TTBR1_EL1 translations are non-global (FEAT_ASID2)'),
  RES0_19: reservedBits(19, 19, 'RES0'),
  FNGNA0: bit(20, 'non-global for non-architectural purposes, TTBR0_EL1'),
  FNGNA1: bit(21, 'non-global for non-architectural purposes, TTBR1_EL1'),
  RES0_63_22: reservedBits(63, 22, 'RES0'),
});

type Field16 = `Perm${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15}`;

/** Sixteen fields of four bits. */
const sixteenFields = (title: string, meaning: (index: number) => string): Layout<Field16> => {
  const fields: Record<string, FieldDeclaration> = {};
  for (let i = 0; i < 16; i++) fields[`Perm${i}`] = bits(4 * i + 3, 4 * i, meaning(i));
  return new Layout(title, fields as Record<Field16, FieldDeclaration>);
};

/** @see Arm ARM (DDI 0487), "PIR_EL1, Permission Indirection Register 1 (EL1)" */
export const PIR_EL1 = sixteenFields('PIR_EL1', (i) => `permissions at EL1 for PIIndex = ${i}`);
/** @see Arm ARM (DDI 0487), "PIRE0_EL1, Permission Indirection Register 0 (EL1)" */
export const PIRE0_EL1 = sixteenFields('PIRE0_EL1', (i) => `permissions at EL0 for PIIndex = ${i}`);
/** @see Arm ARM (DDI 0487), "POR_EL1, Permission Overlay Register 1 (EL1)" */
export const POR_EL1 = sixteenFields('POR_EL1', (i) => `overlay at EL1 for POIndex = ${i}`);
/** @see Arm ARM (DDI 0487), "POR_EL0, Permission Overlay Register 0 (EL0)" */
export const POR_EL0 = sixteenFields('POR_EL0', (i) => `overlay at EL0 for POIndex = ${i}`);

/**
 * PAR_EL1 after an address translation instruction that succeeded (F = 0).
 * @see Arm ARM (DDI 0487), "PAR_EL1, Physical Address Register"
 */
export const PAR_EL1 = new Layout('PAR_EL1 (F = 0)', {
  F: bit(0, 'the translation failed'),
  RES0_6_1: reservedBits(6, 1, 'RES0'),
  SH: bits(8, 7, 'shareability; 2 for Device and Normal Non-cacheable memory'),
  NS: bit(9, 'Non-secure; 1 in Non-secure state'),
  IMPDEF_10: bits(10, 10, 'IMPLEMENTATION DEFINED'),
  NSE: bit(11, 'with NS the physical address space (FEAT_RME), otherwise RES1'),
  PA: addressBits(51, 12, 'output address'),
  RES0_55_52: reservedBits(55, 52, 'RES0'),
  ATTR: bits(63, 56, 'memory attributes, encoded as in MAIR_EL1'),
});

/** PAR_EL1 after an address translation instruction that failed (F = 1). */
export const PAR_EL1_FAULT = new Layout('PAR_EL1 (F = 1)', {
  F: bit(0, 'the translation failed'),
  FST: bits(6, 1, 'fault status code, as ESR_EL1.DFSC'),
  RES0_7: reservedBits(7, 7, 'RES0'),
  PTW: bit(8, 'stage 2 fault on a stage 1 walk'),
  S: bit(9, 'fault of stage 2'),
  RES0_10: reservedBits(10, 10, 'RES0'),
  RES1_11: bit(11, 'RES1'),
  AssuredOnly: bit(12, 'Permission fault on an assured translation (FEAT_THE)'),
  TopLevel: bit(13, 'stage 2 fault because of the TopLevel attribute (FEAT_THE)'),
  Overlay: bit(14, 'Permission fault because of an overlay (FEAT_S1POE)'),
  DirtyBit: bit(15, 'Permission fault because of dirty state (FEAT_S1PIE)'),
  RES0_47_16: reservedBits(47, 16, 'RES0'),
  IMPDEF_63_48: bits(63, 48, 'IMPLEMENTATION DEFINED'),
});

/** @see Arm ARM (DDI 0487), "FAR_EL1, Fault Address Register (EL1)" */
export const FAR_EL1 = new Layout('FAR_EL1', {
  VA_54_0: bits(54, 0, 'faulting address, bits 54:0'),
  HALF: bit(55, 'address of the upper range, translated by TTBR1_EL1'),
  TAG: bits(59, 56, 'with TBI the Logical Address Tag, otherwise address bits'),
  TOP: bits(63, 60, 'the rest of the top byte; UNKNOWN after a tag check fault without FEAT_MTE_TAGGED_FAR'),
});

/** @see Arm ARM (DDI 0487), "GCR_EL1, Tag Control Register" */
export const GCR_EL1 = new Layout('GCR_EL1', {
  Exclude: bits(15, 0, 'Allocation Tags that IRG, ADDG and SUBG do not choose, one bit each'),
  RRND: bit(16, 'IRG may use an IMPLEMENTATION DEFINED generator in place of RGSR_EL1'),
  RES0_63_17: reservedBits(63, 17, 'RES0'),
});

/** @see Arm ARM (DDI 0487), "RGSR_EL1, Random Allocation Tag Seed Register" */
export const RGSR_EL1 = new Layout('RGSR_EL1', {
  TAG: bits(3, 0, 'the tag that the last IRG chose'),
  RES0_7_4: reservedBits(7, 4, 'RES0'),
  SEED: bits(23, 8, 'state of the generator (GCR_EL1.RRND = 0)'),
  SEED_55_24: bits(55, 24, 'with GCR_EL1.RRND = 1 more IMPLEMENTATION DEFINED state, otherwise RES0'),
  RES0_63_56: reservedBits(63, 56, 'RES0'),
});

const tagFaultStatus = (title: string): Layout<'TF0' | 'TF1' | 'RES0_63_2'> =>
  new Layout(title, {
    TF0: bit(0, 'a tag check failed asynchronously at an address with bit 55 = 0'),
    TF1: bit(1, 'a tag check failed asynchronously at an address with bit 55 = 1'),
    RES0_63_2: reservedBits(63, 2, 'RES0'),
  });
/** @see Arm ARM (DDI 0487), "TFSR_EL1, Tag Fault Status Register (EL1)" */
export const TFSR_EL1 = tagFaultStatus('TFSR_EL1');
/** @see Arm ARM (DDI 0487), "TFSRE0_EL1, Tag Fault Status Register (EL0)" */
export const TFSRE0_EL1 = tagFaultStatus('TFSRE0_EL1');

/** @see Arm ARM (DDI 0487), "GMID_EL1, Multiple tag transfer ID register" */
export const GMID_EL1 = new Layout('GMID_EL1', {
  BS: bits(3, 0, 'log2 of the words (4 bytes) whose tags LDGM and STGM transfer'),
  RES0_63_4: reservedBits(63, 4, 'RES0'),
});

/** @see Arm ARM (DDI 0487), "DCZID_EL0, Data Cache Zero ID Register" */
export const DCZID_EL0 = new Layout('DCZID_EL0', {
  BS: bits(3, 0, 'log2 of the words (4 bytes) that DC ZVA zeroes'),
  DZP: bit(4, 'DC ZVA, DC GVA and DC GZVA are prohibited'),
  RES0_63_5: reservedBits(63, 5, 'RES0'),
});
