/**
 * What assertions may look at: processes, their mappings, pages and bytes, counters, locks. Reading changes nothing and
 * takes no time: it goes to page tables and memory directly, as a debugger of the whole machine would, not through a
 * TLB. What a CPU would see through a stale translation may differ.
 */
import { InputError } from '../base/input-error.ts';
import type { Holder } from '../base/task.ts';
import { type BreakBeforeMakeViolation, describeViolation } from '../check/break-before-make.ts';
import { describeStale, type StaleTranslation, staleTranslations } from '../check/stale-translation.ts';
import type { CostProfile } from '../hardware/cost-profile.ts';
import { describeLockdepReport, type LockdepReport } from '../kernel/lock/lockdep.ts';
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS } from '../kernel/mm/mm.ts';
import { pageRuns } from '../kernel/mm/pagemap.ts';
import { type SmapsEntry, smapsEntries } from '../kernel/mm/smaps.ts';
import type { VmArea } from '../kernel/mm/vma.ts';
import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from '../kernel/mm/vma-flags.ts';
import type { VmaLockCounters } from '../kernel/mm/vma-lock-counters.ts';
import { ExitState, type TaskStruct } from '../kernel/task-struct.ts';
import type { KernelWarning } from '../kernel/warnings.ts';
import { counterMistake } from './counter-names.ts';
import type { EventCounter } from './event-counter.ts';
import {
  HUGE_PAGE_SHIFTS,
  type HugePagePoolView,
  hugePagePool,
  type PageView,
  pageView,
  type SwapView,
  swapView,
} from './memory-view.ts';
import { type RemoteAccessView, remoteAccessView } from './remote-access-view.ts';
import type { Share } from './share.ts';
import type { System } from './system.ts';
import { type VmaLockView, vmaLockView } from './vma-lock-view.ts';

/** A mapping. Addresses are bytes, `end` is the first one beyond. */
export interface VmaView {
  readonly start: bigint;
  readonly end: bigint;
  /** As /proc/PID/maps shows them: `rw-p`. */
  readonly permissions: string;
  /** VM_* bits 31:0. */
  readonly flags: number;
  /** A write has been made or prepared: it has an anon_vma. */
  readonly hasAnonVma: boolean;
}

/** Pages in a row that look the same. */
export interface PagemapRun {
  /** Byte address of the first. */
  readonly address: bigint;
  readonly pages: number;
  readonly flags: string;
}

/** A lock that is held or waited for at the moment. */
export interface LockView {
  readonly lock: string;
  readonly holders: readonly Holder[];
}

export class ProcessView {
  readonly #system: System;
  readonly #task: TaskStruct;
  #vmaLocks: VmaLockCounters | null = null;

  constructor(system: System, task: TaskStruct) {
    this.#system = system;
    this.#task = task;
    this.noteMemory();
  }

  /** Called when the process has got an address space. */
  noteMemory(): void {
    this.#vmaLocks = this.#task.mm?.vmaLockCounters ?? this.#vmaLocks;
  }

  get name(): string {
    return this.#task.name;
  }
  get pid(): number {
    return this.#task.pid;
  }
  /** `exiting`: its memory is gone or going. */
  get state(): 'running' | 'exiting' | 'zombie' | 'dead' {
    const { exitState } = this.#task;
    if (exitState === ExitState.Running) return this.#task.mm === null ? 'exiting' : 'running';
    return exitState === ExitState.Zombie ? 'zombie' : 'dead';
  }
  /** As `wait4` reports it: exit code << 8, or the number of a signal. */
  get exitStatus(): number {
    return this.#task.exitStatus;
  }
  /** Faults without and with input or output, also those it caused in another address space. */
  get minFlt(): number {
    return this.#task.minFlt;
  }
  get majFlt(): number {
    return this.#task.majFlt;
  }
  /** Stopped by its debugger. */
  get stopped(): boolean {
    return this.#task.ptraceStopped;
  }

  /** Resident pages by kind, and pages in swap; all 0 once the memory is gone. Huge pages of pools are in none of them. */
  get rss(): { readonly anon: number; readonly file: number; readonly shmem: number; readonly swap: number } {
    const rss = this.#task.mm?.rss;
    return {
      anon: rss?.[MM_ANONPAGES] ?? 0,
      file: rss?.[MM_FILEPAGES] ?? 0,
      shmem: rss?.[MM_SHMEMPAGES] ?? 0,
      swap: rss?.[MM_SWAPENTS] ?? 0,
    };
  }

  /** Pages that mlock keeps in memory (VmLck); 0 once the memory is gone. */
  get lockedPages(): number {
    return this.#task.mm?.lockedVm ?? 0;
  }

