/**
 * Which task a pid leads to, as part of footprints: whoever looks it up does so under RCU, without a lock that would say so.
 * @see Linux kernel/pid.c, `find_task_by_vpid`, `detach_pid`
 */
import { hashText, numberKey } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';

const PID_SPACE = hashText('pid');

/** @param changes whether the pid leads to another task, or none, from now on */
export function notePid({ machine }: Kernel, pid: number, changes: boolean): void {
  const { footprint } = machine;
  if (!footprint.enabled) return;
  if (changes) footprint.write(numberKey(PID_SPACE, pid));
  else footprint.read(numberKey(PID_SPACE, pid));
}
