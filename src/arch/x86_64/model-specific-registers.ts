/**
 * WRMSR to the model-specific registers that translation and memory types depend on: IA32_PKRS, IA32_PAT and the
 * MTRRs (IA32_EFER is in `control-registers.ts`). Which values are refused, and the set of registers afterwards.
 * On Intel none of them drops a cached translation: software does that (the manual's MTRR and PAT update sequences); on
 * AMD a write to an MTRR empties the TLB.
 * Left out: every other MSR, whose write here is #GP(0) as if it did not exist.
 */
import { maskOf } from '../../base/u64.ts';
import { generalProtection, type RefusedWrite } from './control-registers.ts';
import type { CpuFeatures } from './features.ts';
import { isMtrrType, isPatType, type Mtrrs, patType } from './memory-type.ts';
import { MTRR_CAP, MTRR_DEF_TYPE, MTRR_PHYSBASE, MTRR_PHYSMASK, PKRS } from './registers.ts';

export const Msr = {
  IA32_MTRRCAP: 0xfe,
  IA32_MTRR_PHYSBASE0: 0x200,
  IA32_MTRR_FIX64K_00000: 0x250,
  IA32_MTRR_FIX16K_80000: 0x258,
  IA32_MTRR_FIX16K_A0000: 0x259,
  IA32_MTRR_FIX4K_C0000: 0x268,
  IA32_PAT: 0x277,
  IA32_MTRR_DEF_TYPE: 0x2ff,
  IA32_PKRS: 0x6e1,
  IA32_EFER: 0xc000_0080,
} as const;

/** The registers this file writes. */
export interface MemoryTypeRegisters {
  readonly pat: bigint;
  readonly mtrrs: Mtrrs;
  readonly pkrs: bigint;
}

export type MsrWrite = { readonly fault: null; readonly registers: MemoryTypeRegisters } | RefusedWrite;

/**
 * Does a write to this MSR drop every cached translation?
 * @see AMD APM vol. 2, "TLB Management", "Implicit Invalidations"
 */
export function msrWriteFlushes(features: CpuFeatures, address: number): boolean {
  const variable = address - Msr.IA32_MTRR_PHYSBASE0;
  const isMtrr =
    fixedRangeRegister(address) >= 0 ||
    address === Msr.IA32_MTRR_DEF_TYPE ||
    (variable >= 0 && variable < 2 * features.mtrrVariable);
  return isMtrr && features.vendor === 'amd';
}

/** IA32_MTRRCAP of a processor. @see Intel SDM vol. 3A, "MTRR Feature Identification" */
export const mtrrCapability = (features: CpuFeatures): bigint =>
  MTRR_CAP.encode({ VCNT: features.mtrrVariable, FIX: features.mtrrFixed, WC: features.mtrrVariable > 0 });

/** Position of a fixed-range register in `Mtrrs.fixed`, -1 when the address is none of them. */
function fixedRangeRegister(address: number): number {
  if (address === Msr.IA32_MTRR_FIX64K_00000) return 0;
  if (address === Msr.IA32_MTRR_FIX16K_80000) return 1;
  if (address === Msr.IA32_MTRR_FIX16K_A0000) return 2;
  const page = address - Msr.IA32_MTRR_FIX4K_C0000;
  return page >= 0 && page < 8 ? 3 + page : -1;
}

function writePat(registers: MemoryTypeRegisters, value: bigint): MsrWrite {
  for (let index = 0; index < 8; index++) {
    const whole = Number((value >> BigInt(8 * index)) & 0xffn);
    if (whole > 7 || !isPatType(patType(value, index))) {
      return generalProtection(`IA32_PAT field PA${index} holds the reserved encoding ${whole}`);
    }
  }
  return { fault: null, registers: { ...registers, pat: value } };
}

