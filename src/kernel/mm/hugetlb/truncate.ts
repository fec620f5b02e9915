/**
 * Taking pages out of a file of huge pages: a smaller size, or a hole. What maps them is unmapped first, with the private
 * copies that mappings have made in their place.
 * @see Linux fs/hugetlbfs/inode.c, `hugetlbfs_setattr`, `hugetlb_vmtruncate`, `hugetlb_vmdelete_list`,
 * `remove_inode_hugepages`, `hugetlb_unmap_file_folio`, `hugetlbfs_punch_hole`
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL, EPERM } from '../../errno.ts';
import type { RwSemaphore } from '../../lock/rwsem.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioLock, folioUnlock } from '../fault/folio-lock.ts';
import { F_SEAL_GROW, F_SEAL_SHRINK, F_SEALS_AGAINST_WRITING } from '../seals.ts';
import type { VmArea } from '../vma.ts';
import { vmasMapping } from './file-vmas.ts';
import type { HugetlbInode } from './hugetlb-inode.ts';
import { hugetlbVmaLockOf } from './hugetlb-vma.ts';
import { unmapHugepageRangeSingle } from './zap.ts';

const PAGE_BYTES = 4096;
const ALL = Number.POSITIVE_INFINITY;

/**
 * ftruncate, with the inode's lock held: 0, -EINVAL (no whole huge pages) or -EPERM (sealed).
 * @see `hugetlbfs_setattr`
 */
export function* hugetlbSetSize(current: TaskStruct, inode: HugetlbInode, size: number): Task<number> {
  const { mapping, pages } = inode;
  if (size % (pages * PAGE_BYTES) !== 0) return -EINVAL;
  const old = mapping.sizeBytes;
  const seals = (size < old ? F_SEAL_SHRINK : 0) | (size > old ? F_SEAL_GROW : 0);
  if ((mapping.seals & seals) !== 0) return -EPERM;
  yield mapping.change;
  mapping.sizeBytes = size;
  const first = size / PAGE_BYTES;
  yield* unmapFilePages(current, inode, first, ALL, true);
  const freed = yield* removePages(current, inode, first, ALL, false);
  yield inode.hstate.change;
  inode.unreserve(first / pages, ALL, freed);
  return 0;
}

/**
 * The bytes [start, end) read as zeros afterwards, and huge pages that lie wholly in the hole are free for anybody. With
 * the inode's lock held. 0 or -EPERM (sealed).
 */
export function* hugetlbPunchHole(
  current: TaskStruct,
  inode: HugetlbInode,
  start: number,
  end: number,
): Task<number> {
  if ((inode.mapping.seals & F_SEALS_AGAINST_WRITING) !== 0) return -EPERM;
  const bytes = inode.pages * PAGE_BYTES;
  const first = Math.ceil(start / bytes) * bytes;
  const limit = Math.floor(end / bytes) * bytes;
  if (first > limit) {
    yield* zeroPart(current, inode, start, end);
    return 0;
  }
  yield* zeroPart(current, inode, start, first);
  yield* zeroPart(current, inode, limit, end);
  if (first === limit) return 0;
  yield* unmapFilePages(current, inode, first / PAGE_BYTES, limit / PAGE_BYTES, false);
  yield* removePages(current, inode, first / PAGE_BYTES, limit / PAGE_BYTES, true);
  return 0;
}

/** @see `hugetlbfs_zero_partial_page`: a page that is not in the file reads as zeros anyway */
function* zeroPart(current: TaskStruct, inode: HugetlbInode, start: number, end: number): Task<void> {
  const { frames, machine } = current.kernel;
  const bytes = inode.pages * PAGE_BYTES;
  const head = inode.frameAt(Math.floor(start / bytes));
  if (end <= start || head === -1) return;
  frames.get(head);
  yield* folioLock(current, head);
  for (let at = start; at < end; ) {
    const inPage = at % PAGE_BYTES;
    const count = Math.min(PAGE_BYTES - inPage, end - at);
    const frame = head + Math.floor((at % bytes) / PAGE_BYTES);
    machine.memory.writeBytes(frame, inPage, new Uint8Array(count));
    at += count;
  }
  yield* folioUnlock(current, head);
  yield frames.refPoint(head);
  frames.put(head);
}

/**
 * Unmaps [first, end) of the file, small pages, wherever it is mapped. The lock of a VMA comes before that of the file's
 * mappings, so here it can only be tried: when somebody has one, he is waited for with nothing held.
 */
function* unmapFilePages(
  current: TaskStruct,
  inode: HugetlbInode,
  first: number,
  end: number,
  dropMarkers: boolean,
): Task<void> {
  const { iMmapRwsem } = inode.mapping;
  for (;;) {
    let busy: RwSemaphore | null = null;
    yield* iMmapRwsem.downWrite(current);
    for (const vma of vmasMapping(inode, first, end)) {
      const lock = hugetlbVmaLockOf(vma);
      if (lock !== null && !(yield* lock.downWriteTrylock(current))) {
        busy = lock;
        continue;
      }
      const [from, to] = rangeIn(vma, first, end);
      yield* unmapHugepageRangeSingle(current, vma, from, to, { frame: -1, dropMarkers });
      if (lock !== null) yield* lock.upWrite(current);
    }
    yield* iMmapRwsem.upWrite(current);
    if (busy === null) return;
    yield* busy.downWrite(current);
    yield* busy.upWrite(current);
  }
}

/** Where the VMA maps [first, end) of the file. */
function rangeIn(vma: VmArea, first: number, end: number): readonly [number, number] {
  return [vma.start + Math.max(first - vma.pgoff, 0), Math.min(vma.start + (end - vma.pgoff), vma.end)];
}

/**
 * Takes the pages out, one at a time under its fault mutex. Returns how many.
 * @param hole what was promised of them goes with each, as the rest of the file stays
 * @see `remove_inode_hugepages`, `remove_inode_single_folio`
 */
function* removePages(
  current: TaskStruct,
  inode: HugetlbInode,
  first: number,
  end: number,
  hole: boolean,
): Task<number> {
  const { frames, hugetlb } = current.kernel;
  const { mapping, pages, serial } = inode;
  let freed = 0;
  for (const index of mapping.indexes()) {
    if (index < first || index >= end) continue;
    const mutex = hugetlb.faultMutex(serial, index / pages);
    yield* mutex.downWrite(current);
    const frame = mapping.frameAt(index);
    if (frame !== -1) {
      // Faulted in again by somebody who looked at the size before.
      if (frames.isMapped(frame)) yield* unmapFilePages(current, inode, index, index + pages, !hole);
      frames.get(frame);
      yield* folioLock(current, frame);
      yield mapping.change;
      mapping.remove(frames, index);
      if (hole) inode.unreserve(index / pages, index / pages + 1, 1);
      yield* folioUnlock(current, frame);
      yield frames.refPoint(frame);
      frames.put(frame);
      freed++;
    }
    yield* mutex.upWrite(current);
  }
  return freed;
}
