/**
 * Finds locks, RCU sections and interrupts closed that a task takes with it when it goes back to its program. A fault that
 * answered VM_FAULT_RETRY or VM_FAULT_COMPLETED and kept its lock, and an error path that forgot one, show so.
 */
import type { SharedObject } from '../../base/task.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { SchedTask } from '../../sched/task.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'lock-held-at-return';

export const lockHeldAtReturn: CheckDefinition = {
  name: NAME,
  rule: 'A task that goes back to its program holds no lock of the kernel and is in no section of it.',
  source:
    'Linux kernel/locking/lockdep.c, lockdep_sys_exit; mm/memory.c on VM_FAULT_RETRY and VM_FAULT_COMPLETED',
  attach(watch) {
    let held = new Map<SchedTask, SharedObject[]>();
    watch.onRun(() => {
      held = new Map();
    });
    const take = (task: SchedTask, lock: SharedObject): void => {
      const locks = held.get(task);
      if (locks === undefined) held.set(task, [lock]);
      else locks.push(lock);
    };
    watch.onLocks({
      acquire: take,
      acquired: take,
      release: (task, lock) => {
        const locks = held.get(task);
        const at = locks?.lastIndexOf(lock) ?? -1;
        if (at >= 0) locks?.splice(at, 1);
      },
    });
    watch.onKernel({ left: (current) => look(watch, current, held.get(current) ?? []) });
  },
};

function look(watch: Watch, task: TaskStruct, locks: readonly SharedObject[]): void {
  const kept = locks.map(({ name }) => name);
  if (task.rcuReadDepth > 0) kept.push('an RCU section');
  if (task.preemptDisabled > 0) kept.push('preemption disabled');
  if (kept.length === 0) return;
  watch.report(NAME, `${task.name} goes back to its program with ${kept.join(', ')}`, kept);
}
