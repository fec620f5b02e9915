/**
 * Flushing TLBs on behalf of the generic kernel: preemption is off, so that the flush ends on the CPU it began on.
 * @see Linux include/linux/mm.h and arch/x86/include/asm/tlbflush.h, `flush_tlb_range` and its like
 */
import type { MmContext } from '../../arch/kernel-arch.ts';
import type { Task } from '../../base/task.ts';
import { preemptDisable, preemptEnable } from '../lock/irq.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';

function contextOf(mm: MmStruct): MmContext {
  if (mm.context === null) throw new Error(`${mm.name} has no page tables`);
  return mm.context;
}

/** [startPage, endPage) of ptes, or of larger entries with `strideShift`. @see `flush_tlb_mm_range` */
export function* flushTlbRange(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  endPage: number,
  strideShift: number,
  freedTables: boolean,
  mixedLevels = false,
): Task<void> {
  const context = contextOf(mm);
  const { watcher } = mm.kernel;
  if (watcher !== null) watcher.flushBegins(current, mm, startPage, endPage, freedTables);
  preemptDisable(current);
  yield* mm.kernel.arch.flushTlbRange(
    current.cpu,
    context,
    startPage,
    endPage,
    strideShift,
    freedTables,
    mixedLevels,
  );
  if (watcher !== null) watcher.flushEnds(current, mm, startPage, endPage, freedTables);
  preemptEnable(current);
}

export function* flushTlbPage(current: TaskStruct, mm: MmStruct, page: number): Task<void> {
  const context = contextOf(mm);
  const { watcher } = mm.kernel;
  if (watcher !== null) watcher.flushBegins(current, mm, page, page + 1, false);
  preemptDisable(current);
  yield* mm.kernel.arch.flushTlbPage(current.cpu, context, page);
  if (watcher !== null) watcher.flushEnds(current, mm, page, page + 1, false);
  preemptEnable(current);
}

export function* flushTlbMm(current: TaskStruct, mm: MmStruct): Task<void> {
  const context = contextOf(mm);
  const { watcher } = mm.kernel;
  if (watcher !== null) watcher.flushBegins(current, mm, 0, mm.taskSizePages, true);
  preemptDisable(current);
  yield* mm.kernel.arch.flushTlbMm(current.cpu, context);
  if (watcher !== null) watcher.flushEnds(current, mm, 0, mm.taskSizePages, true);
  preemptEnable(current);
}

/** For a pte that a fault has made young, dirty or writable, with its lock held. @see `ptep_set_access_flags` */
export function* flushAccessFlags(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  dirty: boolean,
): Task<void> {
  yield* mm.kernel.arch.flushAccessFlags(current.cpu, contextOf(mm), page, dirty);
}
