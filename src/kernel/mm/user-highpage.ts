/**
 * Copies of whole pages, with their memory tags where there are any.
 * @see Linux include/linux/highmem.h, `copy_user_highpage`; arch/arm64/mm/copypage.c, `copy_highpage`
 */
import type { Kernel } from '../kernel.ts';

/** Copies a whole page to a new one, in one step. The caller holds references on both. */
export function copyHighpage(kernel: Kernel, from: number, to: number): void {
  kernel.machine.memory.copyFrame(from, to);
  kernel.pageTags?.copy(from, to);
}
