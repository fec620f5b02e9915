/**
 * Reserving and reading the pages of a file of huge pages. Such a file cannot be written but through a mapping.
 * @see Linux fs/hugetlbfs/inode.c, `hugetlbfs_fallocate`, `hugetlbfs_read_iter`
 */
import type { Task } from '../../../base/task.ts';
import { EINTR, ENOSPC, EPERM } from '../../errno.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioSetLocked, folioUnlock } from '../fault/folio-lock.ts';
import { F_SEAL_GROW } from '../seals.ts';
import type { HugetlbInode } from './hugetlb-inode.ts';

const PAGE_BYTES = 4096;

/**
 * Every huge page that [start, end) touches, bytes, is in the file afterwards. With the inode's lock held. 0, -EPERM
 * (sealed), -ENOSPC (none is free; those before stay) or -EINTR (killed).
 */
export function* hugetlbReserveFile(
  current: TaskStruct,
  inode: HugetlbInode,
  start: number,
  end: number,
  keepSize: boolean,
): Task<number> {
  const { mapping, pages } = inode;
  if ((mapping.seals & F_SEAL_GROW) !== 0 && end > mapping.sizeBytes) return -EPERM;
  const bytes = pages * PAGE_BYTES;
  for (let index = Math.floor(start / bytes); index < Math.ceil(end / bytes); index++) {
    if (current.fatalSignalPending()) return -EINTR;
    const mutex = current.kernel.hugetlb.faultMutex(inode.serial, index);
    yield* mutex.downWrite(current);
    const error = inode.frameAt(index) === NO_FRAME ? yield* addPage(current, inode, index) : 0;
    yield* mutex.upWrite(current);
    if (error !== 0) return error;
  }
  yield mapping.change;
  if (!keepSize && end > mapping.sizeBytes) mapping.sizeBytes = end;
  return 0;
}

/** A zeroed page, with what a shared mapping was promised of it, if anything. */
function* addPage(current: TaskStruct, inode: HugetlbInode, index: number): Task<number> {
  const { frames, machine } = current.kernel;
  const { hstate, mapping, resvMap, pages } = inode;
  yield hstate.change;
  const frame = hstate.dequeue(resvMap.count(index, index + 1) === 1);
  if (frame === NO_FRAME) return -ENOSPC;
  resvMap.add(index, index + 1);
  for (let i = 0; i < pages; i++) machine.memory.zeroFrame(frame + i);
  frames.setFlags(frame, FrameFlag.Uptodate);
  folioSetLocked(current, frame);
  yield mapping.change;
  inode.add(index, frame);
  yield* folioUnlock(current, frame);
  yield frames.refPoint(frame);
  frames.put(frame);
  return 0;
}

/** Reads a part of one small page of the file; a hole as zeros. `at` is in bytes. */
export function* hugetlbReadPart(
  current: TaskStruct,
  inode: HugetlbInode,
  at: number,
  part: Uint8Array,
): Task<void> {
  const page = Math.floor(at / PAGE_BYTES);
  yield inode.mapping.change;
  const head = inode.frameAt(Math.floor(page / inode.pages));
  if (head === NO_FRAME) part.fill(0);
  else current.kernel.machine.memory.readBytes(head + (page % inode.pages), at % PAGE_BYTES, part);
}
