/** What one CPU has loaded. @see Linux `task_struct.active_mm`, which follows the CPU from task to task */
import type { MmStruct } from './mm.ts';

export class ActiveMm {
  mm: MmStruct | null = null;
  /** Borrowed by a kernel thread or a process without memory: a reference on the structure is held for it. */
  borrowed = false;
}
