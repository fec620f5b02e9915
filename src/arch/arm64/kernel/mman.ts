/**
 * What PROT_ bits and VMA flags of arm64 mean to Linux: branch target identification and memory tagging.
 * Left out: permission overlays (PROT keys) and guarded control stacks, which no processor here has.
 * @see Linux arch/arm64/include/asm/mman.h, `arch_calc_vm_prot_bits`, `arch_calc_vm_flag_bits`, `arch_validate_prot`,
 * `arch_validate_flags`; arch/arm64/include/asm/page.h, `VM_DATA_DEFAULT_FLAGS`; fs/proc/task_mmu.c,
 * `show_smap_vma_flags`
 */
import type { VmFlagBits } from '../../kernel-arch.ts';
import { ENTRY_KEY_MASK, ENTRY_MEMORY_TYPE_SHIFT, EntryFlag } from '../../paging-format.ts';
import { PROT_BTI, PROT_MTE } from '../../user-abi.ts';

/** VM_ARM64_BTI is VM_ARCH_1. */
export const VM_ARM64_BTI = 0x0100_0000;
/** VM_MTE and VM_MTE_ALLOWED are bits 36 and 37 of the flag word: here of its high half. */
export const VMH_MTE = 1 << 4;
export const VMH_MTE_ALLOWED = 1 << 5;

/** PROT_READ, PROT_WRITE, PROT_EXEC and PROT_SEM. */
const PROT_GENERIC = 0xf;

const NO_VM_FLAGS: VmFlagBits = { flags: 0, flagsHigh: 0 };
const BTI_FLAGS: VmFlagBits = { flags: VM_ARM64_BTI, flagsHigh: 0 };
const MTE_FLAGS: VmFlagBits = { flags: 0, flagsHigh: VMH_MTE };
const BTI_MTE_FLAGS: VmFlagBits = { flags: VM_ARM64_BTI, flagsHigh: VMH_MTE };
const MTE_ALLOWED_FLAGS: VmFlagBits = { flags: 0, flagsHigh: VMH_MTE_ALLOWED };

/** What decides: `system_supports_bti` and `system_supports_mte`. */
export interface MmanFeatures {
  readonly bti: boolean;
  readonly mte: boolean;
}

export function validateProt(prot: number, { bti, mte }: MmanFeatures): boolean {
  const known = PROT_GENERIC | (bti ? PROT_BTI : 0) | (mte ? PROT_MTE : 0);
  return (prot & ~known) === 0;
}

export function calcVmProtBits(prot: number, { bti, mte }: MmanFeatures): VmFlagBits {
  const guarded = bti && (prot & PROT_BTI) !== 0;
  const tagged = mte && (prot & PROT_MTE) !== 0;
  if (tagged) return guarded ? BTI_MTE_FLAGS : MTE_FLAGS;
  return guarded ? BTI_FLAGS : NO_VM_FLAGS;
}

/** Only memory that is RAM for certain may have tags. */
export function calcVmFlagBits(memoryBacked: boolean, { mte }: MmanFeatures): VmFlagBits {
  return mte && memoryBacked ? MTE_ALLOWED_FLAGS : NO_VM_FLAGS;
}

export function validateFlags(vmFlagsHigh: number, { mte }: MmanFeatures): boolean {
  return !mte || (vmFlagsHigh & (VMH_MTE | VMH_MTE_ALLOWED)) !== VMH_MTE;
}

/** The flag is there whatever the processor: without MTE nobody asks for it. */
export const dataDefaultFlags = MTE_ALLOWED_FLAGS;
/** VM_ARCH_CLEAR: mprotect without PROT_BTI ends the guard, without PROT_MTE the tags stay. */
export const vmFlagsClear = BTI_FLAGS;

export const vmFlagLetters: readonly (readonly [VmFlagBits, string])[] = [
  [BTI_FLAGS, 'bt'],
  [MTE_FLAGS, 'mt'],
  [MTE_ALLOWED_FLAGS, ''],
];

const MEMORY_TYPE = 7 << ENTRY_MEMORY_TYPE_SHIFT;
const { Present, Read, Write, User, Exec, Protnone, PrivilegedExec, Guarded } = EntryFlag;

/** @see Linux arch/arm64/include/asm/pgtable.h, `pte_modify`: the memory type changes with PROT_MTE */
export const protectionMask =
  Present | Read | Write | User | Exec | Protnone | PrivilegedExec | Guarded | ENTRY_KEY_MASK | MEMORY_TYPE;
