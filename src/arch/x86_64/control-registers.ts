/**
 * Writes to the control registers that translation depends on: which values each instruction refuses, what it loads,
 * and which cached translations it drops. Pure functions of (state, value); `privileged.ts` applies them to an MMU.
 * The processor is in 64-bit mode. Left out: VMX fixed bits, SMM, CR8, and the effects of bits translation never reads.
 * @see Intel SDM vol. 2B, "MOV—Move to/from Control Registers"
 * @see Intel SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"
 * @see AMD APM vol. 2, "TLB Management"
 */
import { maskOf } from '../../base/u64.ts';
import type { CpuFeatures } from './features.ts';
import { CR0, CR3, CR3_PCIDE, CR4, EFER } from './registers.ts';

/** The exceptions a privileged step can raise. Both leave every register as it was. */
export interface PrivilegedFault {
  /** 13 #GP, 6 #UD. */
  readonly vector: 13 | 6;
  /** #GP pushes 0; #UD pushes none. */
  readonly errorCode: 0 | null;
  /** The rule of the manual that was broken. */
  readonly rule: string;
}

/** Which cached translations a register write must drop. */
export type FlushScope =
  | { readonly kind: 'none' }
  /** Entries of one PCID, not global ones: MOV to CR3. */
  | { readonly kind: 'pcid'; readonly pcid: number }
  /** Entries of one PCID, global ones included: CR4.SMEP set, CR4.PAE changed. */
  | { readonly kind: 'pcid-and-global'; readonly pcid: number }
  /** Everything, for all PCIDs, global ones included. */
  | { readonly kind: 'everything' };

/** What an accepted write does. */
interface AcceptedWrite {
  readonly fault: null;
  /** What the register holds afterwards. */
  readonly value: bigint;
  readonly flush: FlushScope;
}
export interface RefusedWrite {
  readonly fault: PrivilegedFault;
}
export type RegisterWrite = AcceptedWrite | RefusedWrite;

/** The registers that the rules look at. */
export interface ControlRegisters {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
}

/** A rule and whether the attempted write breaks it. */
type Rule = readonly [broken: boolean, rule: string];

const NO_FLUSH: FlushScope = { kind: 'none' };
const EVERYTHING: FlushScope = { kind: 'everything' };

/** #GP(0), citing the rule. */
export const generalProtection = (rule: string): RefusedWrite => ({
  fault: { vector: 13, errorCode: 0, rule },
});
/** #UD, citing the rule. */
export const invalidOpcode = (rule: string): RefusedWrite => ({
  fault: { vector: 6, errorCode: null, rule },
});
const accept = (value: bigint, flush: FlushScope = NO_FLUSH): AcceptedWrite => ({
  fault: null,
  value,
  flush,
});

function firstBroken(rules: readonly Rule[]): RefusedWrite | null {
  const found = rules.find(([broken]) => broken);
  return found === undefined ? null : generalProtection(found[1]);
}

const PRIVILEGE: string = 'the current privilege level is not 0';

/** The PCID that cached translations are tagged with: CR3[11:0] with CR4.PCIDE, otherwise 0. */
export const currentPcid = (state: ControlRegisters): number =>
  CR4.has(state.cr4, 'PCIDE') ? Number(CR3_PCIDE.get(state.cr3, 'PCID')) : 0;

/**
 * MOV to CR0. Reserved bits 28:19, 17 and 15:6 are not stored and ET stays 1; that is no fault.
 */
export function movToCr0(
  state: ControlRegisters,
  features: CpuFeatures,
  operand: bigint,
  cpl: number,
): RegisterWrite {
  const has = (name: 'PE' | 'PG' | 'CD' | 'NW' | 'WP'): boolean => CR0.has(operand, name);
  const refused = firstBroken([
    [cpl !== 0, PRIVILEGE],
    [CR0.has(operand, 'RESERVED_63_32'), 'CR0[63:32] must be 0'],
    [has('PG') && !has('PE'), 'CR0.PG = 1 needs CR0.PE = 1'],
    [has('NW') && !has('CD'), 'CR0.NW = 1 needs CR0.CD = 1'],
    [
      CR0.has(state.cr0, 'PG') && !has('PG') && EFER.has(state.efer, 'LMA'),
      'CR0.PG cannot be cleared in 64-bit mode',
    ],
    [!has('PG') && CR4.has(state.cr4, 'PCIDE'), 'CR0.PG cannot be cleared while CR4.PCIDE = 1'],
    [!has('WP') && CR4.has(state.cr4, 'CET'), 'CR0.WP cannot be cleared while CR4.CET = 1'],
    [
      has('PG') && EFER.has(state.efer, 'LME') && !CR4.has(state.cr4, 'PAE'),
      'CR0.PG = 1 with EFER.LME = 1 needs CR4.PAE = 1',
    ],
  ]);
  if (refused !== null) return refused;
  const ignored = CR0.mask('RESERVED_28_19', 'RESERVED_17', 'RESERVED_15_6');
  const value = (operand & ~ignored) | CR0.mask('ET');
  // On Intel clearing PG drops everything, on AMD any change of it. Setting or clearing WP drops nothing: it is looked at when an access is checked, not when an entry is cached.
  const pagingChanged = CR0.has(state.cr0 ^ operand, 'PG');
  return accept(value, pagingChanged && (!has('PG') || features.vendor === 'amd') ? EVERYTHING : NO_FLUSH);
}

