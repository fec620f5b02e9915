/**
 * Pins of the folios of a memfd, by offsets in the file: no mapping is needed, and no lock of an address space. What the
 * file does not have yet is allocated. The pins are for long.
 * @see Linux mm/gup.c, `memfd_pin_folios`; mm/memfd.c, `memfd_alloc_folio`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EINVAL, ENOMEM } from '../errno.ts';
import { folioUnlock } from '../mm/fault/folio-lock.ts';
import { hugetlbReserveFile } from '../mm/hugetlb/file-pages.ts';
import { type HugetlbInode, hugetlbInodeOf } from '../mm/hugetlb/hugetlb-inode.ts';
import type { MappedFile } from '../mm/mapped-file.ts';
import { memallocPinRestore, memallocPinSave } from '../mm/memalloc-pin.ts';
import { Sgp, shmemGetFolio } from '../mm/shmem-get-folio.ts';
import type { TaskStruct } from '../task-struct.ts';
import { checkAndMigrateMovableFolios } from './check-and-migrate.ts';
import { FOLL_PIN, type PageArray } from './foll-flags.ts';
import { tryGrabFolio } from './pin.ts';
import { unpinFolios } from './unpin-folio.ts';

const PAGE_BYTES = 4096;

/** Where the range begins in its first folio, in bytes. Filled by `memfdPinFolios`. */
export interface FolioOffset {
  value: number;
}

/**
 * Folios pinned, their first frames in `folios`; or -EINVAL (no memfd, a range that is empty or goes beyond the end of the
 * file), -ENOMEM.
 * @param start first byte
 * @param end last byte, inclusive
 * @param maxFolios room in `folios`
 */
export function* memfdPinFolios(
  current: TaskStruct,
  file: MappedFile | null,
  start: number,
  end: number,
  folios: PageArray,
  maxFolios: number,
  offset: FolioOffset,
): Task<number> {
  if (start < 0 || start > end || maxFolios === 0 || file === null) return -EINVAL;
  const inode = hugetlbInodeOf(file.mapping);
  if (!file.mapping.shmem && inode === null) return -EINVAL;
  if (end >= file.mapping.sizeBytes) return -EINVAL;
  const range: FolioRange = { file, inode, start, end, folios, maxFolios, offset };
  const saved = memallocPinSave(current);
  let pinned: number;
  let error: number;
  do {
    pinned = yield* pinRange(current, range);
    error = pinned <= 0 ? 0 : yield* checkAndMigrateMovableFolios(current, folios, pinned);
  } while (error === -EAGAIN);
  memallocPinRestore(current, saved);
  return error === 0 ? pinned : error;
}

interface FolioRange {
  readonly file: MappedFile;
  readonly inode: HugetlbInode | null;
  readonly start: number;
  readonly end: number;
  readonly folios: PageArray;
  readonly maxFolios: number;
  readonly offset: FolioOffset;
}

/** Folios pinned; on error, none is, and it is returned. */
function* pinRange(current: TaskStruct, range: FolioRange): Task<number> {
  const { inode, start, end, folios, maxFolios, offset } = range;
  const { frames } = current.kernel;
  const step = inode === null ? 1 : inode.pages;
  let index = Math.floor(start / (step * PAGE_BYTES)) * step;
  let pinned = 0;
  while (index * PAGE_BYTES <= end && pinned < maxFolios) {
    const folio = yield* pinFolio(current, range, index);
    if (folio < 0) {
      yield* unpinFolios(current, folios, pinned);
      return folio;
    }
    const first = frames.index(folio);
    if (pinned === 0) offset.value = start - first * PAGE_BYTES;
    folios[pinned++] = folio;
    index = first + 2 ** frames.order(folio);
  }
  return pinned;
}

/** The first frame of the folio at `index`, found or made, with a pin. */
function* pinFolio(current: TaskStruct, range: FolioRange, index: number): Task<number> {
  const { mapping } = range.file;
  const { frames } = current.kernel;
  for (;;) {
    yield mapping.change;
    const frame = mapping.frameAt(index);
    if (frame !== -1) {
      const folio = frames.head(frame);
      return tryGrabFolio(current, folio, FOLL_PIN) === 0 ? folio : -EINVAL;
    }
    const error = yield* addFolio(current, range, index);
    if (error < 0) return error;
  }
}

/** @see `memfd_alloc_folio`: 0, or why there is no page */
function* addFolio(current: TaskStruct, { file, inode }: FolioRange, index: number): Task<number> {
  if (inode !== null) {
    const bytes = inode.pages * PAGE_BYTES;
    const at = index * PAGE_BYTES;
    // fallocate says -ENOSPC where no huge page is free.
    return (yield* hugetlbReserveFile(current, inode, at, at + bytes, true)) === 0 ? 0 : -ENOMEM;
  }
  const { frames } = current.kernel;
  const frame = yield* shmemGetFolio(current, file.mapping, index, Sgp.Cache);
  if (frame < 0) return frame;
  yield* folioUnlock(current, frame);
  yield frames.refPoint(frame);
  frames.put(frame);
  return 0;
}
