/**
 * The control registers, MSRs and other words that x86-64 address translation reads, each bit by bit in the manual's
 * order and names. Only their shape: what may be written is in `control-registers.ts`, what they do in the walker.
 * Left out: registers that translation never looks at (debug registers, performance MSRs) and 32-bit-only bits' effects.
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

/** @see Intel SDM vol. 3A, "Control Registers", CR0 */
export const CR0 = new Layout('CR0', {
  PE: bit(0, 'protection enable'),
  MP: bit(1, 'monitor coprocessor'),
  EM: bit(2, 'emulation: no x87 FPU'),
  TS: bit(3, 'task switched'),
  ET: bit(4, 'extension type; always 1'),
  NE: bit(5, 'numeric error: native x87 error reporting'),
  RESERVED_15_6: reservedBits(15, 6, 'reserved; writes are ignored'),
  WP: bit(16, 'write protect: supervisor writes honour R/W=0'),
  RESERVED_17: reservedBits(17, 17, 'reserved; writes are ignored'),
  AM: bit(18, 'alignment mask: #AC at CPL 3 with RFLAGS.AC'),
  RESERVED_28_19: reservedBits(28, 19, 'reserved; writes are ignored'),
  NW: bit(29, 'not write-through'),
  CD: bit(30, 'cache disable'),
  PG: bit(31, 'paging'),
  RESERVED_63_32: reservedBits(63, 32, 'reserved; setting one is #GP(0)'),
});

/** @see Intel SDM vol. 3A, "Control Registers", CR2 */
export const CR2 = new Layout('CR2', {
  ADDRESS: addressBits(63, 0, 'linear address that caused the last page fault'),
});

/** The bits of CR3 above the table address: the same with and without PCIDs. */
const CR3_HIGH = {
  TABLE: addressBits(
    51,
    12,
    'physical address of the PML4 or PML5 table; bits from MAXPHYADDR up are reserved',
  ),
  RESERVED_60_52: reservedBits(60, 52, 'reserved; setting one is #GP(0)'),
  LAM_U57: bit(61, 'user linear-address masking of bits 62:57; wins over LAM_U48'),
  LAM_U48: bit(62, 'user linear-address masking of bits 62:48'),
} as const;

/**
 * CR3 while CR4.PCIDE = 0.
 * @see Intel SDM vol. 3A, "Use of CR3 with 4-Level Paging and 5-Level Paging and CR4.PCIDE = 0"
 */
export const CR3 = new Layout('CR3 (CR4.PCIDE = 0)', {
  IGNORED_2_0: ignoredBits(2, 0),
  PWT: bit(3, 'page-level write-through, of accesses to the PML4 or PML5 table'),
  PCD: bit(4, 'page-level cache disable, of accesses to the PML4 or PML5 table'),
  IGNORED_11_5: ignoredBits(11, 5),
  ...CR3_HIGH,
  RESERVED_63: reservedBits(63, 63, 'reserved without PCIDs; setting it is #GP(0)'),
});

/**
 * CR3 while CR4.PCIDE = 1. Bit 63 exists in the operand of MOV to CR3 only and is never loaded.
 * @see Intel SDM vol. 3A, "Use of CR3 with 4-Level Paging and 5-Level Paging and CR4.PCIDE = 1"
 */
export const CR3_PCIDE = new Layout('CR3 (CR4.PCIDE = 1)', {
  PCID: bits(11, 0, 'process-context identifier'),
  ...CR3_HIGH,
  NO_FLUSH: bit(63, "MOV to CR3 only, not loaded: keep the new PCID's cached translations"),
});

