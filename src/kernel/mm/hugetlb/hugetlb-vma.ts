/**
 * What a VMA of huge pages has beside others: the map of its promises, whose they are, and the lock that keeps its
 * page tables from being unshared while somebody walks them.
 * Left out: control groups.
 * @see Linux mm/hugetlb.c, `vma_resv_map`, `set_vma_resv_flags`, `hugetlb_vma_lock_read`, `hugetlb_vm_op_open`,
 * `hugetlb_vm_op_close`, `hugetlb_vm_op_split`, `hugetlb_dup_vma_private`, `clear_vma_resv_huge_pages`
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL } from '../../errno.ts';
import { RwSemaphore } from '../../lock/rwsem.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { VmArea, VmOperations } from '../vma.ts';
import { VM_HUGETLB, VM_MAYSHARE } from '../vma-flags.ts';
import type { Hstate } from './hstate.ts';
import { type HugetlbInode, hugetlbInodeOf } from './hugetlb-inode.ts';
import type { ResvMap } from './resv-map.ts';

/** `vm_private_data` of a VMA of huge pages. */
export class HugetlbVmaData {
  /** Of a private mapping: the promises it has used up. Null when it has none (MAP_NORESERVE, a fork's child). */
  resvMap: ResvMap | null = null;
  /** The promises are this mapping's own (`HPAGE_RESV_OWNER`). */
  owner = false;
  /** The owner of the promises took a page from this VMA: its faults fail (`HPAGE_RESV_UNMAPPED`). */
  unmapped = false;
  /** Of a sharable mapping: its vma_lock, whose VMA this is; null after the VMA's last unmap. */
  vmaLock: RwSemaphore | null = null;
}

export function isHugetlbVma(vma: VmArea): boolean {
  return (vma.flags & VM_HUGETLB) !== 0;
}

export function hugetlbData(vma: VmArea): HugetlbVmaData {
  if (vma.privateData instanceof HugetlbVmaData) return vma.privateData;
  throw new Error(`${vma.name} has no huge pages`);
}

export function inodeOfVma(vma: VmArea): HugetlbInode {
  const inode = vma.file === null ? null : hugetlbInodeOf(vma.file.mapping);
  if (inode === null) throw new Error(`${vma.name} maps no file of huge pages`);
  return inode;
}

/** `hstate_vma`. */
export function hstateOfVma(vma: VmArea): Hstate {
  return inodeOfVma(vma).hstate;
}

/** Position of `page` in the file, in huge pages (`vma_hugecache_offset`). */
export function hugeIndex(vma: VmArea, page: number): number {
  const { pages } = hstateOfVma(vma);
  return Math.floor((page - vma.start) / pages) + Math.floor(vma.pgoff / pages);
}

/** First page of the huge page that `page` lies in. */
export function hugeStart(vma: VmArea, page: number): number {
  return page - (page % hstateOfVma(vma).pages);
}

/** The map that says what is promised here; null when nothing is. @see `vma_resv_map` */
export function vmaResvMap(vma: VmArea): ResvMap | null {
  return (vma.flags & VM_MAYSHARE) !== 0 ? inodeOfVma(vma).resvMap : hugetlbData(vma).resvMap;
}

/** Does the VMA own promises of its own? @see `__vma_private_lock` */
export function ownsReservations(vma: VmArea): boolean {
  const { owner, resvMap } = hugetlbData(vma);
  return (vma.flags & VM_MAYSHARE) === 0 && owner && resvMap !== null;
}

// --- the vma_lock ---

/**
 * The lock of `hugetlb_vma_lock_read`: that of a sharable VMA; a private mapping with promises of its own has one in
 * its map, any other none.
 */
export function hugetlbVmaLockOf(vma: VmArea): RwSemaphore | null {
  const data = hugetlbData(vma);
  if ((vma.flags & VM_MAYSHARE) !== 0) return data.vmaLock;
  return ownsReservations(vma) ? (data.resvMap?.lock ?? null) : null;
}

export function* hugetlbVmaLockRead(current: TaskStruct, vma: VmArea): Task<void> {
  const lock = hugetlbVmaLockOf(vma);
  if (lock !== null) yield* lock.downRead(current);
}

export function* hugetlbVmaUnlockRead(current: TaskStruct, vma: VmArea): Task<void> {
  const lock = hugetlbVmaLockOf(vma);
  if (lock !== null) yield* lock.upRead(current);
}

export function* hugetlbVmaLockWrite(current: TaskStruct, vma: VmArea): Task<void> {
  const lock = hugetlbVmaLockOf(vma);
  if (lock !== null) yield* lock.downWrite(current);
}

export function* hugetlbVmaUnlockWrite(current: TaskStruct, vma: VmArea): Task<void> {
  const lock = hugetlbVmaLockOf(vma);
  if (lock !== null) yield* lock.upWrite(current);
}

/** With its last unmap a VMA can no longer share tables. @see `__hugetlb_vma_unlock_write_free` */
export function* hugetlbVmaUnlockWriteFree(current: TaskStruct, vma: VmArea): Task<void> {
  yield* hugetlbVmaUnlockWrite(current, vma);
  hugetlbData(vma).vmaLock = null;
}

/** @see `hugetlb_vma_lock_alloc` */
export function allocVmaLock(vma: VmArea): void {
  if ((vma.flags & VM_MAYSHARE) === 0) return;
  hugetlbData(vma).vmaLock = new RwSemaphore(`hugetlb vma_lock ${vma.name}`);
}

// --- operations ---

/** @see `hugetlb_vm_op_open`: a split, or the target of a move, uses the same map of promises */
function open(vma: VmArea): void {
  const source = hugetlbData(vma);
  const data = new HugetlbVmaData();
  data.unmapped = source.unmapped;
  if (ownsReservations(vma)) {
    data.resvMap = source.resvMap;
    data.owner = true;
    if (data.resvMap !== null) data.resvMap.references++;
  }
  vma.privateData = data;
  allocVmaLock(vma);
}

/** @see `hugetlb_vm_op_close`: promises that were not used up are taken back */
function close(vma: VmArea): void {
  const data = hugetlbData(vma);
  data.vmaLock = null;
  const { resvMap } = data;
  if (resvMap === null || !ownsReservations(vma)) return;
  const start = hugeIndex(vma, vma.start);
  const end = hugeIndex(vma, vma.end);
  hstateOfVma(vma).acctMemory(-resvMap.missing(start, end));
  resvMap.references--;
  data.resvMap = null;
}

export const hugetlbVmOperations: VmOperations = {
  name: 'hugetlb',
  hasClose: true,
  hasMapPages: false,
  maySplit: (vma, page) => (page % hstateOfVma(vma).pages === 0 ? 0 : -EINVAL),
  open,
  close,
};

/**
 * The private data of a fork's child: no promise is inherited, whoever faults in the child must find a free page.
 * @see `hugetlb_dup_vma_private`, and `hugetlb_vm_op_open` afterwards
 */
export function hugetlbDupVmaPrivate(child: VmArea): void {
  child.privateData = new HugetlbVmaData();
  allocVmaLock(child);
}

/**
 * The promises have moved to another VMA, made by `open`: this one, which is about to go, has none.
 * @see `clear_vma_resv_huge_pages`, for mremap
 */
export function clearVmaResvHugePages(vma: VmArea): void {
  const data = hugetlbData(vma);
  if (ownsReservations(vma) && data.resvMap !== null) data.resvMap.references--;
  data.resvMap = null;
  data.owner = false;
}