/** Bits of the operand of MOV to CR3 that must be 0: from MAXPHYADDR up, less what LAM and PCIDs give a meaning. */
function cr3ReservedBits(features: CpuFeatures, pcide: boolean): bigint {
  let reserved = maskOf(63, features.maxPhysAddr);
  if (features.lam) reserved &= ~CR3.mask('LAM_U57', 'LAM_U48');
  if (pcide) reserved &= ~CR3_PCIDE.mask('NO_FLUSH');
  return reserved;
}

/**
 * MOV to CR3. With CR4.PCIDE = 0 the ignored bits are stored as written (software reads them back, and setting
 * CR4.PCIDE later looks at them). Bit 63 is never stored.
 */
export function movToCr3(
  state: ControlRegisters,
  features: CpuFeatures,
  operand: bigint,
  cpl: number,
): RegisterWrite {
  const pcide = CR4.has(state.cr4, 'PCIDE');
  const refused = firstBroken([
    [cpl !== 0, PRIVILEGE],
    [(operand & cr3ReservedBits(features, pcide)) !== 0n, 'a reserved bit of CR3 is 1'],
  ]);
  if (refused !== null) return refused;
  const keep = pcide && CR3_PCIDE.has(operand, 'NO_FLUSH');
  const pcid = pcide ? Number(CR3_PCIDE.get(operand, 'PCID')) : 0;
  return accept(operand & ~CR3_PCIDE.mask('NO_FLUSH'), keep ? NO_FLUSH : { kind: 'pcid', pcid });
}

type Cr4Bit = Parameters<typeof CR4.has>[1];

/** Which feature each bit of CR4 needs. Bits that are not named here every 64-bit processor has. */
function missingCr4Bits(features: CpuFeatures): Cr4Bit[] {
  const needs: readonly (readonly [Cr4Bit, boolean])[] = [
    ['PGE', features.pge],
    ['UMIP', features.umip],
    ['LA57', features.la57],
    ['VMXE', features.vmx],
    ['SMXE', features.smx],
    ['FSGSBASE', features.fsgsbase],
    ['PCIDE', features.pcid],
    ['OSXSAVE', features.xsave],
    ['KL', features.keyLocker],
    ['SMEP', features.smep],
    ['SMAP', features.smap],
    ['PKE', features.pku],
    ['CET', features.cetSs || features.cetIbt],
    ['PKS', features.pks],
    ['UINTR', features.uintr],
    ['LASS', features.lass],
    ['LAM_SUP', features.lam],
    ['FRED', features.fred],
  ];
  return needs.filter(([, present]) => !present).map(([name]) => name);
}

/** Bits of CR4 that must be 0 on this processor: the reserved ones and those of features it lacks. */
function cr4ReservedBits(features: CpuFeatures): bigint {
  return CR4.mask(
    'RESERVED_15',
    'RESERVED_26',
    'RESERVED_31_29',
    'RESERVED_63_33',
    ...missingCr4Bits(features),
  );
}

/**
 * What a change of CR4 drops on an Intel processor.
 * @see Intel SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"
 */
function flushOfCr4ChangeIntel(state: ControlRegisters, operand: bigint): FlushScope {
  const changed = state.cr4 ^ operand;
  if (CR4.has(changed, 'PGE')) return EVERYTHING;
  if (CR4.has(state.cr4, 'PCIDE') && !CR4.has(operand, 'PCIDE')) return EVERYTHING;
  const smepSet = CR4.has(changed, 'SMEP') && CR4.has(operand, 'SMEP');
  if (CR4.has(changed, 'PAE') || smepSet) return { kind: 'pcid-and-global', pcid: currentPcid(state) };
  return NO_FLUSH;
}

/**
 * What a change of CR4 drops on an AMD processor: more bits count than on Intel, but SMEP does not.
 * @see AMD APM vol. 2, "TLB Management", "Implicit Invalidations"
 */
function flushOfCr4ChangeAmd(state: ControlRegisters, operand: bigint): FlushScope {
  const changed = state.cr4 ^ operand;
  const either = (changed & CR4.mask('PAE', 'PSE', 'PGE')) !== 0n;
  const pkeSet = CR4.has(changed, 'PKE') && CR4.has(operand, 'PKE');
  const pcideCleared = CR4.has(changed, 'PCIDE') && !CR4.has(operand, 'PCIDE');
  return either || pkeSet || pcideCleared ? EVERYTHING : NO_FLUSH;
}

