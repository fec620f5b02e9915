/**
 * Which protection a fresh leaf of a mapping gets. Write and execute imply read, as the hardware has no bit against
 * reading; a private writable mapping starts without Write, so that the first store makes a copy.
 * @see Linux arch/x86/mm/pgprot.c, `protection_map` and `vm_get_page_prot`
 */
import type { VmFlagBits } from '../../kernel-arch.ts';
import { ENTRY_KEY_MASK, ENTRY_KEY_SHIFT, ENTRY_MEMORY_TYPE_SHIFT, EntryFlag } from '../../paging-format.ts';
import { VmAccess } from '../../vm-access.ts';

/** VM_PKEY_BIT0..3 are bits 32–35 of the flag word, VM_SHADOW_STACK is bit 37: here of its high half. */
export const VMH_PKEY_MASK = 0xf;
export const VMH_SHADOW_STACK = 1 << 5;

const { Present, Read, Write, User, Exec, Young, Protnone, ShadowStack, Dirty } = EntryFlag;
export const NO_VM_FLAGS: VmFlagBits = { flags: 0, flagsHigh: 0 };

/** Linux shows the flag and not the keys, which have a line of their own. VM_PAT, bit 24, is never set by a program. */
export const vmFlagLetters: readonly (readonly [VmFlagBits, string])[] = [
  [{ flags: 0, flagsHigh: VMH_SHADOW_STACK }, 'ss'],
];

/** Everything but _PAGE_CHG_MASK: the memory type is not part of a VMA's protection here. */
export const PROTECTION_MASK = Present | Read | Write | User | Exec | Protnone | ShadowStack | ENTRY_KEY_MASK;

const MEMORY_TYPE = 7 << ENTRY_MEMORY_TYPE_SHIFT;
/** Index of the PAT entry: bit 0 is PWT, bit 1 PCD. */
const UC_MINUS = 2 << ENTRY_MEMORY_TYPE_SHIFT;
const NONE = Present | Read | Protnone | Young;
const READONLY = Present | Read | User | Young;

/** The protection key of a VMA. */
export function vmaPkey(vmFlagsHigh: number): number {
  return vmFlagsHigh & VMH_PKEY_MASK;
}

/** `vm_get_page_prot`: `EntryFlag` bits. */
export function pageProtection(vmFlags: number, vmFlagsHigh: number): number {
  const key = vmaPkey(vmFlagsHigh) << ENTRY_KEY_SHIFT;
  if ((vmFlags & (VmAccess.Read | VmAccess.Write | VmAccess.Exec)) === 0) return NONE | key;
  const exec = (vmFlags & VmAccess.Exec) !== 0 ? Exec : 0;
  const sharedWrite = VmAccess.Shared | VmAccess.Write;
  const write = (vmFlags & sharedWrite) === sharedWrite ? Write : 0;
  return READONLY | exec | write | key;
}

/** `pgprot_noncached`: PCD and not PWT, which Linux sets PAT up to mean UC- for (_PAGE_CACHE_MODE_UC_MINUS). */
export function noncached(protection: number): number {
  return (protection & ~MEMORY_TYPE) | UC_MINUS;
}

/** What `pte_mkwrite(pte, vma)` sets. A shadow-stack leaf is not writable but dirty. */
export function writableFlags(vmFlagsHigh: number): number {
  return (vmFlagsHigh & VMH_SHADOW_STACK) !== 0 ? ShadowStack | Dirty : Write;
}
