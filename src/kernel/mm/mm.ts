/**
 * An address space: its VMAs, its page tables, its locks and its counters.
 * Left out: NUMA state, core-dump state, the fields of /proc that no modelled path reads.
 * @see Linux include/linux/mm_types.h, `struct mm_struct`
 */
import type { MmContext } from '../../arch/kernel-arch.ts';
import { PointKind, SchedPoint, SharedObject, StepCost } from '../../base/task.ts';
import type { Kernel } from '../kernel.ts';
import { RcuWait } from '../lock/rcuwait.ts';
import { RwSemaphore } from '../lock/rwsem.ts';
import { SeqCount } from '../lock/seqcount.ts';
import { SpinLock } from '../lock/spinlock.ts';
import type { MmuNotifier } from './mmu-notifier.ts';
import { isDataMapping, isExecMapping, isStackMapping } from './vma-flags.ts';
import { VmaLockCounters } from './vma-lock-counters.ts';
import { VmaTree } from './vma-tree.ts';

/** Indexes of the resident-set counters. @see include/linux/mm_types_task.h */
export const MM_FILEPAGES = 0;
export const MM_ANONPAGES = 1;
export const MM_SWAPENTS = 2;
export const MM_SHMEMPAGES = 3;
const NR_MM_COUNTERS = 4;

/** Bits of `mm.flagBits`. Numbers are ours: user space sees none of them. @see include/linux/mm_types.h, `MMF_` */
export const MMF_HAS_PINNED = 1 << 0;
export const MMF_UNSTABLE = 1 << 1;
export const MMF_OOM_SKIP = 1 << 2;
const MMF_TOPDOWN = 1 << 4;
/** Breakpoints of uprobes are, or may be, in this address space. */
export const MMF_HAS_UPROBES = 1 << 5;
/** Some of them may have gone: the next hit that finds none counts. */
export const MMF_RECALC_UPROBES = 1 << 6;

/** Bits of `mm.coredumpFilter`: which mappings a core dump has. @see core(5), /proc/PID/coredump_filter */
export const MMF_DUMP_ANON_PRIVATE = 1 << 0;
export const MMF_DUMP_ANON_SHARED = 1 << 1;
export const MMF_DUMP_MAPPED_PRIVATE = 1 << 2;
export const MMF_DUMP_MAPPED_SHARED = 1 << 3;
export const MMF_DUMP_ELF_HEADERS = 1 << 4;
export const MMF_DUMP_HUGETLB_PRIVATE = 1 << 5;
export const MMF_DUMP_HUGETLB_SHARED = 1 << 6;
/** All that there are, the two for DAX among them. */
export const MMF_DUMP_FILTER_MASK = 0x1ff;
const MMF_DUMP_FILTER_DEFAULT =
  MMF_DUMP_ANON_PRIVATE | MMF_DUMP_ANON_SHARED | MMF_DUMP_HUGETLB_PRIVATE | MMF_DUMP_ELF_HEADERS;

/** `mm->dumpable`: who may look at the process. @see include/linux/sched/coredump.h */
export const SUID_DUMP_DISABLE = 0;
export const SUID_DUMP_USER = 1;
/** @public */
export const SUID_DUMP_ROOT = 2;

export interface MmInit {
  readonly kernel: Kernel;
  /** Unique in the kernel; `mm of target`, after the process that it was made for. */
  readonly name: string;
  /** First page beyond what the process may map; from `KernelArch.taskSizePages`. */
  readonly taskSizePages: number;
  /** Where top-down placement starts: the page after the highest one it may use (`mm->mmap_base`). */
  readonly mmapBasePage: number;
}

export class MmStruct {
  readonly kernel: Kernel;
  readonly name: string;
  /** `mm->mm_users`: users of the address space. At 0 `exit_mmap` runs. */
  mmUsers = 1;
  /** `mm->mm_count`: users of this structure; all of `mmUsers` count as one. */
  mmCount = 1;
  /** Just before `mmUsers` or `mmCount` changes. */
  readonly usersWrite: SchedPoint;
  /** Called when a reference is counted; set, for checks, when there is nothing left to refer to. */
  onCount: (() => void) | null = null;

  readonly mmapLock: RwSemaphore;
  /** `mm->mm_lock_seq`: odd while mmap_lock is held for writing. Moved by the functions of `lock/mmap-lock.ts` only. */
  mmLockSeq = 0;
  /** `mm->arg_lock`: of the addresses of strings, code, data and heap below. */
  readonly argLock: SpinLock;
  /** Of the page-table levels above pmd. */
  readonly pageTableLock: SpinLock;
  /** `mm->write_protect_seq`: fork is inside while it write-protects ptes, and whoever takes pages without a lock looks. */
  readonly writeProtectSeq: SeqCount;
  /** `mm->tlb_flush_pending`: mmu_gathers at work on this mm. */
  tlbFlushPending = 0;
  /** `mm->tlb_flush_batched`: pages that reclaim has unmapped, and how many of them are known to be flushed. */
  tlbBatchPending = 0;
  tlbBatchFlushed = 0;

