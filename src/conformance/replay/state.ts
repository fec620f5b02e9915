/** What a trace tells of a process, read from the emulated kernel: /proc/PID/smaps and pagemap, cut to the arena. */
import { pageRuns } from '../../kernel/mm/pagemap.ts';
import { type SmapsEntry, smapsEntries, smapsSums } from '../../kernel/mm/smaps.ts';
import { ExitState, type TaskStruct } from '../../kernel/task-struct.ts';
import type { ProcessState, VmaRow } from './trace.ts';

/** `null` for a dead process. Pages are page numbers, `endPage` the first one beyond the arena. */
export function processState(task: TaskStruct, firstPage: number, endPage: number): ProcessState {
  const { mm } = task;
  if (mm === null || task.exitState !== ExitState.Running) return null;
  const entries = smapsEntries(mm, firstPage, endPage);
  const sums = smapsSums(mm, entries);
  return {
    vmas: entries.map((entry) => vmaRow(entry, endPage)),
    pages: pageRuns(mm, firstPage, endPage).map(({ start, count, flags }) => [address(start), count, flags]),
    rss: { rss: sums.rss, anon: sums.anonymous, swap: sums.swap, lck: sums.locked },
  };
}

/** A mapping that has merged with what lies above the arena ends with the arena. */
function vmaRow(entry: SmapsEntry, endPage: number): VmaRow {
  const limit = BigInt(endPage) << 12n;
  const end = entry.end < limit ? entry.end : limit;
  const { permissions, kind, vmFlags } = entry;
  return [hex(entry.start), hex(end), permissions, hex(entry.offset), kind, vmFlags];
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;
const address = (page: number): string => hex(BigInt(page) << 12n);
