/**
 * prctl(PR_SET_MM, PR_SET_MM_MAP): tells the kernel where a program's code, data, heap, stack and strings are. Nothing has
 * to be mapped there.
 * Left out: the auxiliary vector, /proc/PID/exe, setting one field alone (PR_SET_MM_START_CODE …).
 * @see Linux kernel/sys.c, `prctl_set_mm_map`, `validate_prctl_map_addr`
 */
import type { Task } from '../../base/task.ts';
import { EINVAL } from '../errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { beyondDataLimit, type DataLayout } from '../mm/limits.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';

/** The fields of `struct prctl_mm_map` that name addresses, in bytes. */
const MM_MAP_FIELDS = [
  'startCode',
  'endCode',
  'startData',
  'endData',
  'startBrk',
  'brk',
  'startStack',
  'argStart',
  'argEnd',
  'envStart',
  'envEnd',
] as const;
export type MmMap = { readonly [field in (typeof MM_MAP_FIELDS)[number]]?: bigint };

const MM_MAP_ORDER: readonly (readonly [keyof MmMap, keyof MmMap, allowEqual: boolean])[] = [
  ['startCode', 'endCode', false],
  ['startData', 'endData', true],
  ['startBrk', 'brk', true],
  ['argStart', 'argEnd', true],
  ['envStart', 'envEnd', true],
];

/** Is every given address inside user space? */
function areAddressesValid(current: TaskStruct, mm: MmStruct, map: MmMap): boolean {
  const lowest = BigInt(current.kernel.config.mmapMinPage) << 12n;
  const limit = BigInt(mm.taskSizePages) << 12n;
  return MM_MAP_FIELDS.every((field) => {
    const address = map[field];
    return address === undefined || (address >= lowest && address < limit);
  });
}

/** Is every pair of which a half is given in order? */
function arePairsOrdered(mm: MmStruct, map: MmMap): boolean {
  return MM_MAP_ORDER.every(([low, high, allowEqual]) => {
    if (map[low] === undefined && map[high] === undefined) return true;
    const from = map[low] ?? mm[low];
    const to = map[high] ?? mm[high];
    return from < to || (allowEqual && from === to);
  });
}

const dataLayout = ({ startData, endData, startBrk }: MmStruct): DataLayout => ({
  startData,
  endData,
  startBrk,
});

/**
 * prctl(PR_SET_MM, PR_SET_MM_MAP) for the fields given; those left out keep their value unchecked. 0, or -EINVAL (also for a heap over RLIMIT_DATA).
 * @see Linux kernel/sys.c, `validate_prctl_map_addr`
 */
export function* sysPrctlSetMmMap(current: TaskStruct, map: MmMap): Task<number> {
  const { mm } = current;
  if (mm === null || !areAddressesValid(current, mm, map) || !arePairsOrdered(mm, map)) return -EINVAL;
  if (beyondDataLimit(current, { ...dataLayout(mm), ...map }, map.brk ?? mm.brk)) return -EINVAL;
  // arg_lock is for those who read the addresses; brk moves the heap under mmap_lock alone.
  yield* mmapReadLock(current, mm);
  yield* mm.argLock.lock(current);
  for (const field of MM_MAP_FIELDS) {
    const address = map[field];
    if (address !== undefined) mm[field] = address;
  }
  yield* mm.argLock.unlock(current);
  yield* mmapReadUnlock(current, mm);
  return 0;
}