  /** How its user-mode faults fared with VMA locks; after its end, as it was then. */
  get vmaLocks(): VmaLockView {
    return vmaLockView(this.#vmaLocks === null ? [] : [this.#vmaLocks]);
  }

  /** /proc/PID/smaps: every mapping with its flags as there, and what of it is in memory and in swap, in KiB. */
  smaps(): SmapsEntry[] {
    return this.#task.mm === null ? [] : smapsEntries(this.#task.mm);
  }

  /** The mapping of `smaps` that holds an address. */
  smapsAt(address: bigint): SmapsEntry | undefined {
    return this.smaps().find(({ start, end }) => address >= start && address < end);
  }

  /**
   * /proc/PID/pagemap, kpagecount and kpageflags of a range, as runs of pages that look the same. Flags are letters: `P`
   * present, `S` in swap or a marker, `F` file, `X` exclusive, `W` write-protected for userfaultfd, `G` guard, `Z` zero
   * page, `H` transparent huge page, `T` of a pool, `mN` mapped N times.
   */
  pagemap(address: bigint, bytes: number): PagemapRun[] {
    const { mm } = this.#task;
    if (mm === null) return [];
    const first = Number(address >> 12n);
    return pageRuns(mm, first, first + Math.ceil(bytes / 4096)).map(({ start, count, flags }) => ({
      address: BigInt(start) << 12n,
      pages: count,
      flags,
    }));
  }

  /** Every mapping, by address. */
  vmas(): VmaView[] {
    return this.#task.mm === null ? [] : [...this.#task.mm.vmas].map(vmaView);
  }

  /** The mapping that holds an address. */
  vmaAt(address: bigint): VmaView | undefined {
    return this.vmas().find(({ start, end }) => address >= start && address < end);
  }

  /** The page mapped at an address, `undefined` when none is. */
  pageAt(address: bigint): PageView | undefined {
    const { mm } = this.#task;
    return mm === null ? undefined : pageView(this.#system.kernel, mm, Number(address >> 12n));
  }

  /** Bytes as the page tables map them, `undefined` when a page of the range is not mapped. */
  read(address: bigint, bytes: number): Uint8Array | undefined {
    const result = new Uint8Array(bytes);
    for (let done = 0; done < bytes; ) {
      const at = address + BigInt(done);
      const page = this.pageAt(at);
      if (page === undefined) return undefined;
      const offset = Number(at & 0xfffn);
      const part = result.subarray(done, Math.min(bytes, done + 0x1000 - offset));
      this.#system.machine.memory.readBytes(page.frame, offset, part);
      done += part.length;
    }
    return result;
  }

  /** The 8 bytes at an address as a number. */
  word(address: bigint): bigint | undefined {
    return this.read(address, 8)?.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }
}

export class WorldView {
  readonly share: Share;
  readonly #system: System;
  readonly #counter: EventCounter;
  readonly #processes = new Map<string, ProcessView>();
  readonly #values = new Map<string, unknown>();
  /** Of every address space there was. */
  readonly #vmaLocks = new Set<VmaLockCounters>();

  constructor(system: System, share: Share, counter: EventCounter) {
    this.#system = system;
    this.share = share;
    this.#counter = counter;
  }

  /** Called when a process is made. */
  add(task: TaskStruct): void {
    this.#processes.set(task.name, new ProcessView(this.#system, task));
    this.#noteVmaLocks(task);
  }

  /** Called when a process has called execve. */
  executed(task: TaskStruct): void {
    this.#processes.get(task.name)?.noteMemory();
    this.#noteVmaLocks(task);
  }

  #noteVmaLocks({ mm }: TaskStruct): void {
    if (mm !== null) this.#vmaLocks.add(mm.vmaLockCounters);
  }

  /** Called when a program has come to its end. */
  returned({ name }: TaskStruct, value: unknown): void {
    this.#values.set(name, value);
  }

  /** What a program (or a child under the name `fork` gave it) returned; `undefined` while, or when, it did not. */
  value(name: string): unknown {
    return this.#values.get(name);
  }

  /** Every process there ever was, in the order in which they were made. */
  get processes(): readonly ProcessView[] {
    return [...this.#processes.values()];
  }

  /** A process by the name of its program, or by the name `fork` gave it. */
  process(name: string): ProcessView | undefined {
    return this.#processes.get(name);
  }

  /** What steps cost in this run, each figure with its source. */
  get costs(): CostProfile {
    return this.#system.machine.profile;
  }

  /** Virtual time: the clock of the CPU that is furthest. */
  get time(): number {
    return Math.max(...this.#system.machine.cpus.map((cpu) => cpu.time));
  }

  /**
   * How often something happened: an event kind (`fault`, `tlb-flush`, `swap-out`, `thp-fault` …), or `steps`,
   * `page-tables`, `free-frames`, `pins-acquired`, `pins-released` (NR_FOLL_PIN_*), `numa-pte-updates`, `numa-hint-faults`, `vma-lock-success`, `vma-lock-retry`,
   * `vma-lock-abort`, `vma-lock-miss`. 0 for what never happened.
   * @throws InputError for a name that there is not
   */
  counter(name: string): number {
    const mistake = counterMistake(name);
    if (mistake !== null) throw new InputError(mistake.text, { expected: mistake.expected });
    if (name === 'steps') return this.#system.loop.steps;
    if (name === 'page-tables') return this.#system.kernel.pageTables.count;
    if (name === 'free-frames') return this.#system.kernel.frames.freeFrames;
    if (name === 'numa-pte-updates') return this.#system.kernel.numaEvents.pteUpdates;
    if (name === 'numa-hint-faults') return this.#system.kernel.numaEvents.hintFaults;
    if (name === 'pins-acquired') return this.#system.kernel.frames.pinsAcquired;
    if (name === 'pins-released') return this.#system.kernel.frames.pinsReleased;
    const vmaLock = /^vma-lock-(success|retry|abort|miss)$/.exec(name)?.[1];
    if (vmaLock !== undefined) return this.vmaLocks[vmaLock as 'success'];
    return this.#counter.count(name);
  }

  /** How user-mode faults of all processes fared with VMA locks. */
  get vmaLocks(): VmaLockView {
    return vmaLockView(this.#vmaLocks);
  }

  /** A pool of huge pages. @throws InputError for a size that there never is */
  hugePages(size: '2MiB' | '1GiB'): HugePagePoolView {
    if (!Object.hasOwn(HUGE_PAGE_SHIFTS, size)) {
      throw new InputError(`there are no huge pages of "${String(size)}"`, { expected: '2MiB or 1GiB' });
    }
    return hugePagePool(this.#system.kernel, size);
  }

  /** How accesses to other processes' memory lock in this run, and what they did so far. */
  get remoteAccess(): RemoteAccessView {
    return remoteAccessView(this.#system.kernel);
  }

  /** The swap area, in pages. */
  get swap(): SwapView {
    return swapView(this.#system.kernel);
  }

  /**
   * What Linux would have written to its log so far (WARN_ON_ONCE), once for each place: its function, what is wrong, and the
   * name of the process that came by.
   */
  get warnings(): readonly KernelWarning[] {
    return this.#system.kernel.warnings.list;
  }

  /** Orders of locks so far that could deadlock, each with what both sides held. Needs `lockdep: true`. */
  lockOrderViolations(): readonly LockdepReport[] {
    return this.#system.kernel.lockdep?.reports ?? [];
  }

  /** Translations that a CPU still has although the page tables grant less, each with the flush that is missing. */
  staleTranslations(): StaleTranslation[] {
    return staleTranslations(this.#system.kernel, this.#system.tlbView, this.#system.omittedFlushes);
  }

  /**
   * Changes of live page-table entries so far that left out a step of break-before-make (arm64). Watched with
   * `adversarial` retention; without it, and on an architecture that has no such rule, there are none.
   */
  breakBeforeMakeViolations(): readonly BreakBeforeMakeViolation[] {
    return this.#system.breakBeforeMake?.violations ?? [];
  }

  /** The mmap_locks that somebody holds. */
  heldLocks(): LockView[] {
    const locks = new Map<string, readonly Holder[]>();
    for (const task of this.#system.kernel.tasks.values()) {
      const lock = task.mm?.mmapLock;
      if (lock !== undefined && lock.holders().length > 0) locks.set(lock.name, lock.holders());
    }
    return [...locks].map(([lock, holders]) => ({ lock, holders }));
  }
}

/**
 * An assertion for `always` or `finally`: no CPU may use a translation that the page tables no longer grant. The text
 * names the entry, and the flush that is missing.
 */
export function noStaleTranslation(world: WorldView): boolean | string {
  const stale = world.staleTranslations();
  return stale.length === 0 || stale.flatMap(describeStale).join('; ');
}

/**
 * An assertion for `always` or `finally` of a scenario with `adversarial` retention: no live page-table entry was changed
 * in a way that needs break-before-make without it. The text names the entries, the change and the missing step.
 */
export function noBreakBeforeMakeViolation(world: WorldView): boolean | string {
  const violations = world.breakBeforeMakeViolations();
  return violations.length === 0 || violations.flatMap(describeViolation).join('; ');
}

/**
 * An assertion for `always` or `finally` of a scenario with `lockdep: true`: nobody took locks in an order that could
 * deadlock, also if nothing did. The text has the order and what each side held.
 */
export function noLockOrderViolation(world: WorldView): boolean | string {
  const violations = world.lockOrderViolations();
  return violations.length === 0 || violations.map(describeLockdepReport).join('\n');
}

function vmaView(vma: VmArea): VmaView {
  const { flags } = vma;
  const letter = (bit: number, text: string): string => ((flags & bit) !== 0 ? text : '-');
  return {
    start: BigInt(vma.start) << 12n,
    end: BigInt(vma.end) << 12n,
    permissions: `${letter(VM_READ, 'r')}${letter(VM_WRITE, 'w')}${letter(VM_EXEC, 'x')}${(flags & VM_SHARED) !== 0 ? 's' : 'p'}`,
    flags,
    hasAnonVma: vma.anonVma !== null,
  };
}
