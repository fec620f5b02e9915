/**
 * The page-table half of fork: the child maps the parent's pages, private ones read-only in both. A page that the parent
 * may have pinned is copied instead, so that the pin keeps its page.
 * Left out: device-private pages.
 * @see Linux mm/memory.c, `copy_page_range`, `copy_pte_range`, `copy_present_ptes`, `copy_present_page`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { EAGAIN, EBUSY, ENOMEM } from '../errno.ts';
import { NO_FRAME } from '../frame/buddy.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import { SINGLE_DEPTH_NESTING } from '../lock/lock-classes.ts';
import type { TaskStruct } from '../task-struct.ts';
import { Unsupported } from '../unsupported.ts';
import { allocUserFolio } from './alloc-folio.ts';
import { endsRun, flagsInRun, foldRun, inRun, unfoldRun } from './contiguous-ptes.ts';
import { deviceExclusiveFrameRead } from './device-exclusive-entry.ts';
import { copyHugetlbPageRange } from './hugetlb/copy.ts';
import { migrationFrameRead } from './migration-entry.ts';
import { copyMigrationPte } from './migration-pte.ts';
import { MM_ANONPAGES, MMF_HAS_PINNED } from './mm.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from './mmu-notifier.ts';
import { endOfHole, entryEnd, PmdKind, pteIndex, type TablePage } from './page-table.ts';
import { pteAlloc, pteOffsetMapLock, pteUnmapUnlock, rootTable } from './page-table-alloc.ts';
import { tryRestoreExclusivePte } from './restore-exclusive.ts';
import { addFileRmap, addMmCounter, addNewAnonRmap, mmCounter, tryDupAnonRmap } from './rmap.ts';
import { SWP_HWPOISON, SWP_PTE_MARKER } from './swap-entry.ts';
import { copySwapPte, swapSlotRead } from './swap-pte.ts';
import { copyHugePmd } from './thp/copy-huge-pmd.ts';
import { copyHighpage } from './user-highpage.ts';
import { copiedMarker, packMarker } from './userfaultfd/wp-marker.ts';
import { noteForkCopy } from './vm-events.ts';
import type { VmArea } from './vma.ts';
import {
  VM_HUGETLB,
  VM_MAYBE_GUARD,
  VM_MIXEDMAP,
  VM_PFNMAP,
  VM_SHARED,
  VM_UFFD_WP,
  VM_WRITE,
} from './vma-flags.ts';
import { entryWritable, maybeWritable, vmaPageProtection } from './vma-protection.ts';

/** Progress units after which the locks are let go if others want the CPU: a copied pte counts 8, an empty one 1. */
const BREAK_AFTER = 32;
const COPIED_UNITS = 8;

/** Would faults in the child not bring the same pages back? @see `vma_needs_copy` */
function vmaNeedsCopy(child: VmArea, parent: VmArea): boolean {
  if ((child.flags & VM_UFFD_WP) !== 0) return true;
  if ((parent.flags & (VM_PFNMAP | VM_MIXEDMAP | VM_MAYBE_GUARD)) !== 0) return true;
  return parent.anonVma !== null;
}

/**
 * Copies what `parent` maps to `child`. Needs both mmap_locks for writing and the parent's VMA write-locked.
 * Returns 0 or -ENOMEM.
 */
export function* copyPageRange(current: TaskStruct, child: VmArea, parent: VmArea): Task<number> {
  if (!vmaNeedsCopy(child, parent)) return 0;
  const { mm } = parent;
  // Whoever pins a page without a lock meanwhile throws the pin away: it came too late for us to copy the page.
  const range = parent.cow ? mmuNotifierRange(mm, parent.start, parent.end, 'protection-page') : null;
  yield* mmuNotifierStart(current, range);
  if (parent.cow) yield* mm.writeProtectSeq.writeBegin();
  if (parent.watcher !== null) parent.watcher.forked(child, parent);
  const error =
    (parent.flags & VM_HUGETLB) !== 0
      ? yield* copyHugetlbPageRange(current, child, parent)
      : yield* copyTables(current, child, parent);
  if (parent.cow) yield* mm.writeProtectSeq.writeEnd();
  yield* mmuNotifierEnd(current, range);
  return error;
}

