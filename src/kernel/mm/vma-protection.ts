/**
 * `vm_page_prot` and what depends on it. The protection of fresh ptes is derived from the VMA's flags where it is
 * needed instead of being kept beside them.
 * Left out: write notification for soft-dirty tracking and for files that are written back (none is modelled).
 * @see Linux mm/mmap.c `vma_set_page_prot`, mm/internal.h `maybe_mkwrite`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { VmArea } from './vma.ts';
import { VM_ACCESS_FLAGS, VM_SHARED, VM_UFFD_WP, VM_WRITE } from './vma-flags.ts';

/** `vma_wants_writenotify`: must the first write to a shared page be seen? */
export function vmaWantsWriteNotify(vma: VmArea): boolean {
  const shared = VM_SHARED | VM_WRITE;
  return (vma.flags & shared) === shared && (vma.flags & VM_UFFD_WP) !== 0;
}

/** `vm_page_prot`: `EntryFlag` bits of a fresh pte. */
export function vmaPageProtection(vma: VmArea): number {
  const { arch } = vma.mm.kernel;
  const flags = vmaWantsWriteNotify(vma) ? vma.flags & ~VM_SHARED : vma.flags;
  const protection = arch.pageProtection(flags, vma.flagsHigh);
  return vma.ops?.noncached === true ? arch.noncached(protection) : protection;
}

/** `maybe_mkwrite`: what makes the pte writable, nothing when the VMA is not. FOLL_FORCE relies on it. */
export function maybeWritable(vma: VmArea): number {
  if ((vma.flags & VM_WRITE) === 0) return 0;
  return vma.mm.kernel.arch.writableFlags(vma.flags, vma.flagsHigh);
}

/** `vma_is_accessible`: anything but PROT_NONE. */
export function vmaIsAccessible(vma: VmArea): boolean {
  return (vma.flags & VM_ACCESS_FLAGS) !== 0;
}

/** `pte_write` of an entry's flags: a shadow-stack page counts. */
export function entryWritable(flags: number): boolean {
  return (flags & (EntryFlag.Write | EntryFlag.ShadowStack)) !== 0;
}
