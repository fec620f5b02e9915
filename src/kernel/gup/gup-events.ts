/**
 * What a fault on behalf of GUP did, for timelines: the hardware sees none of it, so there is no fault of the MMU to
 * show. Looked at only when somebody listens.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { MmStruct } from '../mm/mm.ts';
import { rootTable } from '../mm/page-table-alloc.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_FORCE, FOLL_WRITE } from './foll-flags.ts';

/** The frame mapped at `page`, -1 when none is: a snapshot without locks. */
export function mappedFrame(mm: MmStruct, page: number): number {
  const { pageTables } = mm.kernel;
  const level = mm.pgd === -1 ? -1 : pageTables.lookupLeaf(rootTable(mm), page);
  if (level === -1 || (pageTables.flags(level) & EntryFlag.Present) === 0) return -1;
  return pageTables.frameInLeaf(page, level);
}

/** Reports a fault that is over; `before` is what `mappedFrame` gave before it. */
export function emitGupFault(
  current: TaskStruct,
  mm: MmStruct,
  page: number,
  gupFlags: number,
  unshare: boolean,
  before: number,
): void {
  const { events, cpus } = current.kernel.machine;
  const after = mappedFrame(mm, page);
  const forced = (gupFlags & FOLL_FORCE) !== 0 ? 'forced ' : '';
  const access = unshare ? 'unsharing' : `${forced}${(gupFlags & FOLL_WRITE) !== 0 ? 'write' : 'read'}`;
  const time = cpus[current.cpu]?.time ?? 0;
  const result = `${access} by get_user_pages in ${mm.name}: ${changeText(mm, before, after)}`;
  events.emit({
    kind: 'fault-done',
    time,
    cpu: current.cpu,
    task: current.name,
    address: BigInt(page) << 12n,
    result,
  });
}

function changeText(mm: MmStruct, before: number, after: number): string {
  const text = (frame: number) =>
    mm.kernel.frames.isZeroFrame(frame) ? 'the zero page' : `frame 0x${frame.toString(16)}`;
  if (after === -1) return 'no page';
  if (before === -1) return `maps ${text(after)}`;
  return before === after ? `${text(after)} stays` : `copies ${text(before)} to ${text(after)}`;
}