function* copyTables(current: TaskStruct, child: VmArea, parent: VmArea): Task<number> {
  const { pageTables } = parent.mm.kernel;
  const { format, lastLevel } = pageTables;
  const root = rootTable(parent.mm);
  const copier = new PteCopier(current, child, parent);
  let page = parent.start;
  while (page < parent.end) {
    const kind = pageTables.pmdKind(root, page);
    if (kind === PmdKind.None) {
      page = endOfHole(pageTables, root, page, parent.end);
      continue;
    }
    const end = entryEnd(format, page, parent.end, lastLevel - 1);
    if (kind === PmdKind.Huge) {
      const error = yield* copyHugePmd(current, child, parent, page);
      if (error === -ENOMEM) return error;
      if (error === 0) page = end;
      continue;
    }
    const next = yield* copier.copyRange(page, end);
    if (next < 0) return next;
    page = next;
  }
  return 0;
}

class PteCopier {
  readonly #current: TaskStruct;
  readonly #child: VmArea;
  readonly #parent: VmArea;
  /** A page for a pinned one to be copied to, taken while no lock was held; -1 when there is none. */
  #spare = NO_FRAME;

  constructor(current: TaskStruct, child: VmArea, parent: VmArea) {
    this.#current = current;
    this.#child = child;
    this.#parent = parent;
  }

