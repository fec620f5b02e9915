/**
 * The address spaces that khugepaged scans: each enters with the first fault or madvise that makes huge pages possible.
 * @see Linux mm/khugepaged.c, `__khugepaged_enter`, `khugepaged_enter_vma`, `__khugepaged_exit`
 */
import type { Task } from '../../../base/task.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { mmdrop, mmgrab } from '../mm-count.ts';
import type { VmArea } from '../vma.ts';
import { thpVmaAllowable } from './policy.ts';

/** What khugepaged keeps from one round to the next (`khugepaged_scan`). */
export class KhugepagedScan {
  /** In the order in which they came; each holds a reference (mm_count). */
  readonly mms: MmStruct[] = [];
  /** Where the scan goes on: in the middle of an mm, at a page number, or with the next one of the list. */
  mm: MmStruct | null = null;
  page = 0;
  next = 0;
  /** The last mm that was left was the last of the list. */
  atEnd = false;
  /** Rounds over all mms (`full_scans`), and huge pages made (`pages_collapsed`). */
  fullScans = 0;
  pagesCollapsed = 0;
  /** How often an mm was passed over because somebody held its mmap_lock for writing. */
  passedOver = 0;
}

/** The VMA may have huge pages now: its mm is scanned from the next round on. */
export function* khugepagedEnterVma(vma: VmArea): Task<void> {
  const { khugepaged } = vma.mm.kernel;
  if (khugepaged.mms.includes(vma.mm) || !thpVmaAllowable(vma, 'khugepaged')) return;
  khugepaged.mms.push(vma.mm);
  yield* mmgrab(vma.mm);
}

/** The child of an mm that is scanned is scanned as well. */
export function* khugepagedFork(child: MmStruct, parent: MmStruct): Task<void> {
  const { khugepaged } = parent.kernel;
  if (!khugepaged.mms.includes(parent)) return;
  khugepaged.mms.push(child);
  yield* mmgrab(child);
}

/**
 * The last user of the mm has gone. If khugepaged is at it just now, this waits until it has let mmap_lock go, and
 * leaves taking it from the list to it.
 */
export function* khugepagedExit(current: TaskStruct, mm: MmStruct): Task<void> {
  const { khugepaged } = mm.kernel;
  const at = khugepaged.mms.indexOf(mm);
  if (at === -1) return;
  if (khugepaged.mm === mm) {
    yield* mmapWriteLock(current, mm);
    yield* mmapWriteUnlock(current, mm);
    return;
  }
  khugepaged.mms.splice(at, 1);
  if (at < khugepaged.next) khugepaged.next--;
  yield* mmdrop(mm);
}
