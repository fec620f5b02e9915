/**
 * UFFDIO_CONTINUE: maps pages that the file has already.
 * @see Linux fs/userfaultfd.c, `userfaultfd_continue`; mm/userfaultfd.c, `mfill_atomic_pte_continue`
 */
import type { Task } from '../../../base/task.ts';
import { EFAULT, EINVAL, EIO } from '../../errno.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioUnlock } from '../fault/folio-lock.ts';
import { Sgp, shmemGetFolio } from '../shmem-get-folio.ts';
import type { VmArea } from '../vma.ts';
import type { UserfaultfdContext } from './context.ts';
import { type FilledRange, fillIoctl } from './fill-ioctl.ts';
import { type FillOperation, WITHOUT_DATA } from './fill-operation.ts';
import { mfillInstallPte } from './install-pte.ts';
import { UFFDIO_MODE_DONTWAKE, UFFDIO_MODE_WP } from './uffd-abi.ts';

/** Bytes; `mode` is UFFDIO_MODE_*. -EFAULT where the file has no page, -EINVAL on anonymous memory. */
export function* userfaultfdContinue(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: bigint,
  length: bigint,
  mode: bigint,
): Task<FilledRange> {
  const badMode = (): number => ((mode & ~(UFFDIO_MODE_DONTWAKE | UFFDIO_MODE_WP)) === 0n ? 0 : -EINVAL);
  const writeProtect = (mode & UFFDIO_MODE_WP) !== 0n;
  const operation: FillOperation = {
    writeProtect,
    ...WITHOUT_DATA,
    fileOnly: true,
    huge: 'continue',
    fillPage: (vma, page) => mapCachedPage(current, vma, page, writeProtect),
  };
  return yield* fillIoctl(current, context, { start, length }, mode, badMode, operation);
}

function* mapCachedPage(current: TaskStruct, vma: VmArea, page: number, writeProtect: boolean): Task<number> {
  const { frames } = current.kernel;
  const mapping = vma.file?.mapping;
  if (mapping === undefined) throw new Error(`${vma.name} has no file`);
  const frame = yield* shmemGetFolio(current, mapping, vma.indexOf(page), Sgp.NoAlloc);
  if (frame < 0) return -EFAULT;
  const broken = frames.hasFlag(frame, FrameFlag.HwPoison);
  const error = broken ? -EIO : yield* mfillInstallPte(current, vma, page, frame, writeProtect);
  yield* folioUnlock(current, frame);
  if (error !== 0) frames.put(frame);
  return error;
}
