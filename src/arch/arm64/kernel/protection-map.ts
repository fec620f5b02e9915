/**
 * Which protection a fresh leaf of a mapping gets. Write implies read; execution alone does not where the processor can
 * refuse the kernel's accesses to execute-only pages as well (FEAT_PAN3, EPAN), and does where it cannot. A private
 * writable mapping starts without Write, a shared one starts clean.
 * Left out: permission overlays (protection keys) and guarded control stacks, which no processor here has.
 * @see Linux arch/arm64/mm/mmap.c, `protection_map`, `adjust_protection_map`, `vm_get_page_prot`
 */
import { ENTRY_MEMORY_TYPE_SHIFT, EntryFlag } from '../../paging-format.ts';
import { VmAccess } from '../../vm-access.ts';
import { MemoryTypeIndex } from './entry-layout.ts';
import { VM_ARM64_BTI, VMH_MTE } from './mman.ts';

const { Present, Read, Write, User, Exec, Young, Protnone, Guarded } = EntryFlag;
const NONE = Present | Read | Protnone | Young;
const READONLY = Present | Read | User | Young;
const EXECONLY = Present | Exec | Young;
const MEMORY_TYPE = 7 << ENTRY_MEMORY_TYPE_SHIFT;
const DEVICE = MemoryTypeIndex.DeviceNGnRnE << ENTRY_MEMORY_TYPE_SHIFT;
const TAGGED = MemoryTypeIndex.NormalTagged << ENTRY_MEMORY_TYPE_SHIFT;

export interface ProtectionFeatures {
  /** EPAN is in use: a mapping may be execute-only. */
  readonly epan: boolean;
}

/** `vm_get_page_prot`: `EntryFlag` bits. */
export function pageProtection(vmFlags: number, vmFlagsHigh: number, features: ProtectionFeatures): number {
  let flags = accessProtection(vmFlags, features);
  if ((vmFlags & VM_ARM64_BTI) !== 0) flags |= Guarded;
  if ((vmFlagsHigh & VMH_MTE) !== 0) flags |= TAGGED;
  return flags;
}

/** `pgprot_noncached`: Device-nGnRnE memory, never executed. */
export function noncached(protection: number): number {
  return (protection & ~(MEMORY_TYPE | Exec)) | DEVICE;
}

function accessProtection(vmFlags: number, { epan }: ProtectionFeatures): number {
  const access = vmFlags & (VmAccess.Read | VmAccess.Write | VmAccess.Exec);
  if (access === 0) return NONE;
  if (access === VmAccess.Exec && epan) return EXECONLY;
  const exec = (access & VmAccess.Exec) !== 0 ? Exec : 0;
  const sharedWrite = VmAccess.Shared | VmAccess.Write;
  const write = (vmFlags & sharedWrite) === sharedWrite ? Write : 0;
  return READONLY | exec | write;
}
