/**
 * fallocate of a tmpfs object: reserving pages, with or without a larger size, and punching holes.
 * Left out: RLIMIT_FSIZE, limits of the file system, file systems that can do more.
 * @see Linux fs/open.c, `vfs_fallocate`; mm/shmem.c, `shmem_fallocate`; include/uapi/linux/falloc.h
 */
import type { Task } from '../../base/task.ts';
import { EBADF, EFBIG, EINTR, EINVAL, ENODEV, ENOMEM, EOPNOTSUPP, EPERM } from '../errno.ts';
import type { AddressSpace, Reservation } from '../frame/address-space.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { folioUnlock } from './fault/folio-lock.ts';
import { hugetlbReserveFile } from './hugetlb/file-pages.ts';
import { hugetlbInodeOf } from './hugetlb/hugetlb-inode.ts';
import { hugetlbPunchHole } from './hugetlb/truncate.ts';
import type { MappedFile } from './mapped-file.ts';
import { MAX_FILE_BYTES } from './memfd.ts';
import { F_SEAL_GROW, F_SEALS_AGAINST_WRITING } from './seals.ts';
import { Sgp, shmemGetFolio } from './shmem-get-folio.ts';
import { shmemTruncateRange, shmemUndoFalloc } from './shmem-truncate.ts';
import { unmapMappingPages } from './unmap-mapping.ts';

export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_COLLAPSE_RANGE = 0x08;
export const FALLOC_FL_ZERO_RANGE = 0x10;
export const FALLOC_FL_INSERT_RANGE = 0x20;
export const FALLOC_FL_UNSHARE_RANGE = 0x40;
const FALLOC_FL_WRITE_ZEROES = 0x80;

const PAGE_BYTES = 4096;

/** Is it a mode that some file system has? The bits beside KEEP_SIZE exclude each other. */
function modeKnown(mode: number): boolean {
  const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
    case FALLOC_FL_UNSHARE_RANGE:
    case FALLOC_FL_ZERO_RANGE:
      return true;
    case FALLOC_FL_PUNCH_HOLE:
      return keepSize;
    case FALLOC_FL_COLLAPSE_RANGE:
    case FALLOC_FL_INSERT_RANGE:
    case FALLOC_FL_WRITE_ZEROES:
      return !keepSize;
    default:
      return false;
  }
}

/** What is refused whatever the object holds; 0 or a negative errno. Bytes, signed 64 bits. */
function refused(file: MappedFile, mode: number, offset: bigint, length: bigint): number {
  if (offset < 0n || length <= 0n) return -EINVAL;
  if (!modeKnown(mode)) return -EOPNOTSUPP;
  if (!file.writable) return -EBADF;
  if (file.mappedAs !== 'cache') return -ENODEV;
  if (offset + length > MAX_FILE_BYTES) return -EFBIG;
  if (file.mapping.secret !== null) return -EOPNOTSUPP;
  return (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) === 0 ? 0 : -EOPNOTSUPP;
}

/**
 * fallocate, with the descriptor looked up already. `offset` and `length` are bytes, as 64-bit words. 0, -EINVAL,
 * -EOPNOTSUPP, -EBADF (not open for writing), -ENODEV, -EFBIG, -EPERM (sealed), -ENOMEM, -EINTR (killed).
 */
export function* fileFallocate(
  current: TaskStruct,
  file: MappedFile,
  mode: number,
  offset: bigint,
  length: bigint,
): Task<number> {
  const [from, bytes] = [BigInt.asIntN(64, offset), BigInt.asIntN(64, length)];
  const error = refused(file, mode, from, bytes);
  if (error !== 0) return error;
  const { mapping } = file;
  const start = Number(from);
  const end = start + Number(bytes);
  yield* mapping.iRwsem.downWrite(current);
  const inode = hugetlbInodeOf(mapping);
  const hole = (mode & FALLOC_FL_PUNCH_HOLE) !== 0;
  const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  let result: number;
  if (inode === null) {
    result = hole
      ? yield* punchHole(current, mapping, start, end)
      : yield* reserve(current, mapping, start, end, keepSize);
  } else {
    result = hole
      ? yield* hugetlbPunchHole(current, inode, start, end)
      : yield* hugetlbReserveFile(current, inode, start, end, keepSize);
  }
  yield* mapping.iRwsem.upWrite(current);
  return result;
}

/** The bytes read as zeros afterwards; pages that lie wholly in the hole are given back. Private copies stay. */
function* punchHole(current: TaskStruct, mapping: AddressSpace, start: number, end: number): Task<number> {
  if ((mapping.seals & F_SEALS_AGAINST_WRITING) !== 0) return -EPERM;
  const first = Math.ceil(start / PAGE_BYTES);
  const limit = Math.floor(end / PAGE_BYTES);
  yield mapping.change;
  // Faults there wait: they could fill the hole for ever while it is being made.
  mapping.hole = { first, end: limit };
  if (limit > first) yield* unmapMappingPages(current, mapping, first, limit - 1, false);
  yield* shmemTruncateRange(current, mapping, start, end);
  yield mapping.change;
  mapping.hole = null;
  return 0;
}

/** Every page of the range gets a frame; a new one holds nothing until its first use. */
function* reserve(
  current: TaskStruct,
  mapping: AddressSpace,
  start: number,
  end: number,
  keepSize: boolean,
): Task<number> {
  if ((mapping.seals & F_SEAL_GROW) !== 0 && end > mapping.sizeBytes) return -EPERM;
  const first = Math.floor(start / PAGE_BYTES);
  const limit = Math.ceil(end / PAGE_BYTES);
  yield mapping.change;
  const reservation = { first, next: first, fresh: 0, wanted: 0 };
  mapping.reservation = reservation;
  const undoFallocEnd = mapping.fallocEnd;
  if (mapping.fallocEnd < limit) mapping.fallocEnd = limit;
  let error = 0;
  for (let index = first; index < limit && error === 0; index++) {
    error = yield* reservePage(current, mapping, reservation, index);
  }
  if (error !== 0) mapping.fallocEnd = undoFallocEnd;
  if (error !== 0) yield* shmemUndoFalloc(current, mapping, first, reservation.next);
  yield mapping.change;
  mapping.reservation = null;
  if (error === 0 && !keepSize && end > mapping.sizeBytes) mapping.sizeBytes = end;
  return error;
}

/** 0, -EINTR (killed) or -ENOMEM, also when reclaim has asked for more of the reserved pages than there are new ones. */
function* reservePage(
  current: TaskStruct,
  mapping: AddressSpace,
  reservation: Reservation,
  index: number,
): Task<number> {
  const { frames } = current.kernel;
  if (current.fatalSignalPending()) return -EINTR;
  if (reservation.wanted > reservation.fresh) return -ENOMEM;
  const frame = yield* shmemGetFolio(current, mapping, index, Sgp.Falloc);
  if (frame < 0) return frame;
  reservation.next = index + 1;
  if (!frames.hasFlag(frame, FrameFlag.Uptodate)) reservation.fresh++;
  // Dirty, so that reclaim keeps the promise.
  frames.setFlags(frame, FrameFlag.Dirty);
  yield* folioUnlock(current, frame);
  frames.put(frame);
  return 0;
}
