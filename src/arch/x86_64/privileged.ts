/**
 * The instructions that change or invalidate translation, executed on an MMU: operand checks first, then the new
 * register value, then what it drops. A refused step changes nothing and is a value, never an exception.
 * Left out: fetching the instruction and its memory operand (an INVPCID descriptor is given as its two words), VMX and
 * SVM intercepts, INVLPGB and INVLPGA.
 */
import { fromHalves, highHalf, lowHalf } from '../../base/u64.ts';
import {
  type ControlRegisters,
  movToCr0 as checkCr0,
  movToCr3 as checkCr3,
  movToCr4 as checkCr4,
  writeEfer as checkEfer,
  wrpkru as checkWrpkru,
  clacStac,
  generalProtection,
  invalidOpcode,
  type PrivilegedFault,
  type RegisterWrite,
} from './control-registers.ts';
import type { CpuFeatures } from './features.ts';
import { applyFlush, invlpg as dropAddress, invpcid as dropPcid, FlushEvent } from './invalidation.ts';
import type { X86Mmu } from './mmu.ts';
import { Msr, msrWriteFlushes, writeMsr } from './model-specific-registers.ts';
import { CR4, INVPCID_LOW } from './registers.ts';

export type { PrivilegedFault } from './control-registers.ts';

/** Operands are whole 64-bit registers: a number that is none is a mistake of the caller, not an operand to refuse. */
function checkOperand(name: string, value: bigint): void {
  if (BigInt.asUintN(64, value) !== value) {
    throw new RangeError(`${name} is not an unsigned number of 64 bits: ${value}`);
  }
}

/** The control registers of an MMU as 64-bit words. */
export function controlRegisters({ state }: X86Mmu): ControlRegisters {
  return {
    cr0: fromHalves(0, state.cr0),
    cr3: fromHalves(state.cr3Hi, state.cr3Lo),
    cr4: fromHalves(state.cr4Hi, state.cr4),
    efer: fromHalves(0, state.efer),
  };
}

/** Stores an accepted value, then drops what it drops. */
function commit(
  mmu: X86Mmu,
  write: RegisterWrite,
  event: FlushEvent,
  store: (value: bigint) => void,
): PrivilegedFault | null {
  if (write.fault !== null) return write.fault;
  store(write.value);
  mmu.updateControls();
  applyFlush(mmu, event, write.flush);
  return null;
}

/**
 * MOV to CR0. @returns null, or the fault with nothing changed
 * @throws RangeError when the operand is not a 64-bit word; so do all functions of this file
 */
export function movToCr0(mmu: X86Mmu, operand: bigint, cpl = 0): PrivilegedFault | null {
  checkOperand('operand of MOV to CR0', operand);
  return commit(mmu, checkCr0(controlRegisters(mmu), mmu.features, operand, cpl), FlushEvent.Cr0, (value) => {
    mmu.state.cr0 = lowHalf(value);
  });
}

/** MOV to CR3. @returns null, or the fault with nothing changed */
export function movToCr3(mmu: X86Mmu, operand: bigint, cpl = 0): PrivilegedFault | null {
  checkOperand('operand of MOV to CR3', operand);
  return commit(mmu, checkCr3(controlRegisters(mmu), mmu.features, operand, cpl), FlushEvent.Cr3, (value) => {
    mmu.state.cr3Hi = highHalf(value);
    mmu.state.cr3Lo = lowHalf(value);
  });
}

/** MOV to CR4. @returns null, or the fault with nothing changed */
export function movToCr4(mmu: X86Mmu, operand: bigint, cpl = 0): PrivilegedFault | null {
  checkOperand('operand of MOV to CR4', operand);
  return commit(mmu, checkCr4(controlRegisters(mmu), mmu.features, operand, cpl), FlushEvent.Cr4, (value) => {
    mmu.state.cr4Hi = highHalf(value);
    mmu.state.cr4 = lowHalf(value);
  });
}

/** WRPKRU with EAX, ECX and EDX. @returns null, or the fault with nothing changed */
export function wrpkru(mmu: X86Mmu, eax: number, ecx = 0, edx = 0): PrivilegedFault | null {
  const write = checkWrpkru(controlRegisters(mmu), eax, ecx, edx);
  if (write.fault !== null) return write.fault;
  mmu.state.pkru = lowHalf(write.value);
  mmu.updateControls();
  return null;
}

