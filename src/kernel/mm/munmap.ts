/**
 * munmap, and taking out what MAP_FIXED maps over: split at the ends, detach the VMAs into a list of their own, clear
 * the range in the tree, let readers in, then zap the pages and free tables.
 * Left out: ksm, perf; allocation failure.
 * @see Linux mm/vma.c, `do_vmi_munmap`, `vms_gather_munmap_vmas`, `vms_complete_munmap_vmas`; mm/mmap.c, `__vm_munmap`
 */
import type { Task } from '../../base/task.ts';
import { EINTR, EINVAL, ENOMEM, EPERM } from '../errno.ts';
import {
  mmapReadUnlock,
  mmapWriteDowngrade,
  mmapWriteLockKillable,
  mmapWriteUnlock,
} from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { unlinkAnonVmas } from './anon-vma.ts';
import { freePgtables, USER_PGTABLES_CEILING } from './free-pgtables.ts';
import { fput } from './mapped-file.ts';
import type { MmStruct } from './mm.ts';
import { tlbFinishMmu, tlbGatherMmu } from './mmu-gather.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from './mmu-notifier.ts';
import { vmUnacctMemory } from './overcommit.ts';
import { userfaultfdUnmapComplete, userfaultfdUnmapPrep } from './userfaultfd/events.ts';
import { type VmArea, vmaClose } from './vma.ts';
import {
  isDataMapping,
  isExecMapping,
  isStackMapping,
  VM_ACCOUNT,
  VM_LOCKED,
  VMH_SEALED,
} from './vma-flags.ts';
import { vmaMarkAttached, vmaMarkDetached, vmaStartWrite } from './vma-lock.ts';
import { vmAreaFree } from './vma-slab.ts';
import { splitVmaUnlimited } from './vma-split.ts';
import { zapRange } from './zap-range.ts';

/** The VMAs of a range on their way out (`struct vma_munmap_struct`). */
export class VmasToUnmap {
  readonly mm: MmStruct;
  readonly start: number;
  readonly end: number;
  /** Detached, from the lowest. */
  readonly vmas: VmArea[] = [];
  /** The VMAs beside the range. */
  prev: VmArea | null = null;
  next: VmArea | null = null;
  /** Pages: all of them, and by how they are counted. */
  pages = 0;
  lockedPages = 0;
  accountedPages = 0;
  execPages = 0;
  stackPages = 0;
  dataPages = 0;
  /** Their ptes are still there. */
  ptesLeft = true;

  constructor(mm: MmStruct, start: number, end: number) {
    this.mm = mm;
    this.start = start;
    this.end = end;
  }

  add(vma: VmArea): void {
    const { pages, flags } = vma;
    this.vmas.push(vma);
    this.pages += pages;
    if ((flags & VM_LOCKED) !== 0) this.lockedPages += pages;
    if ((flags & VM_ACCOUNT) !== 0) this.accountedPages += pages;
    if (isExecMapping(flags)) this.execPages += pages;
    else if (isStackMapping(flags)) this.stackPages += pages;
    else if (isDataMapping(flags)) this.dataPages += pages;
  }
}

const isSealed = (vma: VmArea): boolean => (vma.flagsHigh & VMH_SEALED) !== 0;

function* splitFirst(current: TaskStruct, range: VmasToUnmap, first: VmArea): Task<number> {
  const { mm, start, end } = range;
  if (start <= first.start) return 0;
  // Taking out the end of a VMA leaves as many VMAs as before; only a hole in the middle makes one more.
  if (end < first.end && mm.mapCount >= mm.kernel.config.maxMapCount) return -ENOMEM;
  if (isSealed(first)) return -EPERM;
  return yield* splitVmaUnlimited(current, mm, first, start, true);
}

/** Puts detached VMAs back. What was split stays split. @see mm/vma.c, `reattach_vmas` */
export function reattachVmas(range: VmasToUnmap): void {
  for (const vma of range.vmas) vmaMarkAttached(vma);
  range.vmas.length = 0;
  range.pages = 0;
}

/**
 * Splits at both ends and detaches all VMAs of the range; they are still in the tree. Returns 0; or -ENOMEM (map
 * limit), -EPERM (sealed) with everything attached as before.
 * @see mm/vma.c, `vms_gather_munmap_vmas`
 */
export function* vmsGatherMunmapVmas(current: TaskStruct, range: VmasToUnmap, first: VmArea): Task<number> {
  const { mm, start, end } = range;
  let error = yield* splitFirst(current, range, first);
  if (error !== 0) return error;
  range.prev = mm.vmas.findPrevious(start);
  for (let vma = mm.vmas.findIntersection(start, end); vma !== null; ) {
    if (isSealed(vma)) error = -EPERM;
    else if (vma.end > end) error = yield* splitVmaUnlimited(current, mm, vma, end, false);
    if (error !== 0) {
      reattachVmas(range);
      return error;
    }
    yield* vmaStartWrite(current, mm, vma);
    yield* vmaMarkDetached(current, vma);
    range.add(vma);
    yield* userfaultfdUnmapPrep(current, vma, start, end);
    vma = mm.vmas.findIntersection(vma.end, end);
  }
  range.next = mm.vmas.find(end);
  return 0;
}

