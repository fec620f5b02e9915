/**
 * Events of memory management that Linux counts in /proc/vmstat, or tells userfaultfd's readers.
 * @see Linux include/linux/vm_event_item.h, `PSWPIN`, `PSWPOUT`, `THP_FAULT_ALLOC`, `THP_SPLIT_PMD`, `THP_COLLAPSE_ALLOC`
 */
import type { TaskStruct } from '../task-struct.ts';

/** A page was written to a slot of the swap area, or read from it. */
export function noteSwap(
  current: TaskStruct,
  kind: 'swap-out' | 'swap-in',
  slot: number,
  frame: number,
): void {
  const { events } = current.kernel;
  if (!events.enabled) return;
  const time = current.processor?.time ?? 0;
  events.emit({ kind, time, cpu: current.cpu, task: current.name, slot, frame });
}

/** One entry maps a huge page at `page` from now on, or a table of small ones in its place. */
export function noteHugePage(
  current: TaskStruct,
  kind: 'thp-fault' | 'thp-split' | 'thp-collapse',
  page: number,
): void {
  const { events } = current.kernel;
  if (!events.enabled) return;
  const time = current.processor?.time ?? 0;
  events.emit({ kind, time, cpu: current.cpu, task: current.name, address: BigInt(page) << 12n });
}

/** fork copies a page that may be pinned, rather than share it. */
export function noteForkCopy(current: TaskStruct, page: number, frame: number, copy: number): void {
  const { events } = current.kernel;
  if (!events.enabled) return;
  const time = current.processor?.time ?? 0;
  const address = BigInt(page) << 12n;
  events.emit({ kind: 'fork-copy', time, cpu: current.cpu, task: current.name, address, frame, copy });
}

/** A fault waits until user space has resolved it, or goes on. */
export function noteUserfault(current: TaskStruct, address: bigint, reason: string, waits: boolean): void {
  const { events } = current.kernel;
  if (!events.enabled) return;
  const time = current.processor?.time ?? 0;
  const kind = waits ? 'userfault-wait' : 'userfault-done';
  events.emit({ kind, time, cpu: current.cpu, task: current.name, address, reason });
}
