/**
 * MSR and MRS of the registers that translation and MTE depend on or report in, as 64-bit words by name: how software
 * sets an MMU up. The words are made with the layouts of registers.ts and system-registers.ts.
 * Left out: traps, what EL0 may not do (`mte/execute.ts` has that of the MTE registers), ESR_EL1 and FAR_EL1, which are
 * made of the fault that they report (`fault-code.ts`). PSTATE.PAN, UAO and TCO have setters on the MMU.
 */
import { fromHalves, highHalf, lowHalf } from '../../base/u64.ts';
import type { Arm64Mmu } from './mmu.ts';
import { TAG_REGISTERS } from './mte/execute.ts';

const HALVES = {
  SCTLR_EL1: ['sctlrHi', 'sctlrLo'],
  TCR_EL1: ['tcrHi', 'tcrLo'],
  TCR2_EL1: ['tcr2Hi', 'tcr2Lo'],
  TTBR0_EL1: ['ttbr0Hi', 'ttbr0Lo'],
  TTBR1_EL1: ['ttbr1Hi', 'ttbr1Lo'],
  MAIR_EL1: ['mairHi', 'mairLo'],
  PIR_EL1: ['pirHi', 'pirLo'],
  PIRE0_EL1: ['pire0Hi', 'pire0Lo'],
  POR_EL1: ['porEl1Hi', 'porEl1Lo'],
  POR_EL0: ['porEl0Hi', 'porEl0Lo'],
  PAR_EL1: ['parHi', 'parLo'],
} as const;
type TagRegisterName = 'GCR_EL1' | 'RGSR_EL1' | 'TFSR_EL1' | 'TFSRE0_EL1';
export type SystemRegister = keyof typeof HALVES | TagRegisterName;

const tagRegister = (name: string) => {
  const found = TAG_REGISTERS.find((register) => register.name === name.toLowerCase());
  if (found === undefined) throw new Error(`no register ${name}`);
  return found;
};

const hasHalves = (name: string): name is keyof typeof HALVES => name in HALVES;

/**
 * Writes registers, all before any takes effect. Caches drop nothing, as in hardware: that is TLBI's business. Fields of
 * features that the processor lacks are kept and have no effect; of the MTE registers RES0 bits are not kept.
 * @throws RangeError when a value is no unsigned 64-bit number
 */
export function msr(mmu: Arm64Mmu, values: { readonly [name in SystemRegister]?: bigint }): void {
  const written = Object.entries(values);
  for (const [name, value] of written) {
    if (BigInt.asUintN(64, value) !== value)
      throw new RangeError(`${name}: ${value} is not an unsigned 64-bit number`);
  }
  for (const [name, value] of written) {
    if (hasHalves(name)) {
      const [high, low] = HALVES[name];
      mmu.state[high] = highHalf(value);
      mmu.state[low] = lowHalf(value);
    } else tagRegister(name).write?.(mmu, highHalf(value), lowHalf(value));
  }
  mmu.updateControls();
}

/** Reads a register. */
export function mrs(mmu: Arm64Mmu, name: SystemRegister): bigint {
  if (hasHalves(name)) {
    const [high, low] = HALVES[name];
    return fromHalves(mmu.state[high], mmu.state[low]);
  }
  const register = tagRegister(name);
  return fromHalves(register.high(mmu), register.low(mmu));
}
