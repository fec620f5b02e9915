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