/** @see Intel SDM vol. 3A, "Control Registers", CR4 */
export const CR4 = new Layout('CR4', {
  VME: bit(0, 'virtual-8086 mode extensions'),
  PVI: bit(1, 'protected-mode virtual interrupts'),
  TSD: bit(2, 'time-stamp disable: RDTSC at CPL 0 only'),
  DE: bit(3, 'debugging extensions'),
  PSE: bit(4, 'page size extensions; 32-bit paging only'),
  PAE: bit(5, 'physical address extension; must be 1 in IA-32e mode'),
  MCE: bit(6, 'machine-check enable'),
  PGE: bit(7, 'page global enable'),
  PCE: bit(8, 'performance-monitoring counter enable: RDPMC at any CPL'),
  OSFXSR: bit(9, 'operating system supports FXSAVE and FXRSTOR'),
  OSXMMEXCPT: bit(10, 'operating system supports unmasked SIMD floating-point exceptions'),
  UMIP: bit(11, 'user-mode instruction prevention'),
  LA57: bit(12, '57-bit linear addresses: 5-level paging'),
  VMXE: bit(13, 'VMX enable; Intel only'),
  SMXE: bit(14, 'SMX enable; Intel only'),
  RESERVED_15: reservedBits(15, 15, 'reserved; setting it is #GP(0)'),
  FSGSBASE: bit(16, 'RDFSBASE, WRFSBASE, RDGSBASE and WRGSBASE'),
  PCIDE: bit(17, 'process-context identifiers'),
  OSXSAVE: bit(18, 'XSAVE and processor extended states'),
  KL: bit(19, 'key locker; Intel only'),
  SMEP: bit(20, 'supervisor-mode execution prevention'),
  SMAP: bit(21, 'supervisor-mode access prevention'),
  PKE: bit(22, 'protection keys of user-mode pages: PKRU'),
  CET: bit(23, 'control-flow enforcement; needs CR0.WP'),
  PKS: bit(24, 'protection keys of supervisor-mode pages: IA32_PKRS; Intel only'),
  UINTR: bit(25, 'user interrupts; Intel only'),
  RESERVED_26: reservedBits(26, 26, 'reserved; setting it is #GP(0)'),
  LASS: bit(27, 'linear-address-space separation; Intel only'),
  LAM_SUP: bit(28, 'supervisor linear-address masking; Intel only'),
  RESERVED_31_29: reservedBits(31, 29, 'reserved; setting one is #GP(0)'),
  FRED: bit(32, 'flexible return and event delivery'),
  RESERVED_63_33: reservedBits(63, 33, 'reserved; setting one is #GP(0)'),
});

/**
 * IA32_EFER, MSR C0000080H. The bits from 12 up exist on AMD processors only.
 * @see Intel SDM vol. 3A, "Extended Feature Enable Register"
 * @see AMD APM vol. 2, "Extended Feature Enable Register (EFER)"
 */
export const EFER = new Layout('IA32_EFER', {
  SCE: bit(0, 'SYSCALL enable'),
  RESERVED_7_1: reservedBits(7, 1),
  LME: bit(8, 'IA-32e mode (long mode) enable'),
  RESERVED_9: reservedBits(9, 9),
  LMA: bit(10, 'IA-32e mode active; read-only'),
  NXE: bit(11, 'execute-disable enable: bit 63 of entries is XD, otherwise reserved'),
  SVME: bit(12, 'secure virtual machine enable; AMD only'),
  LMSLE: bit(13, 'long mode segment limit enable; AMD only'),
  FFXSR: bit(14, 'fast FXSAVE and FXRSTOR; AMD only'),
  TCE: bit(15, 'translation cache extension: INVLPG keeps unrelated upper-level entries; AMD only'),
  RESERVED_16: reservedBits(16, 16),
  MCOMMIT: bit(17, 'MCOMMIT instruction enable; AMD only'),
  INTWB: bit(18, 'interruptible WBINVD and WBNOINVD; AMD only'),
  RESERVED_19: reservedBits(19, 19),
  UAIE: bit(20, 'upper address ignore enable: bits 63:57 of data addresses are ignored; AMD only'),
  AIBRSE: bit(21, 'automatic IBRS enable; AMD only'),
  RESERVED_63_22: reservedBits(63, 22),
});

/** @see Intel SDM vol. 3A, "System Flags and Fields in the EFLAGS Register" */
export const RFLAGS = new Layout('RFLAGS', {
  CF: bit(0, 'carry'),
  ALWAYS_1: bit(1, 'always 1'),
  PF: bit(2, 'parity'),
  RESERVED_3: reservedBits(3, 3, 'always 0'),
  AF: bit(4, 'auxiliary carry'),
  RESERVED_5: reservedBits(5, 5, 'always 0'),
  ZF: bit(6, 'zero'),
  SF: bit(7, 'sign'),
  TF: bit(8, 'trap: single step'),
  IF: bit(9, 'maskable interrupts enabled'),
  DF: bit(10, 'direction'),
  OF: bit(11, 'overflow'),
  IOPL: bits(13, 12, 'I/O privilege level'),
  NT: bit(14, 'nested task'),
  RESERVED_15: reservedBits(15, 15, 'always 0'),
  RF: bit(16, 'resume: no instruction breakpoint on the next instruction'),
  VM: bit(17, 'virtual-8086 mode'),
  AC: bit(18, 'alignment check at CPL 3; below CPL 3 lets explicit data accesses through SMAP'),
  VIF: bit(19, 'virtual interrupt flag'),
  VIP: bit(20, 'virtual interrupt pending'),
  ID: bit(21, 'CPUID available'),
  RESERVED_63_22: reservedBits(63, 22, 'always 0'),
});

