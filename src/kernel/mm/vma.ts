/**
 * One VMA: a range of pages with one set of attributes. Start and end are page numbers; only mm code that holds
 * mmap_lock for writing and has called `vmaStartWrite` may change a VMA that is in a tree, which every store checks.
 * Objects come from `vmAreaAlloc` and go to `vmAreaFree` (vma-slab.ts), which may make another VMA of them at once.
 * Left out so far: memory policy, anonymous VMA names.
 * @see Linux include/linux/mm_types.h, `struct vm_area_struct`
 */
import { type Holder, PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../base/task.ts';
import type { SchedTask } from '../../sched/task.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { AnonVma, AnonVmaChain } from './anon-vma.ts';
import type { VmFault } from './fault/vm-fault.ts';
import type { IMmapNode } from './i-mmap.ts';
import type { MappedFile } from './mapped-file.ts';
import type { MmStruct } from './mm.ts';
import type { UserfaultfdContext } from './userfaultfd/context.ts';
import { isCowMapping, VM_GROWSDOWN, VM_SHARED } from './vma-flags.ts';
import type { VmaField, VmaWatcher } from './vma-watcher.ts';

/** What a kind of mapping does differently (`struct vm_operations_struct`). A VMA without operations is anonymous. */
export interface VmOperations {
  readonly name: string;
  /** May a VMA with these operations be unlinked by a merge? Not when closing it means something (`->close`). */
  readonly hasClose: boolean;
  /** May fault-around map neighbouring cached pages (`->map_pages`)? */
  readonly hasMapPages: boolean;
  /** `->may_split`: 0, or a negative errno. */
  readonly maySplit?: (vma: VmArea, page: number) => number;
  /** `->open`: the VMA is a copy of another one, made by a split, a move or fork. */
  readonly open?: (vma: VmArea) => void;
  /** `->close`: the VMA goes; called once. */
  readonly close?: (vma: VmArea) => void;
  /**
   * `->fault` of a driver that puts the entry in itself: VM_FAULT_NOPAGE, or an error; or of a file that finds its page
   * otherwise than tmpfs: VM_FAULT_LOCKED, the page in `fault.frame`. In memory of a device without one, what is not mapped
   * is SIGBUS.
   */
  readonly fault?: (fault: VmFault) => Task<number>;
  /** `->access`: how a debugger gets at memory that has no pages of the kernel's. */
  readonly access?: VmAccess;
  /** Memory of a device, mapped with `pgprot_noncached`. */
  readonly noncached?: boolean;
}

/**
 * Moves all of `buffer` to or from byte `offset` of `page`, whatever lies behind the VMA's end. Bytes moved, or -errno.
 * Needs mmap_lock.
 */
export type VmAccess = (
  current: TaskStruct,
  vma: VmArea,
  page: number,
  offset: number,
  buffer: Uint8Array,
  write: boolean,
) => Task<number>;

/** Of a VMA that is closed already. @see mm/vma.c, `vma_dummy_vm_ops` */
const closedVmOperations: VmOperations = { name: 'closed', hasClose: false, hasMapPages: false };

export class VmArea extends SharedObject {
  #start: number;
  #end: number;
  #flags: number;
  #flagsHigh: number;
  #pgoff: number;
  mm: MmStruct;
  // What a reader looks at stands together, in few cache lines: with a million VMAs they are cold ones.
  /**
   * `vm_refcnt`: 0 detached, 1 attached, one more for each reader, with bit 30 while a writer keeps readers out. Moved
   * by the functions of `vma-lock.ts` only.
   */
  refcount = 0;
  /** Equal to the mm's lock sequence while write-locked (`vm_lock_seq`). */
  vmLockSeq = -1;
  /** Who holds the VMA's lock for reading, for reports. The first has a place here: most VMAs never have a second one. */
  #reader: SchedTask | null = null;
  #moreReaders: SchedTask[] | null = null;
  #startRead: SchedPoint | null = null;
  #recheck: SchedPoint | null = null;
  #endRead: SchedPoint | null = null;
  #anonVma: AnonVma | null = null;
  /** Newest first; one entry more than its own when forked. */
  readonly anonVmaChain: AnonVmaChain[] = [];
  #file: MappedFile | null = null;
  /** Among the mappings of its file (`shared.rb`); made when it is first linked. */
  iMmapNode: IMmapNode | null = null;
  #ops: VmOperations | null = null;
  #userfaultfd: UserfaultfdContext | null = null;
  #privateData: object | null = null;
  /** Told of every touch of the fields that a lock protects; null: nobody looks on. */
  watcher: VmaWatcher | null;
  #change: SchedPoint | null = null;
  #detach: SchedPoint | null = null;

  constructor(mm: MmStruct, start: number, end: number, flags: number, flagsHigh: number, pgoff: number) {
    super(`vma ${mm.nextVmaSerial()} of ${mm.name}`);
    this.mm = mm;
    this.watcher = mm.kernel.vmaWatcher;
    this.#start = start;
    this.#end = end;
    this.#flags = flags;
    this.#flagsHigh = flagsHigh;
    this.#pgoff = pgoff;
  }

  /** First page. */
  get start(): number {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_start', false);
    return this.#start;
  }

  set start(page: number) {
    this.#assertMayChange('vm_start');
    this.#start = page;
  }

  /** The page after the last one. */
  get end(): number {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_end', false);
    return this.#end;
  }

  set end(page: number) {
    this.#assertMayChange('vm_end');
    this.#end = page;
  }

  /** VM_* bits 31:0, int32. */
  get flags(): number {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_flags', false);
    return this.#flags;
  }

  set flags(flags: number) {
    this.#assertMayChange('vm_flags');
    this.#flags = flags;
  }

  /** VM_* bits 63:32, as VMH_*. */
  get flagsHigh(): number {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_flags', false);
    return this.#flagsHigh;
  }

  set flagsHigh(flagsHigh: number) {
    this.#assertMayChange('vm_flags');
    this.#flagsHigh = flagsHigh;
  }

  /**
   * Offset of the first page, in pages. Private anonymous: the start page at creation. Shared anonymous: into the
   * object, from 0. @see spec of pgoff in include/linux/mm_types.h, `vm_pgoff`
   */
  get pgoff(): number {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_pgoff', false);
    return this.#pgoff;
  }

  set pgoff(pgoff: number) {
    this.#assertMayChange('vm_pgoff');
    this.#pgoff = pgoff;
  }

  /** Which VMAs may map the anonymous pages of this one; null until there is a first one. */
  get anonVma(): AnonVma | null {
    if (this.watcher !== null) this.watcher.touched(this, 'anon_vma', false);
    return this.#anonVma;
  }

  set anonVma(value: AnonVma | null) {
    if (this.watcher !== null) this.watcher.touched(this, 'anon_vma', true);
    this.#anonVma = value;
  }

  /** What is mapped, for anonymous memory null. */
  get file(): MappedFile | null {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_file', false);
    return this.#file;
  }

  set file(value: MappedFile | null) {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_file', true);
    this.#file = value;
  }

  /** Null means anonymous (`vma_is_anonymous`). */
  get ops(): VmOperations | null {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_ops', false);
    return this.#ops;
  }

  set ops(value: VmOperations | null) {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_ops', true);
    this.#ops = value;
  }

  /** The userfaultfd this range is registered with (`vm_userfaultfd_ctx`); VMAs of different ones do not merge. */
  get userfaultfd(): UserfaultfdContext | null {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_userfaultfd_ctx', false);
    return this.#userfaultfd;
  }

  set userfaultfd(value: UserfaultfdContext | null) {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_userfaultfd_ctx', true);
    this.#userfaultfd = value;
  }

  /** Of the kind of mapping (`vm_private_data`). */
  get privateData(): object | null {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_private_data', false);
    return this.#privateData;
  }

  set privateData(value: object | null) {
    if (this.watcher !== null) this.watcher.touched(this, 'vm_private_data', true);
    this.#privateData = value;
  }

  /** Sets a bit of `flags` that may be set while readers are inside. @see include/linux/mm.h, `vma_flag_set_atomic` */
  setFlagAtomic(flag: number): void {
    this.#flags |= flag;
  }

  /** Readers of a VMA in a tree rely on all of this: it changes only when `vmaStartWrite` has kept them out. */
  #assertMayChange(field: VmaField): void {
    if (this.watcher !== null) this.watcher.touched(this, field, true);
    const { mm } = this;
    if (this.refcount === 0 || (mm.mmapWriteLocked && this.vmLockSeq === mm.lockSequence)) return;
    // The growth of a stack was left to mmap_lock held for reading and page_table_lock.
    if (mm.kernel.bugs.stackrot && mm.mmapLock.isLocked()) return;
    throw new Error(`${this.name} is changed without being write-locked`);
  }

  /** Just before start, end, flags, pgoff … of a VMA in a tree change. */
  get change(): SchedPoint {
    this.#change ??= new SchedPoint(PointKind.Write, this, 'vma_start_write', StepCost.AtomicUpdate);
    return this.#change;
  }

  /** Just before a reader counts itself. */
  get startRead(): SchedPoint {
    return this.#startRead ?? this.#makeReadPoints();
  }

  /** Just before a reader that has counted itself looks whether it may stay. */
  get recheck(): SchedPoint {
    if (this.#recheck === null) this.#makeReadPoints();
    return this.#recheck as unknown as SchedPoint;
  }

  /** Just before the VMA becomes detached. */
  get detach(): SchedPoint {
    this.#detach ??= new SchedPoint(PointKind.Write, this, 'vma_mark_detached', StepCost.AtomicUpdate);
    return this.#detach;
  }

  /** Just before a reader is counted off. */
  get endRead(): SchedPoint {
    if (this.#endRead === null) this.#makeReadPoints();
    return this.#endRead as unknown as SchedPoint;
  }

  /** The points of one read, made together so that they lie together. */
  #makeReadPoints(): SchedPoint {
    const start = new SchedPoint(PointKind.Write, this, 'vma_start_read', StepCost.AtomicUpdate);
    this.#startRead = start;
    this.#recheck = new SchedPoint(PointKind.Read, this, 'vma_start_read', StepCost.SharedLoad);
    this.#endRead = new SchedPoint(PointKind.Write, this, 'vma_end_read', StepCost.AtomicUpdate);
    return start;
  }

  addReader(task: SchedTask): void {
    if (this.#reader === null) this.#reader = task;
    else if (this.#moreReaders === null) this.#moreReaders = [task];
    else this.#moreReaders.push(task);
  }

  /** One entry of the task goes, if it has more. @throws Error when it has none */
  removeReader(task: SchedTask): void {
    if (this.#reader === task) {
      this.#reader = this.#moreReaders?.pop() ?? null;
      return;
    }
    const at = this.#moreReaders?.indexOf(task) ?? -1;
    if (at < 0) throw new Error(`${task.name} ends a read of ${this.name} that it has not begun`);
    this.#moreReaders?.splice(at, 1);
  }

  isReadBy(task: SchedTask): boolean {
    return this.#reader === task || this.#moreReaders?.includes(task) === true;
  }

  get readers(): readonly SchedTask[] {
    return this.#reader === null ? [] : [this.#reader, ...(this.#moreReaders ?? [])];
  }

  override holders(): readonly Holder[] {
    return this.readers.map(({ name }) => ({ name, mode: 'vma read' }));
  }

  /** Out of the tree: a reader that still sees it must look again. */
  get detached(): boolean {
    return this.refcount === 0;
  }

  /** Number of pages (`vma_pages`). */
  get pages(): number {
    return this.end - this.start;
  }

  /** `vma_is_anonymous`. Shared anonymous memory is not: it is an unlinked file. */
  get anonymous(): boolean {
    return this.ops === null;
  }

  /** `is_cow_mapping`. */
  get cow(): boolean {
    return isCowMapping(this.flags);
  }

  get shared(): boolean {
    return (this.flags & VM_SHARED) !== 0;
  }

  contains(page: number): boolean {
    return page >= this.start && page < this.end;
  }

  /** The object offset, in pages, of a page of this VMA (`linear_page_index`). */
  indexOf(page: number): number {
    return page - this.start + this.pgoff;
  }
}

/** The VMA is about to go: its mapping is told so, once. @see mm/internal.h, `vma_close` */
export function vmaClose(vma: VmArea): void {
  if (vma.ops?.close === undefined) return;
  vma.ops.close(vma);
  vma.ops = closedVmOperations;
}

/**
 * Where the VMA begins for placing others: the guard gap below a stack counts to it, down to page 0.
 * @see include/linux/mm.h, `vm_start_gap`
 */
export function vmStartGap(vma: VmArea, stackGuardGapPages: number): number {
  if ((vma.flags & VM_GROWSDOWN) === 0) return vma.start;
  return vma.start > stackGuardGapPages ? vma.start - stackGuardGapPages : 0;
}
