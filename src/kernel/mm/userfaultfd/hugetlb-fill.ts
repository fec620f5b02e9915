/**
 * Filling huge pages of hugetlb in: copied data, a page that the file has, or poison. There is no huge zero page of every
 * size, so UFFDIO_ZEROPAGE is refused.
 * @see Linux mm/userfaultfd.c, `mfill_atomic_hugetlb`; mm/hugetlb.c, `hugetlb_mfill_atomic_pte`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { EEXIST, EFAULT, EINTR, EINVAL, EIO, ENOMEM } from '../../errno.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioLock, folioSetLocked, folioUnlock } from '../fault/folio-lock.ts';
import { HugeFault } from '../hugetlb/huge-fault.ts';
import { hugeEntryFlags, hugePteAlloc } from '../hugetlb/huge-pte.ts';
import { hugetlbAddFileRmap, hugetlbAddNewAnonRmap, hugetlbCountAdd } from '../hugetlb/huge-rmap.ts';
import { hugetlbVmaLockRead, hugetlbVmaUnlockRead } from '../hugetlb/hugetlb-vma.ts';
import { allocHugetlbFolio, restoreReserveOnError } from '../hugetlb/reservation.ts';
import type { TablePage } from '../page-table.ts';
import { PTE_MARKER_POISONED, SWP_PTE_MARKER } from '../swap-entry.ts';
import type { VmArea } from '../vma.ts';
import { VM_SHARED } from '../vma-flags.ts';
import { type FillOperation, RETRY_OUTSIDE } from './fill-operation.ts';
import { packMarker, withUffdWp } from './wp-marker.ts';

/** The part in a VMA whose lock is held, with map_changing_lock. 0, -errno or RETRY_OUTSIDE. */
export function* fillHugetlbLocked(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  pages: number,
  operation: FillOperation,
  progress: { done: number },
): Task<number> {
  const { huge } = operation;
  const unit = new HugeFault(current, vma, start, 0).pages;
  if (huge === null || start % unit !== 0 || pages % unit !== 0) return -EINVAL;
  while (progress.done < pages) {
    const fill = new HugeFill(current, vma, start + progress.done, progress.done, operation);
    const error = yield* fill.run();
    if (error !== 0) return error;
    progress.done += unit;
    if (current.fatalSignalPending()) return -EINTR;
  }
  return 0;
}

/** A page to be mapped, and whose it is. */
interface FoundPage {
  readonly frame: number;
  /** In the file, and locked. */
  readonly cached: boolean;
}

class HugeFill {
  readonly #fault: HugeFault;
  readonly #offset: number;
  readonly #operation: FillOperation;

  constructor(current: TaskStruct, vma: VmArea, page: number, offset: number, operation: FillOperation) {
    this.#fault = new HugeFault(current, vma, page, 0);
    this.#offset = offset;
    this.#operation = operation;
  }

  get #shared(): boolean {
    return (this.#fault.vma.flags & VM_SHARED) !== 0;
  }

  /** One huge page, with the mutex that its faults take. */
  *run(): Task<number> {
    const { current, vma, mm, start, mutex } = this.#fault;
    yield* mutex.downWrite(current);
    yield* hugetlbVmaLockRead(current, vma);
    const table = yield* hugePteAlloc(current, mm, vma, start);
    const error = table === null ? -ENOMEM : yield* this.#fill(table);
    yield* hugetlbVmaUnlockRead(current, vma);
    yield* mutex.upWrite(current);
    return error;
  }

  *#fill(table: TablePage): Task<number> {
    const { huge } = this.#operation;
    if (huge === 'poison') return yield* this.#poison(table);
    if (huge !== 'continue' && !this.#isEmpty(table)) return -EEXIST;
    const found = huge === 'continue' ? yield* this.#findCached() : yield* this.#newPage();
    return typeof found === 'number' ? found : yield* this.#install(table, found);
  }

