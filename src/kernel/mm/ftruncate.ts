/**
 * ftruncate of a tmpfs object. What lies beyond a smaller size is unmapped, everywhere and with private copies, before
 * and after the pages go: a fault that was under way may have copied one meanwhile.
 * Left out: RLIMIT_FSIZE, times, file systems other than tmpfs.
 * @see Linux fs/open.c, `do_ftruncate`; mm/shmem.c, `shmem_setattr`
 */
import type { Task } from '../../base/task.ts';
import { EFBIG, EINVAL, EPERM } from '../errno.ts';
import type { AddressSpace } from '../frame/address-space.ts';
import type { TaskStruct } from '../task-struct.ts';
import { hugetlbInodeOf } from './hugetlb/hugetlb-inode.ts';
import { hugetlbSetSize } from './hugetlb/truncate.ts';
import type { MappedFile } from './mapped-file.ts';
import { MAX_FILE_BYTES } from './memfd.ts';
import { F_SEAL_GROW, F_SEAL_SHRINK } from './seals.ts';
import { secretmemSetSize } from './secretmem.ts';
import { shmemTruncateRange } from './shmem-truncate.ts';
import { unmapMappingPages } from './unmap-mapping.ts';

const PAGE_BYTES = 4096;
const ALL = Number.POSITIVE_INFINITY;

/**
 * `length` is in bytes, unsigned 64 bits. 0, -EINVAL (negative, not open for writing, nothing that has a size, or secret
 * memory that has one already), -EFBIG
 * or -EPERM (sealed).
 */
export function* fileTruncate(current: TaskStruct, file: MappedFile, length: bigint): Task<number> {
  if (length >= 2n ** 63n || !file.writable || file.mappedAs !== 'cache') return -EINVAL;
  const { mapping } = file;
  yield* mapping.iRwsem.downWrite(current);
  const inode = hugetlbInodeOf(mapping);
  let error = -EFBIG;
  if (length <= MAX_FILE_BYTES) {
    const size = Number(length);
    if (mapping.secret !== null) error = yield* secretmemSetSize(current, mapping, size);
    else if (inode !== null) error = yield* hugetlbSetSize(current, inode, size);
    else error = yield* setSize(current, mapping, size);
  }
  yield* mapping.iRwsem.upWrite(current);
  return error;
}

function* setSize(current: TaskStruct, mapping: AddressSpace, size: number): Task<number> {
  const old = mapping.sizeBytes;
  const seals = (size < old ? F_SEAL_SHRINK : 0) | (size > old ? F_SEAL_GROW : 0);
  if ((mapping.seals & seals) !== 0) return -EPERM;
  yield mapping.change;
  mapping.sizeBytes = size;
  if (size > old) return 0;
  const first = mapping.sizePages;
  const mapped = old > first * PAGE_BYTES;
  if (mapped) yield* unmapMappingPages(current, mapping, first, ALL, true);
  // `info->alloced`: in memory or in swap.
  if (mapping.pageCount + mapping.swappedCount > 0) yield* shmemTruncateRange(current, mapping, size, ALL);
  if (mapped) yield* unmapMappingPages(current, mapping, first, ALL, true);
  return 0;
}