/** The names `AD0` … `WD15`: access disable and write disable of each of the 16 protection keys. */
type KeyRightsName = `${'AD' | 'WD'}${number}` | 'RESERVED_63_32';

function keyRightsFields(pages: string): Record<KeyRightsName, FieldDeclaration> {
  const fields: Record<string, FieldDeclaration> = {
    RESERVED_63_32: reservedBits(63, 32, 'reserved; a write of 1 is #GP(0)'),
  };
  for (let key = 0; key < 16; key++) {
    fields[`AD${key}`] = bit(2 * key, `no data access to ${pages} pages with key ${key}`);
    fields[`WD${key}`] = bit(2 * key + 1, `no data write to ${pages} pages with key ${key}`);
  }
  return fields as Record<KeyRightsName, FieldDeclaration>;
}

/** The protection-key rights of user-mode pages. @see Intel SDM vol. 3A, "Protection Keys" */
export const PKRU = new Layout<KeyRightsName>('PKRU', keyRightsFields('user-mode'));

/** IA32_PKRS, MSR 6E1H: the rights of supervisor-mode pages. @see Intel SDM vol. 3A, "Protection Keys" */
export const PKRS = new Layout<KeyRightsName>('IA32_PKRS', keyRightsFields('supervisor-mode'));

/** IA32_PAT, MSR 277H. @see Intel SDM vol. 3A, "IA32_PAT MSR" */
export const PAT = new Layout('IA32_PAT', {
  PA0: bits(2, 0, 'memory type for PAT=0 PCD=0 PWT=0'),
  RESERVED_7_3: reservedBits(7, 3),
  PA1: bits(10, 8, 'memory type for PAT=0 PCD=0 PWT=1'),
  RESERVED_15_11: reservedBits(15, 11),
  PA2: bits(18, 16, 'memory type for PAT=0 PCD=1 PWT=0'),
  RESERVED_23_19: reservedBits(23, 19),
  PA3: bits(26, 24, 'memory type for PAT=0 PCD=1 PWT=1'),
  RESERVED_31_27: reservedBits(31, 27),
  PA4: bits(34, 32, 'memory type for PAT=1 PCD=0 PWT=0'),
  RESERVED_39_35: reservedBits(39, 35),
  PA5: bits(42, 40, 'memory type for PAT=1 PCD=0 PWT=1'),
  RESERVED_47_43: reservedBits(47, 43),
  PA6: bits(50, 48, 'memory type for PAT=1 PCD=1 PWT=0'),
  RESERVED_55_51: reservedBits(55, 51),
  PA7: bits(58, 56, 'memory type for PAT=1 PCD=1 PWT=1'),
  RESERVED_63_59: reservedBits(63, 59),
});

/** IA32_PAT after power up and reset. @see Intel SDM vol. 3A, "Programming the PAT" */
export const PAT_AT_RESET = 0x0007_0406_0007_0406n;

/** IA32_MTRRCAP, MSR FEH, read-only. @see Intel SDM vol. 3A, "MTRR Feature Identification" */
export const MTRR_CAP = new Layout('IA32_MTRRCAP', {
  VCNT: bits(7, 0, 'number of variable-range registers'),
  FIX: bit(8, 'fixed-range registers exist'),
  RESERVED_9: reservedBits(9, 9),
  WC: bit(10, 'the write-combining type exists'),
  SMRR: bit(11, 'system-management range registers exist'),
  PRMRR: bit(12, 'processor-reserved-memory range registers exist'),
  RESERVED_63_13: reservedBits(63, 13),
});