  /** Copies the ptes of one table; returns `end`, or -ENOMEM. @see `copy_pte_range` */
  *copyRange(start: number, end: number): Task<number> {
    let page = start;
    while (page < end) {
      const next = yield* this.#copyLocked(page, end);
      if (next < 0) return next;
      // Stopped early: a spare page is needed, or the locks were held long enough.
      if (next < end && this.#wantsSpare) {
        this.#wantsSpare = false;
        this.#spare = yield* allocUserFolio(this.#current, this.#child, 0, false);
        if (this.#spare === NO_FRAME) return -ENOMEM;
      }
      page = next;
    }
    return end;
  }

  #wantsSpare = false;

  /** With both locks held: the page to go on with. */
  *#copyLocked(start: number, end: number): Task<number> {
    const current = this.#current;
    if ((yield* pteAlloc(current, this.#child.mm, start)) === null) return -ENOMEM;
    const target = yield* pteOffsetMapLock(current, this.#child.mm, start);
    if (target === null) return -ENOMEM;
    const source = yield* pteOffsetMapLock(current, this.#parent.mm, start, SINGLE_DEPTH_NESTING);
    if (source === null) {
      yield* pteUnmapUnlock(current, target);
      return end;
    }
    let units = 0;
    let busy = false;
    let page = start;
    for (; page < end && units < BREAK_AFTER; page++) {
      const done = yield* this.#copyPte(source, target, page);
      if (done === -EAGAIN) {
        this.#wantsSpare = true;
        break;
      }
      if (done === -EBUSY) {
        busy = true;
        break;
      }
      this.#dropSpare();
      units += done;
    }
    yield* pteUnmapUnlock(current, source);
    yield* pteUnmapUnlock(current, target);
    // A device is being given the page: whatever stops a copy, fork says that there is no memory.
    return busy ? -ENOMEM : page;
  }

  /** A spare page that was not needed in the end. */
  #dropSpare(): void {
    if (this.#spare !== NO_FRAME) this.#current.kernel.frames.put(this.#spare);
    this.#spare = NO_FRAME;
  }

  /** Progress units; -EAGAIN: a spare page is needed; -EBUSY: a device has the page locked. */
  *#copyPte(source: TablePage, target: TablePage, page: number): Task<number> {
    const { pageTables } = this.#current.kernel;
    const { format } = pageTables;
    const index = pteIndex(pageTables, page);
    pageTables.read(source, index);
    const { hi, lo } = pageTables;
    if (format.isNone(hi, lo)) return 1;
    const present = (pageTables.flags(source.level) & EntryFlag.Present) !== 0;
    return yield* present
      ? this.#copyPresent(source, target, index, page)
      : this.#copyNonPresent(source, target, index, page);
  }

  /** The entry was read last. @see `copy_nonpresent_pte` */
  *#copyNonPresent(source: TablePage, target: TablePage, index: number, page: number): Task<number> {
    const { pageTables } = this.#current.kernel;
    const { format, hi, lo } = pageTables;
    const slot = swapSlotRead(this.#parent.mm, source.level);
    if (slot !== -1) {
      yield* copySwapPte(this.#child, source, target, index, slot);
      return COPIED_UNITS;
    }
    const migrating = migrationFrameRead(pageTables, source.level);
    if (migrating !== -1) {
      yield* copyMigrationPte(this.#child, source, target, index, migrating);
      return COPIED_UNITS;
    }
    const exclusive = deviceExclusiveFrameRead(pageTables, source.level);
    if (exclusive !== -1) {
      // Back from the device first, then a page as any other.
      const error = yield* tryRestoreExclusivePte(this.#current, this.#parent, source, page, exclusive);
      if (error !== 0) return error;
      pageTables.read(source, index);
      return yield* this.#copyPresent(source, target, index, page);
    }
    if (format.swapTypeOf(hi, lo) === SWP_HWPOISON) {
      // Memory that is broken is broken for both.
      yield target.setEntry;
      pageTables.write(target, index, hi, lo);
      return COPIED_UNITS;
    }
    if (format.swapTypeOf(hi, lo) !== SWP_PTE_MARKER) throw new Unsupported('fork with swapped pages');
    const marker = copiedMarker(format.swapOffsetOf(hi, lo), this.#child);
    if (marker === 0) return COPIED_UNITS;
    const entry: Halves = { hi: 0, lo: 0 };
    packMarker(pageTables, marker, entry);
    yield target.setEntry;
    pageTables.write(target, index, entry.hi, entry.lo);
    return COPIED_UNITS;
  }

  /** @see `copy_present_ptes`, `__copy_present_ptes` */
  *#copyPresent(source: TablePage, target: TablePage, index: number, page: number): Task<number> {
    const { kernel } = this.#current;
    const { pageTables } = kernel;
    const frame = pageTables.frame(source.level);
    const run = inRun(kernel, source, index);
    const flags = run ? flagsInRun(kernel, source, index) : pageTables.flags(source.level);
    if ((flags & EntryFlag.Special) === 0) {
      const shared = yield* this.#share(frame);
      if (!shared) return yield* this.#copyPinned(target, index, page, frame);
    }
    let copied = flags & ~EntryFlag.Young;
    if (this.#parent.cow && entryWritable(flags)) {
      if (run) yield* unfoldRun(this.#current, this.#parent.mm, source, page);
      yield source.setEntry;
      pageTables.change(source, index, 0, EntryFlag.Write | EntryFlag.ShadowStack);
      copied &= ~(EntryFlag.Write | EntryFlag.ShadowStack);
      // What the hardware set until now is in the entry that was made read-only.
      copied |= pageTables.flags(source.level) & EntryFlag.Dirty;
    }
    if ((this.#parent.flags & VM_SHARED) !== 0) copied &= ~EntryFlag.Dirty;
    if ((this.#child.flags & VM_UFFD_WP) === 0) copied &= ~EntryFlag.UffdWp;
    yield target.setEntry;
    pageTables.setLeaf(target, index, frame, copied);
    if (endsRun(kernel, page, frame)) yield* foldRun(this.#current, this.#child.mm, target, page, frame);
    return COPIED_UNITS;
  }

  /** One more pte for the page; false when it may be pinned and must be copied. */
  *#share(frame: number): Task<boolean> {
    const { frames } = this.#current.kernel;
    const { mm } = this.#child;
    yield frames.refPoint(frame);
    if (frames.hasFlag(frame, FrameFlag.Anon)) {
      const pinned = (this.#parent.mm.flagBits & MMF_HAS_PINNED) !== 0 && frames.maybeDmaPinned(frame);
      if (!tryDupAnonRmap(frames, frame, pinned, mm)) return false;
    } else {
      addFileRmap(frames, frame, mm);
    }
    frames.get(frame);
    addMmCounter(mm, mmCounter(frames, frame), 1);
    return true;
  }

  /** The child gets its own copy at once, exclusive and writable as its VMA is. @see `copy_present_page` */
  *#copyPinned(target: TablePage, index: number, page: number, frame: number): Task<number> {
    const { kernel } = this.#current;
    const { frames, pageTables } = kernel;
    const child = this.#child;
    if (this.#spare === NO_FRAME) return -EAGAIN;
    const copy = this.#spare;
    this.#spare = NO_FRAME;
    copyHighpage(kernel, frame, copy);
    noteForkCopy(this.#current, page, frame, copy);
    frames.setFlags(copy, FrameFlag.Uptodate);
    addNewAnonRmap(frames, copy, child, page);
    addMmCounter(child.mm, MM_ANONPAGES, 1);
    let flags = vmaPageProtection(child) | EntryFlag.Dirty;
    if ((child.flags & VM_WRITE) !== 0) flags |= maybeWritable(child);
    yield target.setEntry;
    pageTables.setLeaf(target, index, copy, flags);
    return COPIED_UNITS;
  }
}
