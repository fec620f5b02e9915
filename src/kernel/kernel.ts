/**
 * The kernel of one machine: what Linux keeps in global variables. Nothing of it is a module variable, so that
 * thousands of kernels can live one after another, or beside each other, in one program.
 */
import type { KernelArch } from '../arch/kernel-arch.ts';
import type { Task } from '../base/task.ts';
import type { EventSink } from '../hardware/event-sink.ts';
import type { Machine } from '../hardware/machine.ts';
import type { LockWatcher } from '../sched/task.ts';
import { type BugName, type KernelBugs, kernelBugs } from './bugs.ts';
import type { AddressSpace } from './frame/address-space.ts';
import type { FrameTable } from './frame/frame-table.ts';
import { SwapArea } from './frame/swap-area.ts';
import type { KernelWatcher } from './kernel-watcher.ts';
import { Lockdep } from './lock/lockdep.ts';
import { PercpuRwSemaphore } from './lock/percpu-rwsem.ts';
import { Rcu } from './lock/rcu.ts';
import { ActiveMm } from './mm/active-mm.ts';
import { HugetlbPools } from './mm/hugetlb/hstate.ts';
import { IoMemory } from './mm/io-memory.ts';
import type { NumaEvents } from './mm/numa-hint.ts';
import { PageTables } from './mm/page-table.ts';
import { PageTags } from './mm/page-tags.ts';
import type { PopulateOperations } from './mm/populate.ts';
import { KhugepagedScan } from './mm/thp/khugepaged-list.ts';
import type { UprobeHooks } from './mm/uprobe-hooks.ts';
import type { VmArea } from './mm/vma.ts';
import { VmAreaSlab } from './mm/vma-slab.ts';
import type { VmaWatcher } from './mm/vma-watcher.ts';
import { UserStructs } from './process/user-struct.ts';
import { CopyPoints } from './remote/copy-points.ts';
import type { RemoteAccessDesign } from './remote/design.ts';
import { RemoteCounters } from './remote/remote-counters.ts';
import type { RemoteWatcher } from './remote/remote-watcher.ts';
import type { TaskStruct } from './task-struct.ts';
import { KernelWarnings } from './warnings.ts';

/** Settings that a real kernel takes from sysctl, its command line or its configuration. */
export interface KernelConfig {
  /** `sysctl vm.max_map_count`. */
  readonly maxMapCount: number;
  /** `sysctl vm.mmap_min_addr`, in pages. */
  readonly mmapMinPage: number;
  /** The boot parameter stack_guard_gap, in pages. */
  readonly stackGuardGapPages: number;
  /** CONFIG_PROVE_LOCKING: tell of orders of locks that could deadlock (`Kernel.lockdep`). */
  readonly lockdep: boolean;
  /** Bugs put in on purpose, by their names (`bugs.ts`). */
  readonly bugs: readonly BugName[];
  /** CONFIG_PER_VMA_LOCK: user-mode faults try the VMA's own lock before mmap_lock. */
  readonly perVmaLocks: boolean;
  /** `sysctl vm.overcommit_memory`: 0 heuristic, 1 always, 2 never. */
  readonly overcommitMemory: 0 | 1 | 2;
  /**
   * The boot parameter proc_mem.force_override=: when may /proc/PID/mem go against the protection of memory? Always, for
   * the debugger of the process, or never.
   */
  readonly procMemForceOverride: 'always' | 'ptrace' | 'never';
  /** Pages of the swap area, which is in memory of its own; 0: no swap. */
  readonly swapPages: number;
  /** Frames in use, of any kind, above which a page for user space is paid for by reclaim; 0: the machine's memory. */
  readonly frameLimit: number;
  /** The boot parameters hugepages= of 2 MiB and of 1 GiB: pages that the pools take from memory at once. */
  readonly hugepages2M: number;
  readonly hugepages1G: number;
  /** Pages of ZONE_MOVABLE, at the top of memory, and of the CMA area below: not for the kernel, nor for pins that last. */
  readonly movablePages: number;
  readonly cmaPages: number;
  /** CONFIG_MEMORY_FAILURE: broken memory is a kind of its own (BUS_MCEERR_AR), and madvise can pretend it. */
  readonly memoryFailure: boolean;
  /** Guards are known to their VMA by a sticky flag, VM_MAYBE_GUARD, as in stable kernels of late 6.18. */
  readonly maybeGuardFlag: boolean;
  /** CONFIG_HAVE_IOREMAP_PROT: debuggers get at memory of devices by `vm_ops->access`. */
  readonly haveIoremapProt: boolean;
  /** CONFIG_PT_RECLAIM, of x86-64 only so far: MADV_DONTNEED frees page tables that become empty. */
  readonly ptReclaim: boolean;
  /** /sys/kernel/mm/transparent_hugepage/enabled: which private anonymous memory may have huge pages. */
  readonly transparentHugepage: 'never' | 'madvise' | 'always';
  /** /sys/kernel/mm/transparent_hugepage/shmem_enabled: which shared memory and memfds may have huge pages. */
  readonly shmemEnabled: ShmemEnabled;
}

/** The words of shmem_enabled, as Linux spells them. */
export type ShmemEnabled = 'never' | 'always' | 'within_size' | 'advise' | 'deny' | 'force';

/** Frees about `wanted` pages of user memory, if it can: how many it were. */
export type DirectReclaim = (current: TaskStruct, wanted: number) => Task<{ readonly reclaimed: number }>;

