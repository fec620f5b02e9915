/**
 * What an access through a CPU's MMU touches beside its data, for searches over schedules: what the CPU has cached, and the
 * tables that a walk reads, where it may set Accessed and Dirty. Whether there is a walk is not asked: one key too many
 * costs a search time, one too few hides schedules from it.
 */
import { EntryFlag, tableIndex } from '../../arch/paging-format.ts';
import { frameDataKey, tlbKey } from '../../hardware/footprint-keys.ts';
import type { TaskStruct } from '../task-struct.ts';
import { rootTable } from './page-table-alloc.ts';

/** To be called just before `current` accesses `page` with user rights. Changes `hi` and `lo` of the page tables. */
function noteTranslation(current: TaskStruct, page: number, write: boolean): void {
  const { machine, pageTables, arch } = current.kernel;
  const { footprint } = machine;
  if (!footprint.enabled) return;
  footprint.read(tlbKey(current.cpu));
  const { mm } = current;
  if (mm === null || page >= arch.taskSizePages) return;
  const { format } = pageTables;
  // Reading notes each table.
  for (let table = rootTable(mm); ; table = pageTables.tableAt(pageTables.frame(table.level))) {
    pageTables.read(table, tableIndex(format, page, table.level));
    const { hi, lo } = pageTables;
    if (format.isNone(hi, lo)) return;
    if (format.isTable(hi, lo, table.level)) continue;
    const flags = pageTables.flags(table.level);
    const marked = (flags & EntryFlag.Young) !== 0 && (!write || (flags & EntryFlag.Dirty) !== 0);
    if (!marked) footprint.write(frameDataKey(table.frame));
    return;
  }
}

/** As `noteTranslation`, of a byte address as the program uses it. */
export function noteAccess(current: TaskStruct, address: bigint, write: boolean): void {
  if (!current.kernel.machine.footprint.enabled) return;
  noteTranslation(current, Number(current.kernel.arch.untaggedAddress(current.cpu, address) >> 12n), write);
}
