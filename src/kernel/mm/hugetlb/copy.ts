/**
 * fork and huge pages: private ones are mapped read-only on both sides; one that the parent may have pinned is copied at
 * once, from the pages that nobody was promised. Shared ones are only copied where the VMA has an anon_vma, which it has
 * not: the child faults them in, or shares the table.
 * Left out: migration entries.
 * @see Linux mm/hugetlb.c, `copy_hugetlb_page_range`, `hugetlb_install_folio`
 */
import { EntryFlag, pagesPerEntry } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import type { Halves } from '../../../base/u64.ts';
import { ENOMEM } from '../../errno.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { SINGLE_DEPTH_NESTING } from '../../lock/lock-classes.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { TablePage } from '../page-table.ts';
import { PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from '../swap-entry.ts';
import { noteForkCopy } from '../vm-events.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_WP } from '../vma-flags.ts';
import { HugeFault } from './huge-fault.ts';
import { hugeEntryFlags, hugePteAlloc } from './huge-pte.ts';
import {
  hugetlbAddFileRmap,
  hugetlbAddNewAnonRmap,
  hugetlbCountAdd,
  hugetlbTryDupAnonRmap,
} from './huge-rmap.ts';
import { hugeEntryIndex, hugetlbWalk } from './huge-walk.ts';
import { hstateOfVma, hugetlbVmaLockRead, hugetlbVmaUnlockRead } from './hugetlb-vma.ts';
import { allocHugetlbFolio, restoreReserveOnError } from './reservation.ts';

/** One entry to copy. */
interface Copying {
  readonly current: TaskStruct;
  readonly child: VmArea;
  readonly parent: VmArea;
  readonly page: number;
  readonly source: TablePage;
  readonly target: TablePage;
  readonly index: number;
}

/** The parent may have the page pinned: it must be copied, which needs the locks let go. */
const COPY_NEEDED = 1;

/** Copies what the parent maps. 0, or -ENOMEM. */
export function* copyHugetlbPageRange(current: TaskStruct, child: VmArea, parent: VmArea): Task<number> {
  const { pages, level } = hstateOfVma(parent);
  const span = pagesPerEntry(current.kernel.pageTables.format, level - 1);
  if (!parent.cow) yield* hugetlbVmaLockRead(current, parent);
  let error = 0;
  for (let page = parent.start; page < parent.end && error === 0; ) {
    const source = hugetlbWalk(parent.mm, parent, page);
    if (source === null) {
      page += span - (page % span);
      continue;
    }
    const target = yield* hugePteAlloc(current, child.mm, child, page);
    if (target === null) error = -ENOMEM;
    else if (target.sharers === 0) {
      const index = hugeEntryIndex(parent.mm, source, page);
      error = yield* copyEntry({ current, child, parent, page, source, target, index });
    } else {
      page += span - (page % span);
      continue;
    }
    page += pages;
  }
  if (!parent.cow) yield* hugetlbVmaUnlockRead(current, parent);
  return error;
}

function* copyEntry(copying: Copying): Task<number> {
  const { current, source, target } = copying;
  for (;;) {
    yield* target.lock.lock(current);
    yield* source.lock.lock(current, SINGLE_DEPTH_NESTING);
    const result = yield* copyLocked(copying);
    yield* source.lock.unlock(current);
    yield* target.lock.unlock(current);
    if (result !== COPY_NEEDED) return result;
    const copied = yield* copyPinned(copying);
    if (copied !== COPY_NEEDED) return copied;
  }
}

/** With both locks: 0, or COPY_NEEDED. */
function* copyLocked({ current, child, parent, source, target, index }: Copying): Task<number> {
  const { frames, pageTables } = current.kernel;
  const { format } = pageTables;
  pageTables.read(source, index);
  if (format.isNone(pageTables.hi, pageTables.lo)) return 0;
  const flags = pageTables.flags(source.level);
  const keepWp = (child.flags & VM_UFFD_WP) !== 0;
  if ((flags & EntryFlag.Present) === 0) {
    yield* copyNonPresent(current, target, index, keepWp);
    return 0;
  }
  const frame = pageTables.frame(source.level);
  yield frames.refPoint(frame);
  if (!frames.hasFlag(frame, FrameFlag.Anon)) hugetlbAddFileRmap(frames, frame);
  else if (!hugetlbTryDupAnonRmap(frames, frame, parent.mm)) return COPY_NEEDED;
  frames.get(frame);
  const writable = EntryFlag.Write | EntryFlag.ShadowStack;
  if (parent.cow) {
    yield source.setEntry;
    pageTables.change(source, index, 0, writable);
  }
  let copied = pageTables.flags(source.level);
  if (!keepWp) copied &= ~EntryFlag.UffdWp;
  yield target.setEntry;
  pageTables.setLeaf(target, index, frame, copied);
  hugetlbCountAdd(child.mm, hstateOfVma(child).pages);
  return 0;
}

/** The entry that was read last: broken memory, or a marker, which loses its write protection where nobody asked for it. */
function* copyNonPresent(current: TaskStruct, target: TablePage, index: number, keepWp: boolean): Task<void> {
  const { pageTables } = current.kernel;
  const { format, hi, lo } = pageTables;
  const entry: Halves = { hi, lo };
  if (format.swapTypeOf(hi, lo) === SWP_PTE_MARKER) {
    const marker = format.swapOffsetOf(hi, lo) & (keepWp ? ~0 : ~PTE_MARKER_UFFD_WP);
    if (marker === 0) return;
    format.packSwap(SWP_PTE_MARKER, marker, 0, entry);
  }
  yield target.setEntry;
  pageTables.write(target, index, entry.hi, entry.lo);
}

/** The child's own copy of a pinned page; COPY_NEEDED when the parent's entry changed meanwhile. */
function* copyPinned({ current, child, parent, page, source, target, index }: Copying): Task<number> {
  const { frames, pageTables } = current.kernel;
  const fault = new HugeFault(current, parent, page, 0);
  fault.readOriginal(source);
  const old = fault.originalFrame;
  yield frames.refPoint(old);
  frames.get(old);
  const copy = yield* allocHugetlbFolio(child, page, false);
  if (copy !== NO_FRAME) yield* fault.copy(old, copy);
  yield frames.refPoint(old);
  frames.put(old);
  if (copy === NO_FRAME) return -ENOMEM;
  yield* target.lock.lock(current);
  yield* source.lock.lock(current, SINGLE_DEPTH_NESTING);
  const stable = fault.unchanged(source);
  if (stable) {
    frames.setFlags(copy, FrameFlag.Uptodate);
    hugetlbAddNewAnonRmap(frames, copy, child, page);
    const keptWp = (child.flags & VM_UFFD_WP) !== 0 ? fault.originalFlags & EntryFlag.UffdWp : 0;
    yield target.setEntry;
    pageTables.setLeaf(target, index, copy, hugeEntryFlags(child, true) | keptWp);
    hugetlbCountAdd(child.mm, hstateOfVma(child).pages);
    noteForkCopy(current, page, old, copy);
  }
  yield* source.lock.unlock(current);
  yield* target.lock.unlock(current);
  if (stable) return 0;
  restoreReserveOnError(child, page, copy);
  yield frames.refPoint(copy);
  frames.put(copy);
  return COPY_NEEDED;
}
