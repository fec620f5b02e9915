/**
 * MADV_COLLAPSE: a program asks for huge pages here and now, whatever the policy and however few of the small pages there
 * are. Of tmpfs files too, unless shmem_enabled is `deny`: then the page cache gets a huge page, and the caller's pmd maps
 * it at once.
 * Left out: other files (EINVAL, as without CONFIG_READ_ONLY_THP_FOR_FS).
 * @see Linux mm/khugepaged.c, `madvise_collapse`
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL } from '../../errno.ts';
import { mmapReadLock, mmapReadUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { mmdrop, mmgrab } from '../mm-count.ts';
import { hugePages } from '../page-table.ts';
import type { VmArea } from '../vma.ts';
import { collapseHugePage } from './collapse.ts';
import { CollapseControl, madviseCollapseErrno, mayGoOnAfter, type ScanResult } from './collapse-control.ts';
import { collapseFileOf } from './collapse-file-scan.ts';
import { collapsePteMappedThp } from './collapse-pte-mapped.ts';
import { revalidateVma, scanPmd } from './collapse-scan.ts';
import { thpVmaAllowable } from './policy.ts';

/** How MADV_COLLAPSE ended. */
export interface MadviseCollapsed {
  /** 0 or a negative errno. */
  readonly error: number;
  /** mmap_lock was let go in between: the VMA may be gone. */
  readonly lockDropped: boolean;
}

/** Pages [start, end) of the VMA. mmap_lock is held for reading, on return too. */
export function* madviseCollapse(
  current: TaskStruct,
  vma: VmArea,
  start: number,
  end: number,
): Task<MadviseCollapsed> {
  const { mm } = vma;
  if (!thpVmaAllowable(vma, 'forced-collapse')) return { error: -EINVAL, lockDropped: false };
  yield* mmgrab(mm);
  const run = new CollapseRun(current, vma, start, end);
  yield* run.collapseAll();
  if (!run.locked) yield* mmapReadLock(current, mm);
  yield* mmdrop(mm);
  return { error: run.error, lockDropped: run.dropped };
}

class CollapseRun {
  readonly #current: TaskStruct;
  readonly #pages: number;
  readonly #start: number;
  readonly #control = new CollapseControl(null);
  #vma: VmArea;
  #end: number;
  #made = 0;
  #lastFailure: ScanResult = 'fail';
  /** Is mmap_lock held, and was it dropped at any time? */
  locked = true;
  dropped = false;

  constructor(current: TaskStruct, vma: VmArea, start: number, end: number) {
    this.#current = current;
    this.#vma = vma;
    this.#pages = hugePages(current.kernel.pageTables);
    this.#start = Math.ceil(start / this.#pages) * this.#pages;
    this.#end = end - (end % this.#pages);
  }

  get error(): number {
    const wanted = (this.#end - this.#start) / this.#pages;
    return this.#made === wanted ? 0 : madviseCollapseErrno(this.#lastFailure);
  }

  *collapseAll(): Task<void> {
    for (let page = this.#start; page < this.#end; page += this.#pages) {
      const result = yield* this.#collapse(page);
      if (result === 'succeed' || result === 'pmd-mapped') {
        this.#made++;
        continue;
      }
      this.#lastFailure = result;
      if (!mayGoOnAfter(result)) return;
    }
  }

  *#collapse(page: number): Task<ScanResult> {
    const current = this.#current;
    const { mm } = this.#vma;
    if (!this.locked) {
      yield* mmapReadLock(current, mm);
      this.locked = true;
      const vma = revalidateVma(mm, page, this.#control, false);
      if (typeof vma === 'string') return vma;
      this.#vma = vma;
      this.#end = Math.min(this.#end, vma.end - (vma.end % this.#pages));
      if (page >= this.#end) return 'address-range';
    }
    if (!this.#vma.anonymous) return yield* this.#collapseFile(mm, page);
    const scanned = yield* scanPmd(current, this.#vma, page, this.#control);
    if (scanned !== 'succeed') return scanned;
    this.locked = false;
    this.dropped = true;
    return yield* collapseHugePage(current, mm, page, this.#control.swap, this.#control);
  }

  /** Without mmap_lock; it is taken again for the pmd. */
  *#collapseFile(mm: MmStruct, page: number): Task<ScanResult> {
    const current = this.#current;
    this.locked = false;
    this.dropped = true;
    const result = yield* collapseFileOf(current, this.#vma, page, this.#control);
    if (result !== 'pte-mapped-hugepage') return result;
    yield* mmapReadLock(current, mm);
    const mapped = yield* collapsePteMappedThp(current, mm, page, true);
    yield* mmapReadUnlock(current, mm);
    return mapped;
  }
}
