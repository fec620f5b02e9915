/**
 * One fault on a huge page on its way through the handlers.
 * @see Linux mm/hugetlb.c, `hugetlb_fault`: its `struct vm_fault`
 */
import { EntryFlag, type PagingFormat, tableIndex } from '../../../arch/paging-format.ts';
import { PointKind, SchedPoint, StepCost, type Task } from '../../../base/task.ts';
import type { Kernel } from '../../kernel.ts';
import type { RwSemaphore } from '../../lock/rwsem.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import type { TablePage } from '../page-table.ts';
import { PTE_MARKER_UFFD_WP, SWP_PTE_MARKER } from '../swap-entry.ts';
import type { UserfaultReason } from '../userfaultfd/handle-userfault.ts';
import type { VmArea } from '../vma.ts';
import type { HugetlbInode } from './hugetlb-inode.ts';
import { hugeIndex, hugeStart, inodeOfVma } from './hugetlb-vma.ts';

export class HugeFault {
  readonly current: TaskStruct;
  readonly kernel: Kernel;
  readonly vma: VmArea;
  readonly mm: MmStruct;
  readonly inode: HugetlbInode;
  /** The page of the access. */
  readonly page: number;
  /** First page of the huge page, and how many it has. */
  readonly start: number;
  readonly pages: number;
  /** Position in the file, in huge pages (`pgoff`). */
  readonly pageIndex: number;
  /** FAULT_FLAG_*. */
  readonly flags: number;
  /** The table with the entry, while it is known. */
  table: TablePage | null = null;
  /** Index of the entry in it. */
  readonly index: number;
  /** The entry as it was read first (`orig_pte`). */
  originalHi = 0;
  originalLo = 0;
  /** A page whose lock must be free before the fault is tried again; -1: none. */
  waitFor = -1;
  /** Why user space must resolve the fault; null: it need not. */
  userfault: UserfaultReason | null = null;
  readonly #level: number;
  readonly #format: PagingFormat;

  constructor(current: TaskStruct, vma: VmArea, page: number, flags: number) {
    this.current = current;
    this.vma = vma;
    this.mm = vma.mm;
    this.kernel = vma.mm.kernel;
    this.page = page;
    this.flags = flags;
    this.inode = inodeOfVma(vma);
    this.start = hugeStart(vma, page);
    this.pages = this.inode.pages;
    this.pageIndex = hugeIndex(vma, page);
    this.#level = this.inode.hstate.level;
    this.#format = this.kernel.pageTables.format;
    this.index = tableIndex(this.#format, page, this.#level);
  }

  /** `hugetlb_fault_mutex_table[hash]` of the page. */
  get mutex(): RwSemaphore {
    return this.kernel.hugetlb.faultMutex(this.inode.serial, this.pageIndex);
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  readOriginal(table: TablePage): void {
    const { pageTables } = this.kernel;
    pageTables.read(table, this.index);
    this.originalHi = pageTables.hi;
    this.originalLo = pageTables.lo;
  }

  get originalFlags(): number {
    return this.#format.flagsOf(this.originalHi, this.originalLo, this.#level);
  }

  get originalFrame(): number {
    return this.#format.frameOf(this.originalHi, this.originalLo, this.#level);
  }

  /** Was the entry a marker of write protection? @see include/linux/swapops.h, `pte_marker_uffd_wp` */
  get originalMarksWp(): boolean {
    const { originalHi: hi, originalLo: lo } = this;
    if ((this.originalFlags & EntryFlag.Swap) === 0) return false;
    if (this.#format.swapTypeOf(hi, lo) !== SWP_PTE_MARKER) return false;
    return (this.#format.swapOffsetOf(hi, lo) & PTE_MARKER_UFFD_WP) !== 0;
  }

  /** Under the lock: is the entry what it was? */
  unchanged(table: TablePage): boolean {
    return !table.freed && this.kernel.pageTables.same(table, this.index, this.originalHi, this.originalLo);
  }

  /** Fills a new page with zeros (`folio_zero_user`). */
  *clear(frame: number): Task<void> {
    const { frames, machine } = this.kernel;
    const { object } = frames.refPoint(frame);
    yield new SchedPoint(PointKind.Write, object, 'folio_zero_user', StepCost.PageCopy);
    for (let i = 0; i < this.pages; i++) machine.memory.zeroFrame(frame + i);
  }

  /** Copies a whole page to a new one, with its memory tags (`copy_user_large_folio`). */
  *copy(from: number, to: number): Task<void> {
    const { frames, machine, pageTags } = this.kernel;
    const { object } = frames.refPoint(from);
    yield new SchedPoint(PointKind.Read, object, 'copy_user_large_folio', StepCost.PageCopy);
    for (let i = 0; i < this.pages; i++) {
      machine.memory.copyFrame(from + i, to + i);
      pageTags?.copy(from + i, to + i);
    }
  }
}
