/**
 * VM_* flags of a VMA. Bits 31:0 live in `VmArea.flags` and are named `VM_`; bits 63:32 live in `VmArea.flagsHigh` and
 * are named `VMH_` (bit n is 1 << (n - 32) there). Both words are int32, so bit 31 is negative.
 * @see Linux include/linux/mm.h, "vm_flags in vm_area_struct"
 */

export const VM_READ = 0x0000_0001;
export const VM_WRITE = 0x0000_0002;
export const VM_EXEC = 0x0000_0004;
export const VM_SHARED = 0x0000_0008;
/** mprotect may set VM_READ, and so on: VM_MAYx = VM_x << 4. */
export const VM_MAYREAD = 0x0000_0010;
export const VM_MAYWRITE = 0x0000_0020;
export const VM_MAYEXEC = 0x0000_0040;
export const VM_MAYSHARE = 0x0000_0080;
export const VM_GROWSDOWN = 0x0000_0100;
export const VM_UFFD_MISSING = 0x0000_0200;
export const VM_PFNMAP = 0x0000_0400;
export const VM_MAYBE_GUARD = 0x0000_0800;
export const VM_UFFD_WP = 0x0000_1000;
export const VM_LOCKED = 0x0000_2000;
export const VM_IO = 0x0000_4000;
export const VM_SEQ_READ = 0x0000_8000;
export const VM_RAND_READ = 0x0001_0000;
export const VM_DONTCOPY = 0x0002_0000;
export const VM_DONTEXPAND = 0x0004_0000;
export const VM_LOCKONFAULT = 0x0008_0000;
export const VM_ACCOUNT = 0x0010_0000;
export const VM_NORESERVE = 0x0020_0000;
export const VM_HUGETLB = 0x0040_0000;
export const VM_SYNC = 0x0080_0000;
/** Of the architecture, where it has one: BTI on arm64. */
export const VM_ARCH_1 = 0x0100_0000;
export const VM_WIPEONFORK = 0x0200_0000;
export const VM_DONTDUMP = 0x0400_0000;
export const VM_SOFTDIRTY = 0x0800_0000;
export const VM_MIXEDMAP = 0x1000_0000;
export const VM_HUGEPAGE = 0x2000_0000;
export const VM_NOHUGEPAGE = 0x4000_0000;
export const VM_MERGEABLE = 0x8000_0000 | 0;

// Bits 36–38 are the architecture's (tags, shadow stacks): ask `KernelArch` for them.

/** Bits 32–35: the protection key. */
const VMH_PKEY_SHIFT = 0;
const VMH_PKEY_MASK = 0xf;
/** @public */
export const VMH_ALLOW_ANY_UNCACHED = 1 << 7;
export const VMH_DROPPABLE = 1 << 8;
export const VMH_UFFD_MINOR = 1 << 9;
export const VMH_SEALED = 1 << 10;

/** A stack that execve has not moved to its place yet (`vma_is_temporary_stack`): no other VMA has both. */
export const VM_STACK_INCOMPLETE_SETUP = VM_RAND_READ | VM_SEQ_READ;

export const VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC;
/** Never merged, never locked. */
export const VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP;
export const VM_LOCKED_MASK = VM_LOCKED | VM_LOCKONFAULT;
/** VM_STACK on an architecture whose stacks grow down. */
const VM_STACK = VM_GROWSDOWN;
/** The merged VMA has these when one of its parts had them. */
export const VM_STICKY = VM_SOFTDIRTY | VM_MAYBE_GUARD;
/** Does not keep two VMAs apart. */
export const VM_IGNORE_MERGE = VM_SOFTDIRTY | VM_MAYBE_GUARD;
/** Any userfaultfd registration. */
export const VM_UFFD_FLAGS = VM_UFFD_MISSING | VM_UFFD_WP;
/** Its part in the high word: VMH_UFFD_MINOR. */
export const VMH_UFFD_FLAGS = 1 << 9;
/** What brk and plain data get (VM_DATA_DEFAULT_FLAGS without READ_IMPLIES_EXEC). */
export const VM_DATA_DEFAULT_FLAGS = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;

/** A private mapping that may become writable: writing makes copies. @see include/linux/mm.h, `is_cow_mapping` */
export function isCowMapping(flags: number): boolean {
  return (flags & (VM_SHARED | VM_MAYWRITE)) === VM_MAYWRITE;
}

/** Counted in `data_vm` and limited by RLIMIT_DATA. @see mm/internal.h, `is_data_mapping` */
export function isDataMapping(flags: number): boolean {
  return (flags & (VM_WRITE | VM_SHARED | VM_STACK)) === VM_WRITE;
}

/** Counted in `exec_vm`. @see mm/internal.h, `is_exec_mapping` */
export function isExecMapping(flags: number): boolean {
  return (flags & (VM_EXEC | VM_WRITE | VM_STACK)) === VM_EXEC;
}

/** Counted in `stack_vm`. @see mm/internal.h, `is_stack_mapping` */
export function isStackMapping(flags: number): boolean {
  return (flags & VM_STACK) !== 0;
}

/** Is the protection key of the flags? */
export function pkeyOf(flagsHigh: number): number {
  return (flagsHigh >>> VMH_PKEY_SHIFT) & VMH_PKEY_MASK;
}
