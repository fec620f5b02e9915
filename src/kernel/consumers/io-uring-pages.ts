/**
 * The pages of one buffer that is registered with io_uring, pinned for long and for writing. Three forms:
 * - `today`: pin_user_pages_fast, and no look at VMAs. What may not be pinned for long, GUP refuses itself.
 * - `6.4`: as up to Linux 6.4, where pin_user_pages gave the VMAs: all must have the same file, or none, and a file must be
 *   shared memory or huge pages. Here it looks them up itself, which comes to the same.
 * - `v4`: as the fourth version of the patches that removed `vmas` proposed: it looks the VMAs up after pinning, under the same
 *   hold of mmap_lock, and a file must be one of huge pages. As posted it refused shared memory, which review found, and the
 *   second VMA of one file of huge pages; here the latter is allowed, as its cover letter says.
 * @see Linux io_uring/memmap.c, `io_pin_pages`; v6.4 io_uring/rsrc.c; Lorenzo Stoakes, "[PATCH v4 4/6] io_uring: rsrc: avoid
 * use of vmas parameter in pin_user_pages()", 18 April 2023, and David Hildenbrand's answer of the same day
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINVAL, EOPNOTSUPP } from '../errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../gup/foll-flags.ts';
import { pinUserPages } from '../gup/get-user-pages.ts';
import { pinUserPagesFast } from '../gup/get-user-pages-fast.ts';
import { unpinUserPages } from '../gup/pin.ts';
import { mmapAssertLocked, mmapReadLock, mmapReadUnlock } from '../lock/mmap-lock.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import { pageOf, pagesOf } from './pinning-device.ts';

export type IoPinForm = 'today' | '6.4' | 'v4';

const FLAGS = FOLL_WRITE | FOLL_LONGTERM;

/** 0 with the frames in `pages`, or -errno with nothing pinned; -EFAULT also for a part. */
export function* ioPinPages(
  current: TaskStruct,
  address: bigint,
  bytes: bigint,
  form: IoPinForm,
  pages: number[],
): Task<number> {
  const count = pagesOf(address, bytes);
  const pinned =
    form === 'today'
      ? yield* pinUserPagesFast(current, pageOf(address), count, FLAGS, pages)
      : yield* pinAndCheck(current, pageOf(address), count, form, pages);
  if (pinned === count) return 0;
  if (pinned > 0) yield* unpinUserPages(current, pages, pinned);
  return pinned < 0 ? pinned : -EFAULT;
}

/** Pages pinned, or -errno with nothing pinned. */
function* pinAndCheck(
  current: TaskStruct,
  startPage: number,
  count: number,
  form: IoPinForm,
  pages: number[],
): Task<number> {
  const { mm } = current;
  if (mm === null) return -EFAULT;
  yield* mmapReadLock(current, mm);
  const pinned = yield* pinUserPages(current, startPage, count, FLAGS, pages);
  const error = pinned === count ? checkVmas(current, mm, startPage, count, form) : 0;
  yield* mmapReadUnlock(current, mm);
  if (error === 0) return pinned;
  yield* unpinUserPages(current, pages, pinned);
  return error;
}

/** `check_vmas_locked`: 0; -EINVAL when the VMAs have not all the same file; -EOPNOTSUPP for a file of the wrong kind. */
function checkVmas(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  form: IoPinForm,
): number {
  mmapAssertLocked(current, mm);
  const first = mm.vmas.find(startPage);
  if (first === null) return -EINVAL;
  for (let vma: VmArea | null = first; vma !== null && vma.start < startPage + count; ) {
    if (vma.file !== first.file) return -EINVAL;
    const mapping = vma.file?.mapping;
    const allowed = mapping === undefined || mapping.huge !== null || (form === '6.4' && mapping.shmem);
    if (!allowed) return -EOPNOTSUPP;
    vma = mm.vmas.find(vma.end);
  }
  return 0;
}