  /** Nothing, or a marker of any kind. */
  #isEmpty(table: TablePage): boolean {
    const { pageTables } = this.#fault.kernel;
    pageTables.read(table, this.#fault.index);
    const { format, hi, lo } = pageTables;
    if (format.isNone(hi, lo)) return true;
    const absent = (pageTables.flags(table.level) & EntryFlag.Present) === 0;
    return absent && format.swapTypeOf(hi, lo) === SWP_PTE_MARKER;
  }

  *#poison(table: TablePage): Task<number> {
    const { current, kernel, index } = this.#fault;
    const { pageTables } = kernel;
    yield* table.lock.lock(current);
    pageTables.read(table, index);
    const empty = pageTables.format.isNone(pageTables.hi, pageTables.lo);
    if (empty) {
      const entry: Halves = { hi: 0, lo: 0 };
      packMarker(pageTables, PTE_MARKER_POISONED, entry);
      yield table.setEntry;
      pageTables.write(table, index, entry.hi, entry.lo);
    }
    yield* table.lock.unlock(current);
    return empty ? 0 : -EEXIST;
  }

  *#findCached(): Task<FoundPage | number> {
    const { kernel, inode, pageIndex } = this.#fault;
    const { frames } = kernel;
    yield inode.mapping.change;
    const frame = inode.frameAt(pageIndex);
    if (frame === NO_FRAME) return -EFAULT;
    frames.get(frame);
    yield* folioLock(this.#fault.current, frame);
    return { frame, cached: true };
  }

  /** A page with the caller's data; into the file with it, if the mapping is shared. */
  *#newPage(): Task<FoundPage | number> {
    const { kernel, vma, start, inode, pageIndex, pages } = this.#fault;
    const { frames } = kernel;
    if (this.#shared && inode.frameAt(pageIndex) !== NO_FRAME) return -EEXIST;
    const frame = yield* allocHugetlbFolio(vma, start, false);
    if (frame === NO_FRAME) return -ENOMEM;
    if (!this.#operation.fillHugePage(frame, this.#offset, pages)) {
      yield* this.#giveBack(frame);
      return RETRY_OUTSIDE;
    }
    frames.setFlags(frame, FrameFlag.Uptodate);
    if (!this.#shared) return { frame, cached: false };
    yield inode.mapping.change;
    if (pageIndex >= inode.sizeHugePages) {
      yield* this.#giveBack(frame);
      return -EFAULT;
    }
    folioSetLocked(this.#fault.current, frame);
    inode.add(pageIndex, frame);
    return { frame, cached: true };
  }

  /** @see `restore_reserve_on_error` */
  *#giveBack(frame: number): Task<void> {
    const { kernel, vma, start } = this.#fault;
    restoreReserveOnError(vma, start, frame);
    yield kernel.frames.refPoint(frame);
    kernel.frames.put(frame);
  }

  *#install(table: TablePage, { frame, cached }: FoundPage): Task<number> {
    const { current, kernel, vma, mm, start, index, pages } = this.#fault;
    const { frames, pageTables } = kernel;
    const { writeProtect, huge } = this.#operation;
    yield* table.lock.lock(current);
    const broken = frames.hasFlag(frame, FrameFlag.HwPoison) ? -EIO : 0;
    const error = broken === 0 && !this.#isEmpty(table) ? -EEXIST : broken;
    if (error === 0) {
      if (cached) hugetlbAddFileRmap(frames, frame);
      else hugetlbAddNewAnonRmap(frames, frame, vma, start);
      const readOnly = writeProtect || (huge === 'continue' && !this.#shared);
      const flags = hugeEntryFlags(vma, !readOnly) | EntryFlag.Dirty;
      yield table.setEntry;
      pageTables.setLeaf(table, index, frame, writeProtect ? withUffdWp(flags) : flags);
      hugetlbCountAdd(mm, pages);
    }
    yield* table.lock.unlock(current);
    if (cached) yield* folioUnlock(current, frame);
    if (error !== 0 && !cached) yield* this.#giveBack(frame);
    else if (error !== 0) frames.put(frame);
    return error;
  }
}
