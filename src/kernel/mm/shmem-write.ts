/**
 * The two halves of a write to one page of a tmpfs object, around the copy of the data.
 * @see Linux mm/shmem.c, `shmem_write_begin`, `shmem_write_end`
 */
import type { Task } from '../../base/task.ts';
import { EPERM } from '../errno.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { folioUnlock } from './fault/folio-lock.ts';
import { F_SEAL_GROW, F_SEALS_AGAINST_WRITING } from './seals.ts';
import { Sgp, shmemGetFolio } from './shmem-get-folio.ts';

const PAGE_BYTES = 4096;

/**
 * The page for `count` bytes at byte `at` of the object, which do not cross its end: locked, with a reference, and
 * holding anything where it is new. Or -EPERM (sealed), -ENOMEM. Needs `iRwsem` for writing.
 */
export function* shmemWriteBegin(
  current: TaskStruct,
  mapping: AddressSpace,
  at: number,
  count: number,
): Task<number> {
  if ((mapping.seals & F_SEALS_AGAINST_WRITING) !== 0) return -EPERM;
  if ((mapping.seals & F_SEAL_GROW) !== 0 && at + count > mapping.sizeBytes) return -EPERM;
  return yield* shmemGetFolio(current, mapping, Math.floor(at / PAGE_BYTES), Sgp.Write);
}

/** After `copied` bytes, maybe none, have come to the page: the size, and zeros around them where the page was new. */
export function* shmemWriteEnd(
  current: TaskStruct,
  mapping: AddressSpace,
  frame: number,
  at: number,
  copied: number,
): Task<void> {
  const { frames, machine } = current.kernel;
  const inPage = at % PAGE_BYTES;
  if (at + copied > mapping.sizeBytes) mapping.sizeBytes = at + copied;
  if (!frames.hasFlag(frame, FrameFlag.Uptodate)) {
    if (inPage > 0) machine.memory.writeBytes(frame, 0, new Uint8Array(inPage));
    const behind = inPage + copied;
    if (behind < PAGE_BYTES) machine.memory.writeBytes(frame, behind, new Uint8Array(PAGE_BYTES - behind));
  }
  frames.setFlags(frame, FrameFlag.Uptodate | FrameFlag.Dirty);
  yield* folioUnlock(current, frame);
  frames.put(frame);
}
