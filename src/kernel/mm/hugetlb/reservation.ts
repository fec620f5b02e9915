/**
 * Promises of huge pages to mappings, page by page, and taking a page for a fault with or without one.
 * @see Linux mm/hugetlb.c, `__vma_reservation_common`, `alloc_hugetlb_folio`, `restore_reserve_on_error`,
 * `hugetlb_reserve_pages`
 */
import type { Task } from '../../../base/task.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import type { VmArea } from '../vma.ts';
import { VM_MAYSHARE, VM_NORESERVE } from '../vma-flags.ts';
import { hstateOfVma, hugeIndex, hugetlbData, inodeOfVma, vmaResvMap } from './hugetlb-vma.ts';
import { ResvMap } from './resv-map.ts';

/**
 * Is a page at `page` of the VMA not promised, so that one must be free for anybody? A shared map holds the promises,
 * a private one those that are used up.
 * @see `vma_needs_reservation`
 */
export function vmaNeedsReservation(vma: VmArea, page: number): boolean {
  const map = vmaResvMap(vma);
  if (map === null) return true;
  const index = hugeIndex(vma, page);
  const known = map.count(index, index + 1) === 1;
  return (vma.flags & VM_MAYSHARE) !== 0 ? !known : known;
}

/** The page was faulted in: a promise is used up, or made in passing. @see `vma_commit_reservation` */
function vmaCommitReservation(vma: VmArea, page: number): void {
  const index = hugeIndex(vma, page);
  vmaResvMap(vma)?.add(index, index + 1);
}

/** The promise of a page that was used up is there again. @see `vma_add_reservation` */
export function vmaAddReservation(vma: VmArea, page: number): void {
  const index = hugeIndex(vma, page);
  const map = vmaResvMap(vma);
  if ((vma.flags & VM_MAYSHARE) !== 0) map?.add(index, index + 1);
  else map?.delete(index, index + 1);
}

/** The promise of a page is gone. @see `vma_del_reservation` */
function vmaDelReservation(vma: VmArea, page: number): void {
  const index = hugeIndex(vma, page);
  const map = vmaResvMap(vma);
  if ((vma.flags & VM_MAYSHARE) !== 0) map?.delete(index, index + 1);
  else map?.add(index, index + 1);
}

/**
 * A huge page with one reference for `page` of the VMA, or `NO_FRAME`.
 * @param cowFromOwner the owner of promises copies a page: its promise was used up by the original
 * @see `alloc_hugetlb_folio`
 */
export function* allocHugetlbFolio(vma: VmArea, page: number, cowFromOwner: boolean): Task<number> {
  const hstate = hstateOfVma(vma);
  const promised = !cowFromOwner && !vmaNeedsReservation(vma, page);
  yield hstate.change;
  const frame = hstate.dequeue(promised);
  if (frame !== NO_FRAME && !cowFromOwner) vmaCommitReservation(vma, page);
  return frame;
}

/**
 * A page that was taken for `page` is given back unused: the map is to say what it said before. The reference is still
 * the caller's to drop.
 * @see `restore_reserve_on_error`
 */
export function restoreReserveOnError(vma: VmArea, page: number, frame: number): void {
  const hstate = hstateOfVma(vma);
  const needed = vmaNeedsReservation(vma, page);
  if (hstate.restoresReserve(frame)) {
    if (needed) vmaAddReservation(vma, page);
  } else if (!needed) {
    vmaDelReservation(vma, page);
  }
}

/**
 * mmap promises every page of the mapping: of a shared one those of the file that were not promised yet. 0 or -ENOMEM.
 * @see `hugetlb_reserve_pages`
 */
export function* hugetlbReservePages(vma: VmArea, from: number, to: number): Task<number> {
  if ((vma.flags & VM_NORESERVE) !== 0) return 0;
  const inode = inodeOfVma(vma);
  yield inode.hstate.change;
  if ((vma.flags & VM_MAYSHARE) !== 0) return inode.reserveShared(from, to);
  const error = inode.hstate.acctMemory(to - from);
  if (error !== 0) return error;
  const data = hugetlbData(vma);
  data.resvMap = new ResvMap();
  data.owner = true;
  return 0;
}
