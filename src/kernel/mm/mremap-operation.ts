/**
 * One mremap on its way: what the caller asked for, in pages, and what has been found out about it. The steps are in
 * mremap.ts (arguments, several VMAs), mremap-checks.ts, mremap-resize.ts and mremap-move.ts.
 * @see Linux mm/mremap.c, `struct vma_remap_struct`
 */
import type { Task } from '../../base/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { MmStruct } from './mm.ts';
import { doMunmap } from './munmap.ts';
import type { UserfaultfdContext } from './userfaultfd/context.ts';
import type { PendingEvent } from './userfaultfd/events.ts';
import type { VmArea } from './vma.ts';

export const MREMAP_MAYMOVE = 1;
export const MREMAP_FIXED = 2;
export const MREMAP_DONTUNMAP = 4;

/** What happens to the length (`enum mremap_type`). */
export const MremapType = { NoResize: 0, Shrink: 1, Expand: 2 } as const;
export type MremapType = (typeof MremapType)[keyof typeof MremapType];

export class MremapOperation {
  readonly current: TaskStruct;
  readonly mm: MmStruct;
  readonly flags: number;
  /** Pages. `oldPages` 0 asks for a second mapping of the same shared object. */
  page: number;
  oldPages: number;
  newPages: number;
  newPage: number;
  /** The VMA that holds `page`; null before it is looked up, and once it is gone. */
  vma: VmArea | null = null;
  /** Pages charged for, should they have to be given back. */
  charged = 0;
  /** The VMA is locked and grows: its new part is faulted in at the end. */
  populateExpand = false;
  /** Who is to be told where the memory went, once mmap_lock is released. */
  userfaultfd: UserfaultfdContext | null = null;
  /** What was unmapped at the target beforehand: readers of a userfaultfd hear of it before they hear of the move. */
  readonly unmapsEarly: PendingEvent[] = [];
  /** mmap_lock is still held for writing. */
  mmapLocked = true;

  constructor(
    current: TaskStruct,
    mm: MmStruct,
    page: number,
    oldPages: number,
    newPages: number,
    flags: number,
    newPage: number,
  ) {
    this.current = current;
    this.mm = mm;
    this.page = page;
    this.oldPages = oldPages;
    this.newPages = newPages;
    this.flags = flags;
    this.newPage = newPage;
  }

  get type(): MremapType {
    if (this.oldPages === this.newPages) return MremapType.NoResize;
    return this.oldPages > this.newPages ? MremapType.Shrink : MremapType.Expand;
  }

  /** Pages by which the length changes. */
  get delta(): number {
    return Math.abs(this.newPages - this.oldPages);
  }

  get fixed(): boolean {
    return (this.flags & MREMAP_FIXED) !== 0;
  }

  get dontUnmap(): boolean {
    return (this.flags & MREMAP_DONTUNMAP) !== 0;
  }

  /** The mapping moves in any case. */
  get impliesNewAddress(): boolean {
    return this.fixed || this.dontUnmap;
  }

  /** Nothing but a move to a given place: the only thing that more than one VMA may take part in. */
  get moveOnly(): boolean {
    return this.fixed && this.oldPages === this.newPages;
  }

  /** @throws Error when no VMA is known */
  get mapped(): VmArea {
    if (this.vma === null) throw new Error('mremap has lost its VMA');
    return this.vma;
  }

  /** Unmaps [start, end), pages. 0 or a negative errno; on success with `unlock` mmap_lock has been released. */
  unmap(start: number, end: number, unlock: boolean): Task<number> {
    return doMunmap(this.current, this.mm, BigInt(start) << 12n, BigInt(end - start) << 12n, unlock);
  }
}