/**
 * Zaps the pages of the detached VMAs and frees the page tables that nothing else needs.
 * @see mm/vma.c, `vms_clear_ptes`
 */
export function* vmsClearPtes(current: TaskStruct, range: VmasToUnmap): Task<void> {
  if (!range.ptesLeft || range.vmas.length === 0) return;
  range.ptesLeft = false;
  const { mm, vmas, prev, next } = range;
  const gather = yield* tlbGatherMmu(current, mm);
  const told = mmuNotifierRange(mm, vmas[0]?.start ?? 0, vmas.at(-1)?.end ?? 0, 'unmap');
  yield* mmuNotifierStart(current, told);
  for (const vma of vmas) yield* zapRange(current, mm, vma, vma.start, vma.end, gather);
  yield* mmuNotifierEnd(current, told);
  yield* freePgtables(current, mm, gather, vmas, prev?.end ?? 0, next?.start ?? USER_PGTABLES_CEILING);
  yield* tlbFinishMmu(current, gather);
}

/** A VMA that is out of the tree and whose ptes are gone. @see mm/vma.c, `remove_vma` */
export function* removeVma(current: TaskStruct, vma: VmArea): Task<void> {
  yield* unlinkAnonVmas(current, vma);
  vmaClose(vma);
  if (vma.file !== null) yield* fput(vma.mm.kernel.frames, vma.file);
  vmAreaFree(vma);
}

/**
 * The end of the road for the VMAs of the range, which are out of the tree.
 * @param unlock let readers in while pages are zapped, and release mmap_lock at the end
 * @see mm/vma.c, `vms_complete_munmap_vmas`
 */
export function* vmsCompleteMunmapVmas(current: TaskStruct, range: VmasToUnmap, unlock: boolean): Task<void> {
  const { mm, vmas } = range;
  mm.mapCount -= vmas.length;
  mm.lockedVm -= range.lockedPages;
  if (unlock) yield* mmapWriteDowngrade(current, mm);
  yield* vmsClearPtes(current, range);
  mm.totalVm -= range.pages;
  mm.execVm -= range.execPages;
  mm.stackVm -= range.stackPages;
  mm.dataVm -= range.dataPages;
  for (const vma of vmas) yield* removeVma(current, vma);
  vmUnacctMemory(mm.kernel, range.accountedPages);
  if (unlock) yield* mmapReadUnlock(current, mm);
}

/**
 * Unmaps [start, end), in which `first` is the first VMA. Returns 0, or a negative errno with nothing unmapped and
 * mmap_lock still held for writing. On success with `unlock`, mmap_lock has been released.
 * @see mm/vma.c, `do_vmi_align_munmap`
 */
export function* doVmiAlignMunmap(
  current: TaskStruct,
  mm: MmStruct,
  first: VmArea,
  start: number,
  end: number,
  unlock: boolean,
): Task<number> {
  const range = new VmasToUnmap(mm, start, end);
  const error = yield* vmsGatherMunmapVmas(current, range, first);
  if (error !== 0) return error;
  yield mm.treeStore;
  for (const vma of range.vmas) mm.vmas.remove(vma.start);
  yield* vmsCompleteMunmapVmas(current, range, unlock);
  return 0;
}

/** Pages of a length in bytes, rounded up (`PAGE_ALIGN`); the length is below 2^64 - 4095. */
export function pagesOfLength(length: bigint): number {
  return Number((length + 0xfffn) >> 12n);
}

/**
 * munmap under mmap_lock held for writing. Bytes. Returns 0, -EINVAL, -EPERM or -ENOMEM; on success with `unlock`
 * mmap_lock has been released.
 * @see mm/vma.c, `do_vmi_munmap`
 */
export function* doMunmap(
  current: TaskStruct,
  mm: MmStruct,
  address: bigint,
  length: bigint,
  unlock: boolean,
): Task<number> {
  const taskSize = BigInt(mm.taskSizePages) << 12n;
  if ((address & 0xfffn) !== 0n || address > taskSize || length > taskSize - address) return -EINVAL;
  const start = Number(address >> 12n);
  const end = start + pagesOfLength(length);
  if (end === start) return -EINVAL;
  const first = mm.vmas.findIntersection(start, end);
  if (first === null) {
    if (unlock) yield* mmapWriteUnlock(current, mm);
    return 0;
  }
  return yield* doVmiAlignMunmap(current, mm, first, start, end, unlock);
}

/**
 * The system call. `address` and `length` are bytes, unsigned 64 bits. Returns 0 or a negative errno: -EINTR (killed
 * while waiting for mmap_lock), -EINVAL, -EPERM (sealed), -ENOMEM (a hole would make one VMA too many).
 * @see mm/mmap.c, `__vm_munmap`, `munmap`
 */
export function* sysMunmap(current: TaskStruct, address: bigint, length: bigint): Task<number> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls munmap without an address space`);
  const start = current.kernel.arch.untaggedAddress(current.cpu, address);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return -EINTR;
  const error = yield* doMunmap(current, mm, start, length, true);
  if (error !== 0) yield* mmapWriteUnlock(current, mm);
  yield* userfaultfdUnmapComplete(current);
  return error;
}