/** WRMSR to IA32_EFER, IA32_PKRS, IA32_PAT or an MTRR. @returns null, or the fault with nothing changed */
export function wrmsr(mmu: X86Mmu, address: number, value: bigint, cpl = 0): PrivilegedFault | null {
  checkOperand('value of WRMSR', value);
  const { state, features } = mmu;
  if (address === Msr.IA32_EFER) {
    const write = checkEfer(controlRegisters(mmu), features, value, cpl);
    if (write.fault !== null) return write.fault;
    state.efer = lowHalf(write.value);
  } else {
    const before = { ...state.memoryTypes, pkrs: fromHalves(0, state.pkrs) };
    const write = writeMsr(before, features, address, value, cpl);
    if (write.fault !== null) return write.fault;
    const { pkrs, ...memoryTypes } = write.registers;
    state.pkrs = lowHalf(pkrs);
    state.memoryTypes = memoryTypes;
  }
  mmu.updateControls();
  if (msrWriteFlushes(features, address)) mmu.dropAll();
  return null;
}

/** STAC and CLAC: RFLAGS.AC set or cleared. @returns null, or the fault with nothing changed */
export function setAlignmentCheck(mmu: X86Mmu, on: boolean, cpl = 0): PrivilegedFault | null {
  const refused = clacStac(mmu.features, cpl);
  if (refused !== null) return refused.fault;
  mmu.setAlignmentCheck(on);
  return null;
}

/**
 * INVLPG. Any address is accepted; a non-canonical one drops nothing.
 * @see Intel SDM vol. 2A, "INVLPG—Invalidate TLB Entries"
 */
export function invlpg(mmu: X86Mmu, address: bigint, cpl = 0): PrivilegedFault | null {
  checkOperand('address of INVLPG', address);
  if (cpl !== 0) return generalProtection('the current privilege level is not 0').fault;
  dropAddress(mmu, highHalf(address), lowHalf(address));
  return null;
}

/** Width against which the linear address in an INVPCID descriptor is held. */
function operandWidth(features: CpuFeatures, la57Enabled: boolean): 48 | 57 {
  const wide = features.operandCanonicality === 'maximum' ? features.la57 : la57Enabled;
  return wide ? 57 : 48;
}

/**
 * INVPCID. Linear-address masking does not apply to the address in the descriptor.
 * @param type the whole register operand @param low bytes 0-7 of the descriptor @param address bytes 8-15
 * @see Intel SDM vol. 2A, "INVPCID—Invalidate Process-Context Identifier"
 */
export function invpcid(
  mmu: X86Mmu,
  type: bigint,
  low: bigint,
  address: bigint,
  cpl = 0,
): PrivilegedFault | null {
  checkOperand('INVPCID type', type);
  checkOperand('INVPCID descriptor, bytes 0-7', low);
  checkOperand('INVPCID descriptor, bytes 8-15', address);
  if (!mmu.features.invpcid) return invalidOpcode('INVPCID needs CPUID.(7,0):EBX.INVPCID').fault;
  const cr4 = fromHalves(mmu.state.cr4Hi, mmu.state.cr4);
  const rule = invpcidRule(
    type,
    low,
    address,
    cpl,
    CR4.has(cr4, 'PCIDE'),
    operandWidth(mmu.features, CR4.has(cr4, 'LA57')),
  );
  if (rule !== null) return generalProtection(rule).fault;
  dropPcid(mmu, Number(type), Number(INVPCID_LOW.get(low, 'PCID')), highHalf(address), lowHalf(address));
  return null;
}

/** The rule of INVPCID that is broken, null when none is. */
function invpcidRule(
  type: bigint,
  low: bigint,
  address: bigint,
  cpl: number,
  pcide: boolean,
  width: number,
): string | null {
  if (cpl !== 0) return 'the current privilege level is not 0';
  if (type > 3n) return 'INVPCID type is not 0 to 3';
  if (INVPCID_LOW.has(low, 'RESERVED_63_12')) return 'INVPCID descriptor bits 63:12 must be 0';
  if (type <= 1n && !pcide && INVPCID_LOW.has(low, 'PCID')) return 'INVPCID with a PCID needs CR4.PCIDE = 1';
  if (type === 0n && BigInt.asUintN(64, BigInt.asIntN(width, address)) !== address) {
    return 'INVPCID type 0 needs a canonical address';
  }
  return null;
}
