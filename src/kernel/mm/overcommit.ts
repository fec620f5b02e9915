/**
 * Promising memory that may never be used: what a private writable mapping charges, and when the promise is refused.
 * Left out: per-group limits.
 * @see Linux mm/util.c, `__vm_enough_memory`, `vm_commit_limit`; mm/vma.c, `accountable_mapping`
 */
import { ENOMEM } from '../errno.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct } from './mm.ts';
import { VM_NORESERVE, VM_SHARED, VM_WRITE } from './vma-flags.ts';

/** `sysctl vm.overcommit_memory`; 1 is always. */
const OVERCOMMIT_GUESS = 0;
export const OVERCOMMIT_NEVER = 2;
/** `sysctl vm.overcommit_ratio`, in percent. */
const OVERCOMMIT_RATIO = 50;
/** `sysctl vm.user_reserve_kbytes`, in pages: at most this part stays free for others. */
const USER_RESERVE_PAGES = 32768;

/** Is a mapping with these flags charged (VM_ACCOUNT)? @see mm/vma.c, `accountable_mapping`, of small pages */
export function accountableMapping(flags: number): boolean {
  return (flags & (VM_NORESERVE | VM_SHARED | VM_WRITE)) === VM_WRITE;
}

/** Charges `pages`: 0, or -ENOMEM and nothing charged. */
export function securityVmEnoughMemory(mm: MmStruct, pages: number): number {
  const { kernel } = mm;
  const total = kernel.frames.frameCount;
  const committed = kernel.committedPages + pages;
  const reserve = Math.min(Math.floor(mm.totalVm / 32), USER_RESERVE_PAGES);
  const swapPages = kernel.swap?.slotCount ?? 0;
  const limit = Math.floor((total * OVERCOMMIT_RATIO) / 100) + swapPages - reserve;
  const mode = kernel.config.overcommitMemory;
  if (mode === OVERCOMMIT_GUESS && pages > total + swapPages) return -ENOMEM;
  if (mode === OVERCOMMIT_NEVER && committed >= limit) return -ENOMEM;
  kernel.committedPages = committed;
  return 0;
}

/** Takes a charge back. */
export function vmUnacctMemory(kernel: Kernel, pages: number): void {
  kernel.committedPages -= pages;
}
