/** What a trace tells of a process, read from the emulated kernel: /proc/PID/smaps and pagemap, cut to the arena. */
import type { Kernel } from '../../kernel/kernel.ts';
import { pagemapRows } from '../../kernel/mm/pagemap.ts';
import { smapsRows } from '../../kernel/mm/smaps.ts';
import { ExitState, type TaskStruct } from '../../kernel/task-struct.ts';
import type { ProcessState } from './trace.ts';

export function processState(
  kernel: Kernel,
  task: TaskStruct,
  firstPage: number,
  endPage: number,
): ProcessState {
  const { mm } = task;
  if (mm === null || task.exitState !== ExitState.Running) return null;
  return {
    vmas: smapsRows(mm, firstPage, endPage),
    pages: pagemapRows(kernel, mm, firstPage, endPage),
    rss: { rss: 0, anon: 0, swap: 0, lck: 0 },
  };
}