/** MOV to CR4. */
export function movToCr4(
  state: ControlRegisters,
  features: CpuFeatures,
  operand: bigint,
  cpl: number,
): RegisterWrite {
  const longMode = EFER.has(state.efer, 'LMA');
  const sets = (name: Cr4Bit): boolean => CR4.has(operand, name) && !CR4.has(state.cr4, name);
  const refused = firstBroken([
    [cpl !== 0, PRIVILEGE],
    [(operand & cr4ReservedBits(features)) !== 0n, 'a reserved bit of CR4 is 1'],
    [longMode && !CR4.has(operand, 'PAE'), 'CR4.PAE cannot be cleared in IA-32e mode'],
    [longMode && CR4.has(state.cr4 ^ operand, 'LA57'), 'CR4.LA57 cannot be changed in IA-32e mode'],
    [sets('PCIDE') && !longMode, 'CR4.PCIDE can be set in IA-32e mode only'],
    [
      sets('PCIDE') && (state.cr3 & CR3_PCIDE.mask('PCID')) !== 0n,
      'CR4.PCIDE cannot be set while CR3[11:0] is not 000H',
    ],
    [CR4.has(operand, 'CET') && !CR0.has(state.cr0, 'WP'), 'CR4.CET = 1 needs CR0.WP = 1'],
  ]);
  if (refused !== null) return refused;
  const flushOf = features.vendor === 'amd' ? flushOfCr4ChangeAmd : flushOfCr4ChangeIntel;
  return accept(operand, flushOf(state, operand));
}

type EferBit = Parameters<typeof EFER.has>[1];

/** Bits of IA32_EFER that must be 0 on this processor. */
function eferReservedBits(features: CpuFeatures): bigint {
  const needs: readonly (readonly [EferBit, boolean])[] = [
    ['NXE', features.nx],
    ['SVME', features.svm],
    ['LMSLE', features.lmsle],
    ['FFXSR', features.ffxsr],
    ['TCE', features.tce],
    ['MCOMMIT', features.mcommit],
    ['INTWB', features.intWbinvd],
    ['UAIE', features.uai],
    ['AIBRSE', features.automaticIbrs],
  ];
  const missing = needs.filter(([, present]) => !present).map(([name]) => name);
  const reserved = EFER.mask('RESERVED_9', 'RESERVED_16', 'RESERVED_19', 'RESERVED_63_22', ...missing);
  // AMD reads bits 7:1 as zero and accepts any value written to them.
  return features.vendor === 'amd' ? reserved : reserved | EFER.mask('RESERVED_7_1');
}

/**
 * WRMSR to IA32_EFER (C0000080H). LMA is read-only: Intel does not look at what is written to it, AMD wants the value it
 * has. A change of NXE drops nothing, so software flushes.
 * @see Intel SDM vol. 3A, "Extended Feature Enable Register"; vol. 2D, "WRMSR—Write to Model Specific Register"
 * @see AMD APM vol. 2, "Extended Feature Enable Register (EFER)"
 */
export function writeEfer(
  state: ControlRegisters,
  features: CpuFeatures,
  operand: bigint,
  cpl: number,
): RegisterWrite {
  const refused = firstBroken([
    [cpl !== 0, PRIVILEGE],
    [(operand & eferReservedBits(features)) !== 0n, 'a reserved bit of IA32_EFER is 1'],
    [
      CR0.has(state.cr0, 'PG') && EFER.has(state.efer ^ operand, 'LME'),
      'EFER.LME cannot be changed while CR0.PG = 1',
    ],
    [
      features.vendor === 'amd' && EFER.has(state.efer ^ operand, 'LMA'),
      'EFER.LMA must be written as it is (AMD)',
    ],
  ]);
  if (refused !== null) return refused;
  const lma = EFER.mask('LMA');
  return accept((operand & ~lma & ~EFER.mask('RESERVED_7_1')) | (state.efer & lma));
}

/**
 * WRPKRU, at any privilege level.
 * @see Intel SDM vol. 2D, "WRPKRU—Write Data to User Page Key Register"
 */
export function wrpkru(state: ControlRegisters, eax: number, ecx = 0, edx = 0): RegisterWrite {
  if (!CR4.has(state.cr4, 'PKE')) return invalidOpcode('WRPKRU needs CR4.PKE = 1');
  if (ecx !== 0 || edx !== 0) return generalProtection('WRPKRU needs ECX = 0 and EDX = 0');
  return accept(BigInt(eax >>> 0));
}

/**
 * CLAC and STAC.
 * @see Intel SDM vol. 2A, "CLAC—Clear AC Flag in EFLAGS Register"; vol. 2B, "STAC—Set AC Flag in EFLAGS Register"
 */
export function clacStac(features: CpuFeatures, cpl: number): RefusedWrite | null {
  if (!features.smap) return invalidOpcode('CLAC and STAC need CPUID.(7,0):EBX.SMAP');
  if (cpl > 0) return invalidOpcode('CLAC and STAC are invalid at CPL > 0');
  return null;
}