  readonly vmas: VmaTree;
  /** `mm->vma_writer_wait`: where a writer waits for the readers of a VMA. */
  readonly vmaWriterWait = new RcuWait();
  /** What became of attempts to use the VMAs' own locks. */
  readonly vmaLockCounters = new VmaLockCounters();
  /** Just before a lockless walk of the tree. */
  readonly treeLoad: SchedPoint;
  /** Just before the tree is replaced by its next version. */
  readonly treeStore: SchedPoint;
  /** Number of VMAs. */
  mapCount = 0;

  /** Frame of the root table, -1 when there is none (not yet, or no longer). */
  pgd = -1;
  /** Set together with `pgd`. */
  context: MmContext | null = null;
  /** Small pages that huge pages map (`mm->hugetlb_usage`); no other counter of resident memory has them. */
  hugetlbUsage = 0;
  /** Bytes of page tables (`mm->pgtables_bytes`). */
  pgtablesBytes = 0;

  /** Resident pages and swap entries, by `MM_*PAGES`. */
  readonly rss = new Int32Array(NR_MM_COUNTERS);
  /** Pages: all VMAs; locked; pinned for long; private writable; executable; stack. */
  totalVm = 0;
  lockedVm = 0;
  /** `mm->pinned_vm`, atomic: yield at `pinnedVmWrite` first. */
  pinnedVm = 0;
  #pinnedVmWrite: SchedPoint | null = null;
  dataVm = 0;
  execVm = 0;
  stackVm = 0;

  readonly taskSizePages: number;
  mmapBasePage: number;
  /** Byte addresses, as prctl(PR_SET_MM_MAP) sets them. */
  startCode = 0n;
  endCode = 0n;
  startData = 0n;
  endData = 0n;
  startBrk = 0n;
  brk = 0n;
  startStack = 0n;
  argStart = 0n;
  argEnd = 0n;
  envStart = 0n;
  envEnd = 0n;
  /** Secondary MMUs that want to be told; null: none. */
  notifiers: readonly MmuNotifier[] | null = null;
  /** VM_* bits that every new mapping gets (`mm->def_flags`, from mlockall). */
  defFlags = 0;
  dumpable: number = SUID_DUMP_USER;
  /** MMF_DUMP_* bits; inherited over fork and exec. */
  coredumpFilter = MMF_DUMP_FILTER_DEFAULT;
  /** MMF_* bits. */
  flagBits = MMF_TOPDOWN;
  #vmaSerial = 0;

  constructor(init: MmInit) {
    this.kernel = init.kernel;
    this.name = init.name;
    this.taskSizePages = init.taskSizePages;
    this.mmapBasePage = init.mmapBasePage;
    this.mmapLock = new RwSemaphore(`mmap_lock ${init.name}`);
    this.argLock = new SpinLock(`arg_lock ${init.name}`);
    this.writeProtectSeq = new SeqCount(`write_protect_seq ${init.name}`);
    this.pageTableLock = new SpinLock(`page_table_lock ${init.name}`);
    const users = new SharedObject(`mm_users ${init.name}`);
    this.usersWrite = new SchedPoint(PointKind.Write, users, 'mm_users', StepCost.AtomicUpdate);
    const tree = new SharedObject(`mm_mt ${init.name}`);
    this.treeStore = new SchedPoint(PointKind.Write, tree, 'vma_iter_store', StepCost.AtomicUpdate);
    this.treeLoad = new SchedPoint(PointKind.Read, tree, 'mas_walk', StepCost.SharedLoad);
    this.vmas = new VmaTree();
    const { vmaWatcher } = init.kernel;
    if (vmaWatcher !== null) {
      this.vmas.onChange = (vma, change, start, end) => vmaWatcher.treeChanges(this, vma, change, start, end);
      this.mmapLock.onSpeculation = (asked) => {
        if (asked) vmaWatcher.speculationAsked(this);
        else vmaWatcher.speculationBegun(this);
      };
    }
  }

  /** The sequence that a write-locked VMA carries. */
  get lockSequence(): number {
    return this.mmLockSeq;
  }

  /** Just before `pinnedVm` changes. */
  get pinnedVmWrite(): SchedPoint {
    const counter = (): SharedObject => new SharedObject(`pinned_vm ${this.name}`);
    this.#pinnedVmWrite ??= new SchedPoint(PointKind.Write, counter(), 'pinned_vm', StepCost.AtomicUpdate);
    return this.#pinnedVmWrite;
  }

  /** Held for writing, by whomever. */
  get mmapWriteLocked(): boolean {
    return this.mmLockSeq % 2 === 1;
  }

  /** Numbers VMAs for their names. */
  nextVmaSerial(): number {
    this.#vmaSerial++;
    return this.#vmaSerial;
  }

  /** Resident pages of all kinds (`get_mm_rss`). */
  get residentPages(): number {
    const { rss } = this;
    return (rss[MM_FILEPAGES] as number) + (rss[MM_ANONPAGES] as number) + (rss[MM_SHMEMPAGES] as number);
  }
}

/**
 * Counts `pages` (negative: takes off) of a mapping with these flags.
 * @see Linux mm/mmap.c, `vm_stat_account`
 */
export function vmStatAccount(mm: MmStruct, flags: number, pages: number): void {
  mm.totalVm += pages;
  if (isExecMapping(flags)) mm.execVm += pages;
  else if (isStackMapping(flags)) mm.stackVm += pages;
  else if (isDataMapping(flags)) mm.dataVm += pages;
}