export const defaultKernelConfig: KernelConfig = {
  transparentHugepage: 'madvise',
  shmemEnabled: 'never',
  maxMapCount: 65530,
  mmapMinPage: 16,
  stackGuardGapPages: 256,
  lockdep: false,
  bugs: [],
  perVmaLocks: true,
  overcommitMemory: 0,
  procMemForceOverride: 'always',
  swapPages: 0,
  frameLimit: 0,
  hugepages2M: 0,
  hugepages1G: 0,
  movablePages: 0,
  cmaPages: 0,
  memoryFailure: true,
  maybeGuardFlag: true,
  haveIoremapProt: true,
  ptReclaim: true,
};

export class Kernel {
  readonly machine: Machine;
  readonly arch: KernelArch;
  readonly frames: FrameTable;
  readonly pageTables: PageTables;
  /** Memory tags of pages; null on a machine without. */
  readonly pageTags: PageTags | null;
  /** Where pages go that memory has no room for; null without swap. */
  readonly swap: SwapArea | null;
  /** The pools of huge pages. */
  readonly hugetlb: HugetlbPools;
  /** Memory of devices, outside `frames`. */
  readonly ioMemory: IoMemory;
  readonly config: KernelConfig;
  /** `config.bugs` as switches. */
  readonly bugs: KernelBugs;
  readonly events: EventSink;
  readonly rcu: Rcu;
  /** Null unless `config.lockdep`. */
  readonly lockdep: Lockdep | null;
  /** Told by every new task of the locks that it takes: lockdep, or who has taken its place. */
  lockWatcher: LockWatcher | null;
  /** Told of what happens, for checks; null unless somebody watches. */
  watcher: KernelWatcher | null = null;
  /** What Linux would tell its log of (WARN_ON_ONCE). */
  readonly warnings = new KernelWarnings();
  /** What NUMA balancing has done. */
  readonly numaEvents: NumaEvents = { pteUpdates: 0, hintFaults: 0 };
  /** What khugepaged scans. */
  readonly khugepaged = new KhugepagedScan();
  /** VMAs that are given back and not yet another's. */
  readonly vmAreas = new VmAreaSlab();
  /** Told what happens to VMAs, for checks; null unless somebody watches. Set before the first address space is made. */
  vmaWatcher: VmaWatcher | null = null;
  /** How remote memory access locks; null is today's code (`remote/designs/v0-mmap-lock.ts`). */
  remoteAccess: RemoteAccessDesign | null = null;
  readonly remoteCounters = new RemoteCounters();
  /** Told of transfers to and from other processes' memory, for checks; null unless somebody watches. */
  remoteWatcher: RemoteWatcher | null = null;
  /** Told of each mapping that GUP is about to look at, and with which FOLL_ flags; null unless somebody watches. */
  gupWatcher: ((current: TaskStruct, vma: VmArea, gupFlags: number) => void) | null = null;
  /** Where remote accesses copy. */
  readonly copyPoints = new CopyPoints();
  /** Cycles of looking up a VMA, and of a walk of page tables whose reads are no points. */
  readonly lookUpCycles: { readonly vma: number; readonly walk: number };
  /** The address space that each CPU has loaded. */
  readonly activeMm: readonly ActiveMm[];
  /** Every task that is not reaped, by pid. */
  readonly tasks = new Map<number, TaskStruct>();
  /** What is counted for each user. */
  readonly users = new UserStructs();
  /** Files that have a name, by their paths. */
  readonly namedFiles = new Map<string, AddressSpace>();
  /** Pages promised to private writable mappings of all processes (`vm_committed_as`). */
  committedPages = 0;
  /** Breakpoints in files; null until the first one is registered. */
  uprobes: UprobeHooks | null = null;
  /** Held by fork while mappings are copied, against uprobes that come or go (`dup_mmap_sem`). */
  readonly dupMmapSem = new PercpuRwSemaphore('dup_mmap_sem');
  /** Set when the kernel is put together: `mm_populate` and its like, of the layer above mm. */
  populate: PopulateOperations | null = null;
  /** Set with it: makes room for page tables when there is no memory (`reclaim/direct.ts`, which needs page tables). */
  directReclaim: DirectReclaim | null = null;
  /** The pid handed out last. */
  lastPid = 0;
  /** Numbers for the names of objects: the n-th of its kind has the same name in every run of a schedule. */
  readonly #serials = new Map<string, number>();

  constructor(
    machine: Machine,
    arch: KernelArch,
    frames: FrameTable,
    config: KernelConfig = defaultKernelConfig,
  ) {
    this.machine = machine;
    this.arch = arch;
    this.frames = frames;
    this.pageTags = arch.memoryTags === null ? null : new PageTags(frames, arch.memoryTags);
    this.pageTables = new PageTables(machine.memory, arch.format, this.pageTags);
    this.config = config;
    this.bugs = kernelBugs(config.bugs);
    this.ioMemory = new IoMemory(machine.memory);
    this.hugetlb = new HugetlbPools(frames, arch.format, config, machine.cpus.length);
    this.swap = config.swapPages === 0 ? null : new SwapArea(config.swapPages);
    this.activeMm = machine.cpus.map(() => new ActiveMm());
    this.events = machine.events;
    const { profile } = machine;
    this.lookUpCycles = { vma: profile.cycles('vmaLookup'), walk: profile.cycles('tableWalk') };
    this.rcu = new Rcu(machine.cpus, machine.footprint);
    this.lockdep = config.lockdep ? new Lockdep(machine.cpus) : null;
    this.lockWatcher = this.lockdep;
  }

  /** The next number for an object of `kind`, from 1. */
  nextSerial(kind: string): number {
    const serial = (this.#serials.get(kind) ?? 0) + 1;
    this.#serials.set(kind, serial);
    return serial;
  }
}
