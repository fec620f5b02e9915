/**
 * Giving a part of one VMA the flags that say whether its memory is locked, and counting it.
 * Left out: gate VMAs, memory of DAX files.
 * @see Linux mm/mlock.c, `mlock_fixup`, `mlock_vma_pages_range`; mm/internal.h, `vma_supports_mlock`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { atomically, type Task } from '../../base/task.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import { pteIndex, type TablePage } from './page-table.ts';
import { mlockFolio, munlockFolio } from './reclaim/lru.ts';
import { vmaIsSecretmem } from './secretmem-vma.ts';
import type { VmArea } from './vma.ts';
import { VM_HUGETLB, VM_LOCKED, VM_LOCKED_MASK, VM_SPECIAL, VMH_DROPPABLE } from './vma-flags.ts';
import { vmaStartWrite } from './vma-lock.ts';
import { vmaModify } from './vma-split.ts';
import { HugeVerdict, type PageTableVisitor, walkPageTables } from './walk-page-tables.ts';

/** Memory of these kinds is never locked: a call says success and nothing happens. */
function vmaSupportsMlock(vma: VmArea): boolean {
  return (vma.flags & (VM_SPECIAL | VM_HUGETLB)) === 0 && (vma.flagsHigh & VMH_DROPPABLE) === 0;
}

/** How it ended: an errno or 0, and the VMA that covers the part now. */
export interface MlockFixup {
  readonly error: number;
  readonly vma: VmArea;
}

/**
 * Makes VM_LOCKED and VM_LOCKONFAULT of [start, end) in `vma` what `lockFlags` says. Needs mmap_lock for writing. The
 * error is 0 or -ENOMEM (map limit).
 * @param prev the VMA before, or `vma` itself
 */
export function* mlockFixup(
  current: TaskStruct,
  mm: MmStruct,
  prev: VmArea | null,
  vma: VmArea,
  start: number,
  end: number,
  lockFlags: number,
): Task<MlockFixup> {
  const oldFlags = vma.flags;
  const flags = (oldFlags & ~VM_LOCKED_MASK) | lockFlags;
  // Secret memory stays locked.
  if (flags === oldFlags || vmaIsSecretmem(vma) || !vmaSupportsMlock(vma)) return { error: 0, vma };
  const { flagsHigh } = vma;
  const modified = yield* vmaModify(current, mm, prev, vma, start, end, { flags, flagsHigh });
  if (modified.error !== 0) return { error: modified.error, vma };
  const changed = modified.vma;
  const locks = (flags & VM_LOCKED) !== 0;
  const wasLocked = (oldFlags & VM_LOCKED) !== 0;
  if (locks !== wasLocked) mm.lockedVm += locks ? end - start : start - end;
  yield* vmaStartWrite(current, mm, changed);
  // A merged VMA has the flags, and with them the sticky ones of all its parts.
  if (!modified.merged) changed.flags = flags;
  if (locks !== wasLocked) yield* walkPageTables(current, changed, start, end, pageLocker(changed, locks));
  return { error: 0, vma: changed };
}

/** Pages that are there already go on the list that reclaim does not look at, or come off it. @see `mlock_pte_range` */
function pageLocker(vma: VmArea, locks: boolean): PageTableVisitor {
  const { kernel } = vma.mm;
  const { frames, pageTables } = kernel;
  const apply = (frame: number): void => {
    // Reclaim sees to large folios itself, when it finds one mapped by a locked VMA.
    if (frames.isLarge(frame) || frames.isZeroFrame(frame)) return;
    if (!locks) munlockFolio(frames, frame);
    else if (!frames.hasFlag(frame, FrameFlag.Unevictable)) mlockFolio(frames, frame);
  };
  return {
    *ptes(table: TablePage, first: number, end: number) {
      for (let page = first; page < end; page++) {
        pageTables.read(table, pteIndex(pageTables, page));
        const flags = pageTables.flags(table.level);
        if ((flags & EntryFlag.Present) === 0 || (flags & EntryFlag.Special) !== 0) continue;
        const frame = pageTables.frame(table.level);
        yield frames.refPoint(frame);
        apply(frame);
      }
      return 0;
    },
    huge: () => atomically(() => HugeVerdict.Done),
  };
}
