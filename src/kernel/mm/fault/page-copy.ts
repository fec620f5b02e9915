/**
 * Filling a new page outside all locks: a step that takes time, during which others go on.
 * @see Linux include/linux/highmem.h, `copy_user_highpage`, `clear_user_highpage`
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import type { Kernel } from '../../kernel.ts';
import { copyHighpage } from '../user-highpage.ts';

/** Copies a whole page. The caller holds references on both. */
export function* copyUserPage(kernel: Kernel, from: number, to: number): Task<void> {
  const { object } = kernel.frames.refPoint(from);
  yield new SchedPoint(PointKind.Read, object, 'copy_user_highpage', StepCost.PageCopy);
  copyHighpage(kernel, from, to);
}

/** The time that zeroing a page takes; `frame` came zeroed from the allocator. */
export function* clearUserPage(kernel: Kernel, frame: number): Task<void> {
  const { object } = kernel.frames.refPoint(frame);
  yield new SchedPoint(PointKind.Write, object, 'clear_user_highpage', StepCost.PageCopy);
}

/**
 * Copies a page of a device's memory, which Linux reads at the user's address as no page of the kernel's is there; what
 * cannot be read there stays zero.
 * @see Linux mm/memory.c, `__wp_page_copy_user`
 */
export function* copyDevicePage(kernel: Kernel, from: number, to: number): Task<void> {
  const { object } = kernel.frames.refPoint(to);
  yield new SchedPoint(PointKind.Write, object, '__wp_page_copy_user', StepCost.PageCopy);
  kernel.machine.memory.copyFrame(from, to);
}
