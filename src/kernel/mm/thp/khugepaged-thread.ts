/**
 * The kernel thread khugepaged: asleep while no address space is on its list, or while no page table has changed since its
 * last scan and none was passed over in it. That stands for its pauses of ten seconds.
 * @see Linux mm/khugepaged.c, `khugepaged`, `khugepaged_wait_work`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { khugepagedDoScan } from './khugepaged.ts';

/** Never ends; `current` is a kernel thread in the background. */
export function* khugepagedThread(current: TaskStruct): Task<void> {
  const { khugepaged, pageTables } = current.kernel;
  let scanned = -1;
  const hasWork = (): boolean =>
    pageTables.writes !== scanned && khugepaged.mms.some(({ mmapLock }) => !mmapLock.isWriteLocked());
  const wait = new SharedObject('khugepaged_wait');
  const sleep = new SchedPoint(PointKind.Wait, wait, 'khugepaged_wait_work', StepCost.ContextSwitch, hasWork);
  for (;;) {
    yield sleep;
    const { writes } = pageTables;
    const { passedOver } = khugepaged;
    yield* khugepagedDoScan(current);
    scanned = khugepaged.passedOver === passedOver ? writes : -1;
  }
}
