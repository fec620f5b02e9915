/**
 * While a task pins pages for long, memory that it allocates for user space comes from where it may be pinned.
 * @see Linux include/linux/sched/mm.h, `memalloc_pin_save`, `memalloc_pin_restore`, `current_gfp_context`
 */
import type { TaskStruct } from '../task-struct.ts';

/** Sets PF_MEMALLOC_PIN; what it was before. */
export function memallocPinSave(current: TaskStruct): boolean {
  const saved = current.memallocPin;
  current.memallocPin = true;
  return saved;
}

export function memallocPinRestore(current: TaskStruct, saved: boolean): void {
  current.memallocPin = saved;
}
