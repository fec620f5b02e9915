/**
 * UFFDIO_POISON: accesses to the range end as if its memory were broken.
 * @see Linux fs/userfaultfd.c, `userfaultfd_poison`; mm/userfaultfd.c, `mfill_atomic_pte_poison`
 */
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { EINVAL } from '../../errno.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { pteUnmapUnlock } from '../page-table-alloc.ts';
import { PTE_MARKER_POISONED } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import type { UserfaultfdContext } from './context.ts';
import { type FilledRange, fillIoctl } from './fill-ioctl.ts';
import { type FillOperation, WITHOUT_DATA } from './fill-operation.ts';
import { lockEmptyPte } from './mfill.ts';
import { UFFDIO_MODE_DONTWAKE } from './uffd-abi.ts';
import { packMarker } from './wp-marker.ts';

/** Bytes; `mode` is 0 or UFFDIO_MODE_DONTWAKE. */
export function* userfaultfdPoison(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: bigint,
  length: bigint,
  mode: bigint,
): Task<FilledRange> {
  const badMode = (): number => ((mode & ~UFFDIO_MODE_DONTWAKE) === 0n ? 0 : -EINVAL);
  const operation: FillOperation = {
    writeProtect: false,
    ...WITHOUT_DATA,
    fileOnly: false,
    huge: 'poison',
    fillPage: (vma, page) => poisonPage(current, vma, page),
  };
  return yield* fillIoctl(current, context, { start, length }, mode, badMode, operation);
}

function* poisonPage(current: TaskStruct, vma: VmArea, page: number): Task<number> {
  const { pageTables } = vma.mm.kernel;
  // Not even a marker is replaced.
  const empty = yield* lockEmptyPte(current, vma, page, false);
  if (typeof empty === 'number') return empty;
  const entry: Halves = { hi: 0, lo: 0 };
  packMarker(pageTables, PTE_MARKER_POISONED, entry);
  yield empty.table.setEntry;
  pageTables.write(empty.table, empty.index, entry.hi, entry.lo);
  yield* pteUnmapUnlock(current, empty.table);
  return 0;
}