/** IA32_MTRR_DEF_TYPE, MSR 2FFH. @see Intel SDM vol. 3A, "IA32_MTRR_DEF_TYPE MSR" */
export const MTRR_DEF_TYPE = new Layout('IA32_MTRR_DEF_TYPE', {
  TYPE: bits(7, 0, 'memory type of physical addresses that no MTRR covers'),
  RESERVED_9_8: reservedBits(9, 8),
  FE: bit(10, 'fixed-range registers enabled'),
  E: bit(11, 'MTRRs enabled; if 0 all physical memory is UC'),
  RESERVED_63_12: reservedBits(63, 12),
});

/** IA32_MTRR_PHYSBASEn, MSR 200H + 2n. @see Intel SDM vol. 3A, "Variable Range MTRRs" */
export const MTRR_PHYSBASE = new Layout('IA32_MTRR_PHYSBASEn', {
  TYPE: bits(7, 0, 'memory type of the range'),
  RESERVED_11_8: reservedBits(11, 8),
  BASE: addressBits(51, 12, 'base address; bits from MAXPHYADDR up are reserved'),
  RESERVED_63_52: reservedBits(63, 52),
});

/** IA32_MTRR_PHYSMASKn, MSR 201H + 2n. @see Intel SDM vol. 3A, "Variable Range MTRRs" */
export const MTRR_PHYSMASK = new Layout('IA32_MTRR_PHYSMASKn', {
  RESERVED_10_0: reservedBits(10, 0),
  V: bit(11, 'the register pair is valid'),
  MASK: addressBits(51, 12, 'an address belongs to the range if address AND mask = base AND mask'),
  RESERVED_63_52: reservedBits(63, 52),
});

/** A fixed-range MTRR: the types of eight ranges, lowest first. @see Intel SDM vol. 3A, "Fixed Range MTRRs" */
export const MTRR_FIXED = new Layout('fixed-range MTRR', {
  TYPE0: bits(7, 0, 'memory type of the first (lowest) eighth'),
  TYPE1: bits(15, 8, 'memory type of the second eighth'),
  TYPE2: bits(23, 16, 'memory type of the third eighth'),
  TYPE3: bits(31, 24, 'memory type of the fourth eighth'),
  TYPE4: bits(39, 32, 'memory type of the fifth eighth'),
  TYPE5: bits(47, 40, 'memory type of the sixth eighth'),
  TYPE6: bits(55, 48, 'memory type of the seventh eighth'),
  TYPE7: bits(63, 56, 'memory type of the last (highest) eighth'),
});

/**
 * What a page fault pushes. The error code is 32 bits; bits 63:32 of the pushed word are 0.
 * @see Intel SDM vol. 3A, "Page-Fault Exceptions"
 * @see AMD APM vol. 2, "#PF—Page-Fault Exception (Vector 14)" for RMP
 */
export const PAGE_FAULT_ERROR = new Layout('page-fault error code', {
  P: bit(0, 'a translation was present: 1 a protection or reserved-bit violation, 0 a not-present entry'),
  WR: bit(1, 'the access was a write'),
  US: bit(2, 'the access was made in user mode'),
  RSVD: bit(3, 'a reserved bit was 1 in an entry with P = 1'),
  ID: bit(4, 'the access was an instruction fetch (reported if EFER.NXE or CR4.SMEP)'),
  PK: bit(5, 'protection-key rights forbade the access'),
  SS: bit(6, 'the access was a shadow-stack access'),
  HLAT: bit(7, 'the fault came from HLAT paging; Intel only'),
  RESERVED_14_8: reservedBits(14, 8),
  SGX: bit(15, 'violation of an SGX access-control requirement; Intel only'),
  RESERVED_30_16: reservedBits(30, 16),
  RMP: bit(31, 'violation of the reverse map table (SEV-SNP); AMD only'),
  RESERVED_63_32: reservedBits(63, 32),
});

/** The first 8 bytes of an INVPCID descriptor. @see Intel SDM vol. 2A, "INVPCID—Invalidate Process-Context Identifier" */
export const INVPCID_LOW = new Layout('INVPCID descriptor, bytes 0-7', {
  PCID: bits(11, 0, 'process-context identifier'),
  RESERVED_63_12: reservedBits(63, 12, 'must be zero, otherwise #GP(0)'),
});

/** The last 8 bytes of an INVPCID descriptor. @see Intel SDM vol. 2A, "INVPCID—Invalidate Process-Context Identifier" */
export const INVPCID_HIGH = new Layout('INVPCID descriptor, bytes 8-15', {
  LINEAR_ADDRESS: addressBits(63, 0, 'linear address; used by type 0 only, which wants it canonical'),
});
