/**
 * Making one huge page of the cached pages of a tmpfs object, whoever maps them. Every small page is locked, taken off its
 * list of reclaim and unmapped everywhere, until nobody has a reference but the page cache and we; the data is copied, holes
 * become zeros; the huge page takes their place in the cache, and the empty pte tables go. Only then it is unlocked: who
 * faults meanwhile waits for it. Where userfaultfd waits for missing pages, no hole is filled behind its back.
 * Left out: files that are not tmpfs (CONFIG_READ_ONLY_THP_FOR_FS is off), copies that run into broken memory, charging.
 * @see Linux mm/khugepaged.c, `collapse_file`
 */
import type { Task } from '../../../base/task.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { NO_SLOT } from '../../frame/swap-area.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { noteReleased, unlockUnwatched } from '../fault/folio-lock.ts';
import { copyUserPage } from '../fault/page-copy.ts';
import { firstMapping, nextMapping } from '../i-mmap.ts';
import type { MmStruct } from '../mm.ts';
import { hugePages } from '../page-table.ts';
import { folioAddLru, folioIsolateLru, folioPutbackLru } from '../reclaim/lru.ts';
import { TlbFlushBatch } from '../reclaim/tlb-batch.ts';
import { tryToUnmap } from '../reclaim/try-to-unmap.ts';
import { Sgp, shmemGetFolio } from '../shmem-get-folio.ts';
import { noteHugePage } from '../vm-events.ts';
import { VM_UFFD_MISSING } from '../vma-flags.ts';
import type { CollapseControl, ScanResult } from './collapse-control.ts';
import { HPAGE_PMD_ORDER } from './policy.ts';
import { retractPageTables } from './retract-page-tables.ts';

/** References of a small page that is ours: the cache's, that of its isolation, and ours. */
const REFERENCES = 3;

/**
 * Of the object's pages from `index` on, a multiple of a huge page, for `mm`, which maps them from `start` on. 'succeed'
 * for khugepaged; else 'pte-mapped-hugepage': the caller maps it.
 */
export function* collapseFile(
  current: TaskStruct,
  mm: MmStruct,
  start: number,
  mapping: AddressSpace,
  index: number,
  control: CollapseControl,
): Task<ScanResult> {
  const { frames } = current.kernel;
  const head = yield* allocUserFolio(current, null, HPAGE_PMD_ORDER, false);
  if (head === NO_FRAME) return 'alloc-huge-page-fail';
  // Nobody else knows it yet; lockdep is not told, as other folios are locked while we have it.
  frames.setFlags(head, FrameFlag.Locked | FrameFlag.SwapBacked);
  const collapse = new FileCollapse(current, mapping, index, head);
  const result = yield* collapse.run();
  if (result !== 'succeed') {
    yield* collapse.rollBack();
    return result;
  }
  yield* retractPageTables(current, mapping, index);
  if (mm.mmUsers > 0) noteHugePage(current, 'thp-collapse', start);
  yield* unlockUnwatched(frames, head);
  yield* collapse.freeOld();
  return control.isKhugepaged ? 'succeed' : 'pte-mapped-hugepage';
}

class FileCollapse {
  readonly #current: TaskStruct;
  readonly #mapping: AddressSpace;
  readonly #first: number;
  readonly #end: number;
  /** First frame of the huge page. */
  readonly #head: number;
  /** The small pages that are ours, in order. */
  readonly #old: number[] = [];
  #holes = 0;

  constructor(current: TaskStruct, mapping: AddressSpace, index: number, head: number) {
    this.#current = current;
    this.#mapping = mapping;
    this.#first = index;
    this.#end = index + hugePages(current.kernel.pageTables);
    this.#head = head;
  }

  *run(): Task<ScanResult> {
    const batch = new TlbFlushBatch();
    let result: ScanResult = 'succeed';
    for (let index = this.#first; index < this.#end && result === 'succeed'; index++) {
      result = yield* this.#take(index, batch);
    }
    // Nobody may go on writing through a stale entry to what is copied now.
    yield* batch.flush(this.#current);
    if (result !== 'succeed') return result;
    yield* this.#copy();
    return this.#holes > 0 ? yield* this.#storeWithHoles() : yield* this.#store();
  }

  /** One page, or a hole. */
  *#take(index: number, batch: TlbFlushBatch): Task<ScanResult> {
    const { frames } = this.#current.kernel;
    const frame = yield* this.#lock(index);
    if (typeof frame === 'string') return frame;
    if (frame === -1) {
      this.#holes++;
      return 'succeed';
    }
    const result = yield* this.#isolate(frame, batch);
    if (result === 'succeed') {
      this.#old.push(frame);
      return result;
    }
    yield* unlockUnwatched(frames, frame);
    yield frames.refPoint(frame);
    frames.put(frame);
    return result;
  }

