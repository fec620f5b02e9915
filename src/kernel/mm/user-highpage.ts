/**
 * Pages that user space gets: new ones filled with zeros, and copies of others, with their memory tags where there are
 * any.
 * @see Linux include/linux/highmem.h, `vma_alloc_zeroed_movable_folio`, `copy_user_highpage`; arch/arm64/mm/fault.c,
 * `vma_alloc_zeroed_movable_folio`; arch/arm64/mm/copypage.c, `copy_highpage`
 */
import { NO_FRAME } from '../frame/buddy.ts';
import type { Kernel } from '../kernel.ts';
import type { VmArea } from './vma.ts';

/** A zeroed page for the VMA with one reference, or `NO_FRAME` (-1). */
export function vmaAllocZeroedFrame(vma: VmArea): number {
  const { frames, pageTags } = vma.mm.kernel;
  const frame = frames.allocateZeroed();
  if (frame !== NO_FRAME) pageTags?.prepareZeroed(frame, vma.flagsHigh);
  return frame;
}

/** Copies a whole page to a new one, in one step. The caller holds references on both. */
export function copyHighpage(kernel: Kernel, from: number, to: number): void {
  kernel.machine.memory.copyFrame(from, to);
  kernel.pageTags?.copy(from, to);
}
