/**
 * One page fault on its way through the handlers.
 * @see Linux include/linux/mm.h, `struct vm_fault`
 */
import type { Kernel } from '../../kernel.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { pteIndex, type TablePage } from '../page-table.ts';
import { PTE_MARKER_UFFD_WP } from '../swap-entry.ts';
import { markerOf, withUffdWp } from '../userfaultfd/wp-marker.ts';
import type { VmArea } from '../vma.ts';

export class VmFault {
  readonly current: TaskStruct;
  readonly kernel: Kernel;
  readonly vma: VmArea;
  readonly mm: MmStruct;
  /** The faulting page. */
  readonly page: number;
  /** Its offset in the object (`vmf->pgoff`). */
  readonly pgoff: number;
  /** Its index in a pte table. */
  readonly index: number;
  /** FAULT_FLAG_*. */
  flags: number;
  /** Bytes from the start of the page to the faulting address. */
  readonly offset: number;
  /** The pte table, while it is known; its lock is held where the handler says so. */
  table: TablePage | null = null;
  /** The pte as it was read first (`orig_pte`); 0 when there was no table. */
  originalHi = 0;
  originalLo = 0;
  /** The page had to be read from swap. */
  major = false;
  /** What a file's fault handler found, locked and with a reference; -1 before. */
  frame = -1;
  /** The page a private write to a file gets; -1 when there is none. */
  cowFrame = -1;

  constructor(current: TaskStruct, vma: VmArea, page: number, flags: number, offset = 0) {
    this.current = current;
    this.vma = vma;
    this.mm = vma.mm;
    this.kernel = vma.mm.kernel;
    this.page = page;
    this.pgoff = vma.indexOf(page);
    this.index = pteIndex(this.kernel.pageTables, page);
    this.flags = flags;
    this.offset = offset;
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  /** Flags of the pte as read first. */
  get originalFlags(): number {
    const { format, lastLevel } = this.kernel.pageTables;
    return format.flagsOf(this.originalHi, this.originalLo, lastLevel);
  }

  get originalFrame(): number {
    const { format, lastLevel } = this.kernel.pageTables;
    return format.frameOf(this.originalHi, this.originalLo, lastLevel);
  }

  /** `!vmf_pte_changed`: under the lock, is the pte what it was? */
  unchanged(table: TablePage): boolean {
    return this.kernel.pageTables.same(table, this.index, this.originalHi, this.originalLo);
  }
}

/**
 * The flags of a fresh pte, write-protected if the entry that the fault found was a marker of that.
 * @see `vmf_orig_pte_uffd_wp`
 */
export function withOriginalUffdWp(fault: VmFault, flags: number): number {
  const { pageTables } = fault.kernel;
  const marker = markerOf(pageTables, fault.originalHi, fault.originalLo);
  return (marker & PTE_MARKER_UFFD_WP) === 0 ? flags : withUffdWp(flags);
}
