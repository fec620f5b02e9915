/**
 * Which address space a CPU has loaded. A kernel thread, and a process whose memory is gone, borrow the last one: the
 * CPU does not use it, but it stays loaded, so its root table must live until another is loaded.
 * @see Linux kernel/sched/core.c `context_switch`, `finish_task_switch`; kernel/exit.c `exit_mm`
 */
import type { Task } from '../../base/task.ts';
import type { Kernel } from '../kernel.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { ActiveMm } from './active-mm.ts';
import { mmdrop, mmgrab } from './mm-count.ts';

function activeMm(kernel: Kernel, cpu: number): ActiveMm {
  return kernel.activeMm[cpu] as ActiveMm;
}

/** Before `next` runs on its CPU: address space, then registers. Interrupts are off. */
export function* contextSwitch(next: TaskStruct): Task<void> {
  yield* switchAddressSpace(next);
  next.kernel.arch.switchThread(next.cpu, next.thread);
}

function* switchAddressSpace(next: TaskStruct): Task<void> {
  const { kernel, cpu, mm } = next;
  const active = activeMm(kernel, cpu);
  if (mm === null) {
    yield* borrow(kernel, cpu, active);
    return;
  }
  if (mm.context === null) throw new Error(`${mm.name} has no page tables`);
  yield* kernel.arch.switchMm(cpu, mm.context);
  const previous = active.borrowed ? active.mm : null;
  active.mm = mm;
  active.borrowed = false;
  if (previous !== null) yield* mmdrop(previous);
}

function* borrow(kernel: Kernel, cpu: number, active: ActiveMm): Task<void> {
  if (active.mm === null || active.borrowed) return;
  yield* mmgrab(active.mm);
  active.borrowed = true;
  yield* kernel.arch.switchMm(cpu, null);
}

/** execve: `current` has a new mm, and its CPU loads it. @see Linux include/asm/mmu_context.h, `activate_mm` */
export function activateMm(current: TaskStruct): Task<void> {
  return switchAddressSpace(current);
}

/** `current` gives its mm up: its CPU keeps it loaded for the time being. Call it before the last `mmput`. */
export function* exitLazyMm(current: TaskStruct): Task<void> {
  yield* borrow(current.kernel, current.cpu, activeMm(current.kernel, current.cpu));
}
