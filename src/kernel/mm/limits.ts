/**
 * Whether an address space may grow: RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK.
 * @see Linux mm/vma.c `may_expand_vm`, mm/mmap.c `mlock_future_ok`, mm/mlock.c `can_do_mlock`,
 * include/linux/mm.h `check_data_rlimit`
 */
import { CAP_IPC_LOCK } from '../process/credentials.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import { limitPages } from './rlimit.ts';
import { isDataMapping, VM_LOCKED } from './vma-flags.ts';

/** May `pages` more pages be mapped with these flags? */
export function mayExpandVm(current: TaskStruct, mm: MmStruct, flags: number, pages: number): boolean {
  const { addressSpace, data } = current.rlimits;
  if (mm.totalVm + pages > limitPages(addressSpace)) return false;
  if (!isDataMapping(flags) || mm.dataVm + pages <= limitPages(data)) return true;
  // Of a soft limit of 0, valgrind's way, only the hard one counts.
  return data.soft === 0 && mm.dataVm + pages <= limitPages({ soft: data.hard, hard: data.hard });
}

/** May `pages` more pages be locked, if the flags say that they will be? */
export function mlockFutureOk(current: TaskStruct, mm: MmStruct, flags: number, pages: number): boolean {
  if ((flags & VM_LOCKED) === 0 || current.capable(CAP_IPC_LOCK)) return true;
  return mm.lockedVm + pages <= limitPages(current.rlimits.memlock);
}

/** May the process lock memory at all? */
export function canDoMlock(current: TaskStruct): boolean {
  return current.rlimits.memlock.soft !== 0 || current.capable(CAP_IPC_LOCK);
}

/** Where data and heap lie, byte addresses: of an address space, or as it would be. */
export type DataLayout = Pick<MmStruct, 'startData' | 'endData' | 'startBrk'>;

/** Would program data and a heap up to `brk` be over RLIMIT_DATA? @see include/linux/mm.h, `check_data_rlimit` */
export function beyondDataLimit(current: TaskStruct, layout: DataLayout, brk: bigint): boolean {
  const { startData, endData, startBrk } = layout;
  return Number(brk - startBrk + (endData - startData)) > current.rlimits.data.soft;
}
