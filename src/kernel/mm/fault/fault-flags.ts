/**
 * What a page-fault handler is told, and what it answers. Left out: flags that no modelled path sets or reads (MKWRITE,
 * DONE_COW, NEEDDSYNC).
 * @see Linux include/linux/mm_types.h, `enum fault_flag` and `enum vm_fault_reason`
 */

export const FAULT_FLAG_WRITE = 1 << 0;
export const FAULT_FLAG_ALLOW_RETRY = 1 << 2;
export const FAULT_FLAG_RETRY_NOWAIT = 1 << 3;
export const FAULT_FLAG_KILLABLE = 1 << 4;
export const FAULT_FLAG_TRIED = 1 << 5;
export const FAULT_FLAG_USER = 1 << 6;
export const FAULT_FLAG_REMOTE = 1 << 7;
export const FAULT_FLAG_INSTRUCTION = 1 << 8;
export const FAULT_FLAG_INTERRUPTIBLE = 1 << 9;
export const FAULT_FLAG_UNSHARE = 1 << 10;
export const FAULT_FLAG_ORIG_PTE_VALID = 1 << 11;
export const FAULT_FLAG_VMA_LOCK = 1 << 12;
export const FAULT_FLAG_DEFAULT = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_INTERRUPTIBLE;

export const VM_FAULT_OOM = 0x1;
export const VM_FAULT_SIGBUS = 0x2;
export const VM_FAULT_MAJOR = 0x4;
/** Up to Linux 6.1: the page that a write wanted is its own now. Only kernels with bugs of that time give it. */
export const VM_FAULT_WRITE = 0x8;
export const VM_FAULT_HWPOISON = 0x10;
export const VM_FAULT_HWPOISON_LARGE = 0x20;
export const VM_FAULT_SIGSEGV = 0x40;
/** The handler installed the pte itself. */
export const VM_FAULT_NOPAGE = 0x100;
/** The handler returns its page locked. */
export const VM_FAULT_LOCKED = 0x200;
/** The mmap or VMA lock was let go (except with RETRY_NOWAIT): look the VMA up again. */
export const VM_FAULT_RETRY = 0x400;
/** A handler of huge pages found nothing to do: ptes are next. */
export const VM_FAULT_FALLBACK = 0x800;
/** Handled, and the lock was let go. */
export const VM_FAULT_COMPLETED = 0x4000;
/** Of VM_FAULT_HWPOISON_LARGE: which of the pools' sizes the broken page has. @see `VM_FAULT_SET_HINDEX` */
const HINDEX_SHIFT = 16;
export const vmFaultSetHindex = (index: number): number => index << HINDEX_SHIFT;
export const vmFaultGetHindex = (result: number): number => (result >> HINDEX_SHIFT) & 0xf;
export const VM_FAULT_ERROR =
  VM_FAULT_OOM |
  VM_FAULT_SIGBUS |
  VM_FAULT_SIGSEGV |
  VM_FAULT_HWPOISON |
  VM_FAULT_HWPOISON_LARGE |
  VM_FAULT_FALLBACK;