  /** The page, locked and with a reference, from swap if it is there; -1 for a hole. */
  *#lock(index: number): Task<number | ScanResult> {
    const { frames } = this.#current.kernel;
    const mapping = this.#mapping;
    yield mapping.change;
    const frame = mapping.frameAt(index);
    const swapped = mapping.swapSlotAt(index) !== NO_SLOT;
    if (frame === -1 && !swapped) return index === this.#first && this.#isEmpty() ? 'truncated' : -1;
    if (swapped || !frames.hasFlag(frame, FrameFlag.Uptodate)) {
      const made = yield* shmemGetFolio(this.#current, mapping, index, Sgp.NoAlloc);
      if (made < 0) return 'fail';
      // It stays locked; but others of its kind are waited for with it, which lockdep does not take for right.
      noteReleased(this.#current, made);
      return made;
    }
    if (frames.hasFlag(frame, FrameFlag.Locked)) return 'page-lock';
    frames.setFlags(frame, FrameFlag.Locked);
    frames.get(frame);
    return frame;
  }

  #isEmpty(): boolean {
    const { indexes, swapped } = {
      indexes: this.#mapping.indexes(this.#first, this.#end),
      swapped: this.#mapping.swappedIndexes(this.#first, this.#end),
    };
    return indexes.length === 0 && swapped.length === 0;
  }

  /** Off its list, and out of every page table; with the folio lock. */
  *#isolate(frame: number, batch: TlbFlushBatch): Task<ScanResult> {
    const { frames } = this.#current.kernel;
    if (!frames.hasFlag(frame, FrameFlag.Uptodate)) return 'fail';
    // Truncated or punched before we began, and then filled with a huge page.
    if (frames.order(frame) === HPAGE_PMD_ORDER) return 'pte-mapped-hugepage';
    if (frames.mapping(frame) !== this.#mapping) return 'truncated';
    if (!folioIsolateLru(frames, frame)) return 'del-page-lru';
    if (frames.isMapped(frame)) yield* tryToUnmap(this.#current, frame, batch, { ignoreMlock: true });
    // With the cache locked nobody finds the page; who finds it later waits for its lock.
    yield this.#mapping.change;
    if (frames.refcount(frame) === REFERENCES) return 'succeed';
    folioPutbackLru(frames, frame);
    return 'page-count';
  }

  *#copy(): Task<void> {
    const { kernel } = this.#current;
    const { frames, machine } = kernel;
    let next = 0;
    for (let i = 0; i < this.#end - this.#first; i++) {
      const frame = this.#old[next];
      if (frame !== undefined && frames.index(frame) === this.#first + i) {
        yield* copyUserPage(kernel, frame, this.#head + i);
        next++;
      } else machine.memory.zeroFrame(this.#head + i);
    }
  }

  /** The holes must still be there, and nobody be waiting for one of them to be filled. */
  *#storeWithHoles(): Task<ScanResult> {
    const current = this.#current;
    const mapping = this.#mapping;
    yield* mapping.iMmapRwsem.downRead(current);
    yield mapping.change;
    let result: ScanResult = this.#countHoles() === this.#holes ? 'succeed' : 'page-filled';
    if (result === 'succeed' && this.#isWatched()) result = 'exceed-none-pte';
    if (result === 'succeed') this.#replace();
    yield* mapping.iMmapRwsem.upRead(current);
    return result;
  }

  *#store(): Task<ScanResult> {
    yield this.#mapping.change;
    this.#replace();
    return 'succeed';
  }

  #countHoles(): number {
    const { length } = this.#mapping.indexes(this.#first, this.#end);
    return this.#end - this.#first - length - this.#mapping.swappedIndexes(this.#first, this.#end).length;
  }

  /** Does a userfaultfd wait for missing pages of a VMA that maps the range? */
  #isWatched(): boolean {
    const mapping = this.#mapping;
    let vma = firstMapping(mapping, this.#first, this.#end);
    while (vma !== null && (vma.flags & VM_UFFD_MISSING) === 0) {
      vma = nextMapping(mapping, vma, this.#first, this.#end);
    }
    return vma !== null;
  }

  #replace(): void {
    const { frames } = this.#current.kernel;
    frames.setFlags(this.#head, FrameFlag.Uptodate | FrameFlag.Dirty);
    folioAddLru(frames, this.#head);
    this.#mapping.addLarge(frames, this.#first, this.#head);
  }

  /** The small pages are nobody's any more. */
  *freeOld(): Task<void> {
    const { frames } = this.#current.kernel;
    // The reference of the allocation went to the cache with the page.
    for (const frame of this.#old) {
      frames.setMapping(frame, null, 0);
      frames.clearFlags(frame, FrameFlag.Active | FrameFlag.Unevictable);
      yield* unlockUnwatched(frames, frame);
      yield frames.refPoint(frame);
      for (let i = 0; i < REFERENCES; i++) frames.put(frame);
    }
  }

  /** All as it was, but for the ptes, which faults bring back. */
  *rollBack(): Task<void> {
    const { frames } = this.#current.kernel;
    for (const frame of this.#old) {
      yield* unlockUnwatched(frames, frame);
      folioPutbackLru(frames, frame);
      yield frames.refPoint(frame);
      frames.put(frame);
    }
    frames.clearFlags(this.#head, FrameFlag.Locked);
    frames.put(this.#head);
  }
}