function writeDefType(registers: MemoryTypeRegisters, value: bigint): MsrWrite {
  if ((value & MTRR_DEF_TYPE.mask('RESERVED_9_8', 'RESERVED_63_12')) !== 0n) {
    return generalProtection('a reserved bit of IA32_MTRR_DEF_TYPE is 1');
  }
  if (!isMtrrType(Number(MTRR_DEF_TYPE.get(value, 'TYPE')))) {
    return generalProtection('IA32_MTRR_DEF_TYPE holds a reserved memory type');
  }
  return { fault: null, registers: { ...registers, mtrrs: { ...registers.mtrrs, defType: value } } };
}

function writeFixed(registers: MemoryTypeRegisters, register: number, value: bigint): MsrWrite {
  for (let field = 0n; field < 8n; field++) {
    if (!isMtrrType(Number((value >> (8n * field)) & 0xffn))) {
      return generalProtection('a fixed-range MTRR holds a reserved memory type');
    }
  }
  const fixed = Array.from({ length: 11 }, (_, at) =>
    at === register ? value : (registers.mtrrs.fixed[at] ?? 0n),
  );
  return { fault: null, registers: { ...registers, mtrrs: { ...registers.mtrrs, fixed } } };
}

function writeVariable(
  registers: MemoryTypeRegisters,
  features: CpuFeatures,
  address: number,
  value: bigint,
): MsrWrite {
  const at = (address - Msr.IA32_MTRR_PHYSBASE0) >> 1;
  const isBase = (address & 1) === 0;
  const reserved =
    maskOf(63, features.maxPhysAddr) |
    (isBase ? MTRR_PHYSBASE.mask('RESERVED_11_8') : MTRR_PHYSMASK.mask('RESERVED_10_0'));
  if ((value & reserved) !== 0n) return generalProtection('a reserved bit of a variable-range MTRR is 1');
  if (isBase && !isMtrrType(Number(MTRR_PHYSBASE.get(value, 'TYPE')))) {
    return generalProtection('a variable-range MTRR holds a reserved memory type');
  }
  const variable = Array.from({ length: Math.max(registers.mtrrs.variable.length, at + 1) }, (_, index) => {
    const old = registers.mtrrs.variable[index] ?? { base: 0n, mask: 0n };
    if (index !== at) return old;
    return isBase ? { base: value, mask: old.mask } : { base: old.base, mask: value };
  });
  return { fault: null, registers: { ...registers, mtrrs: { ...registers.mtrrs, variable } } };
}

/**
 * WRMSR at CPL `cpl`.
 * @see Intel SDM vol. 2D, "WRMSR—Write to Model Specific Register"; vol. 3A, "MTRRs" and "IA32_PAT MSR"
 */
export function writeMsr(
  registers: MemoryTypeRegisters,
  features: CpuFeatures,
  address: number,
  value: bigint,
  cpl: number,
): MsrWrite {
  if (cpl !== 0) return generalProtection('the current privilege level is not 0');
  const fixed = fixedRangeRegister(address);
  if (fixed >= 0 && features.mtrrFixed) return writeFixed(registers, fixed, value);
  const variable = address - Msr.IA32_MTRR_PHYSBASE0;
  if (variable >= 0 && variable < 2 * features.mtrrVariable) {
    return writeVariable(registers, features, address, value);
  }
  if (address === Msr.IA32_MTRR_DEF_TYPE && features.mtrrVariable > 0) return writeDefType(registers, value);
  if (address === Msr.IA32_MTRRCAP) return generalProtection('IA32_MTRRCAP is read-only');
  if (address === Msr.IA32_PAT && features.pat) return writePat(registers, value);
  if (address === Msr.IA32_PKRS && features.pks) {
    if (PKRS.has(value, 'RESERVED_63_32')) return generalProtection('IA32_PKRS[63:32] must be 0');
    return { fault: null, registers: { ...registers, pkrs: value } };
  }
  return generalProtection(`no MSR ${address.toString(16).toUpperCase()}H on this processor`);
}
