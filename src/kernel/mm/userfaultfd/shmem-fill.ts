/**
 * A new page of a shared mapping: into its file first, then mapped.
 * @see Linux mm/shmem.c, `shmem_mfill_atomic_pte`
 */
import type { Task } from '../../../base/task.ts';
import { EEXIST, EFAULT } from '../../errno.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { NO_SLOT } from '../../frame/swap-area.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioClearLocked, folioSetLocked, folioUnlock } from '../fault/folio-lock.ts';
import { folioAddLru } from '../reclaim/lru.ts';
import type { VmArea } from '../vma.ts';
import { mfillInstallPte } from './install-pte.ts';

/**
 * Puts `frame`, whose reference it takes in any case, into the file of the VMA and maps it. 0; -EFAULT: beyond the end of
 * the file; -EEXIST: the file has a page there, or the pte is not empty; -EAGAIN.
 */
export function* shmemFillPage(
  current: TaskStruct,
  vma: VmArea,
  page: number,
  frame: number,
  writeProtect: boolean,
): Task<number> {
  const { frames } = current.kernel;
  const mapping = vma.file?.mapping;
  if (mapping === undefined) throw new Error(`${vma.name} is shared and has no file`);
  const index = vma.indexOf(page);
  folioSetLocked(current, frame);
  frames.setFlags(frame, FrameFlag.SwapBacked | FrameFlag.Uptodate);
  yield mapping.change;
  const taken = mapping.frameAt(index) !== -1 || mapping.swapSlotAt(index) !== NO_SLOT;
  if (index >= mapping.sizePages || taken) {
    folioClearLocked(current, frame);
    frames.put(frame);
    return index >= mapping.sizePages ? -EFAULT : -EEXIST;
  }
  mapping.add(frames, index, frame);
  // The cache has taken over one reference, the pte gets the other.
  frames.get(frame);
  folioAddLru(frames, frame);
  const error = yield* mfillInstallPte(current, vma, page, frame, writeProtect);
  if (error !== 0) {
    yield mapping.change;
    mapping.remove(frames, index);
  }
  yield* folioUnlock(current, frame);
  if (error !== 0) frames.put(frame);
  return error;
}
