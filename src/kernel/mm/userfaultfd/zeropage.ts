/**
 * UFFDIO_ZEROPAGE: the zero page in private memory, new zeroed pages of the file in a shared mapping.
 * @see Linux fs/userfaultfd.c, `userfaultfd_zeropage`; mm/userfaultfd.c, `mfill_atomic_pte_zeropage`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { EINVAL, ENOMEM } from '../../errno.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { pteUnmapUnlock } from '../page-table-alloc.ts';
import type { VmArea } from '../vma.ts';
import { VM_SHARED } from '../vma-flags.ts';
import { vmaPageProtection } from '../vma-protection.ts';
import type { UserfaultfdContext } from './context.ts';
import { type FilledRange, fillIoctl } from './fill-ioctl.ts';
import { type FillOperation, WITHOUT_DATA } from './fill-operation.ts';
import { lockEmptyPte } from './mfill.ts';
import { shmemFillPage } from './shmem-fill.ts';
import { UFFDIO_MODE_DONTWAKE } from './uffd-abi.ts';

/** Bytes; `mode` is 0 or UFFDIO_MODE_DONTWAKE. */
export function* userfaultfdZeropage(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: bigint,
  length: bigint,
  mode: bigint,
): Task<FilledRange> {
  const badMode = (): number => ((mode & ~UFFDIO_MODE_DONTWAKE) === 0n ? 0 : -EINVAL);
  return yield* fillIoctl(current, context, { start, length }, mode, badMode, zeroPages(current));
}

const zeroPages = (current: TaskStruct): FillOperation => ({
  writeProtect: false,
  ...WITHOUT_DATA,
  fileOnly: false,
  huge: null,
  fillPage: (vma, page) =>
    (vma.flags & VM_SHARED) === 0 ? mapZeroPage(current, vma, page) : addZeroedPage(current, vma, page),
});

function* mapZeroPage(current: TaskStruct, vma: VmArea, page: number): Task<number> {
  const { frames, pageTables } = vma.mm.kernel;
  const empty = yield* lockEmptyPte(current, vma, page, false);
  if (typeof empty === 'number') return empty;
  yield empty.table.setEntry;
  pageTables.setLeaf(empty.table, empty.index, frames.zeroFrame, vmaPageProtection(vma) | EntryFlag.Special);
  yield* pteUnmapUnlock(current, empty.table);
  return 0;
}

function* addZeroedPage(current: TaskStruct, vma: VmArea, page: number): Task<number> {
  const frame = yield* allocUserFolio(current, null, 0, true);
  return frame === NO_FRAME ? -ENOMEM : yield* shmemFillPage(current, vma, page, frame, false);
}
