/** Events of locks that had to be waited for; an uncontended lock makes none. */
import type { SharedObject } from '../../base/task.ts';
import type { SchedTask } from '../../sched/task.ts';

export function lockWait(current: SchedTask, lock: SharedObject, operation: string): void {
  report('lock-wait', current, lock, operation);
}

export function lockAcquired(current: SchedTask, lock: SharedObject, operation: string): void {
  report('lock-acquire', current, lock, operation);
}

function report(
  kind: 'lock-wait' | 'lock-acquire',
  current: SchedTask,
  lock: SharedObject,
  operation: string,
): void {
  const events = current.machine?.events;
  if (events === undefined || !events.enabled) return;
  const time = current.processor?.time ?? 0;
  events.emit({ kind, time, cpu: current.cpu, task: current.name, lock: lock.name, operation });
}
