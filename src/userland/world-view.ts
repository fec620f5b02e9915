/**
 * What assertions may look at: processes, their mappings, pages and bytes, counters, locks. Reading changes nothing and
 * takes no time: it goes to page tables and memory directly, as a debugger of the whole machine would, not through a
 * TLB. What a CPU would see through a stale translation may differ.
 */
import { EntryFlag } from '../arch/paging-format.ts';
import type { Holder } from '../base/task.ts';
import { type BreakBeforeMakeViolation, describeViolation } from '../check/break-before-make.ts';
import { describeStale, type StaleTranslation, staleTranslations } from '../check/stale-translation.ts';
import type { CostProfile } from '../hardware/cost-profile.ts';
import { FrameFlag } from '../kernel/frame/frame-flags.ts';
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, type MmStruct } from '../kernel/mm/mm.ts';
import type { VmArea } from '../kernel/mm/vma.ts';
import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from '../kernel/mm/vma-flags.ts';
import { ExitState, type TaskStruct } from '../kernel/task-struct.ts';
import type { EventCounter } from './event-counter.ts';
import type { Share } from './share.ts';
import type { System } from './system.ts';

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

/** A page that a page table maps. */
export interface PageView {
  readonly frame: number;
  readonly writable: boolean;
  readonly dirty: boolean;
  readonly accessed: boolean;
  /** The shared zero page. */
  readonly zero: boolean;
  /** Anonymous, and certain to be this process' alone. */
  readonly exclusive: boolean;
  /** Page-table entries that map the frame. */
  readonly mapcount: number;
  readonly refcount: number;
}

/** A lock that is held or waited for at the moment. */
export interface LockView {
  readonly lock: string;
  readonly holders: readonly Holder[];
}

export class ProcessView {
  readonly #system: System;
  readonly #task: TaskStruct;

  constructor(system: System, task: TaskStruct) {
    this.#system = system;
    this.#task = task;
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

  /** Resident pages by kind; all 0 once the memory is gone. */
  get rss(): { readonly anon: number; readonly file: number; readonly shmem: number } {
    const rss = this.#task.mm?.rss;
    return {
      anon: rss?.[MM_ANONPAGES] ?? 0,
      file: rss?.[MM_FILEPAGES] ?? 0,
      shmem: rss?.[MM_SHMEMPAGES] ?? 0,
    };
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
    return mm === null ? undefined : pageView(this.#system, mm, Number(address >> 12n));
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

  constructor(system: System, share: Share, counter: EventCounter) {
    this.#system = system;
    this.share = share;
    this.#counter = counter;
  }

  /** Called when a process is made. */
  add(task: TaskStruct): void {
    this.#processes.set(task.name, new ProcessView(this.#system, task));
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
   * How often something happened: an event kind (`fault`, `tlb-flush`, `interrupt-send` …), or `steps`, `page-tables`,
   * `free-frames`. 0 for what never happened.
   */
  counter(name: string): number {
    if (name === 'steps') return this.#system.loop.steps;
    if (name === 'page-tables') return this.#system.kernel.pageTables.count;
    if (name === 'free-frames') return this.#system.kernel.frames.freeFrames;
    return this.#counter.count(name);
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

function pageView(system: System, mm: MmStruct, page: number): PageView | undefined {
  const { pageTables, frames } = system.kernel;
  const level = mm.pgd < 0 ? -1 : pageTables.lookupLeaf(pageTables.tableAt(mm.pgd), page);
  if (level === -1 || (pageTables.flags(level) & EntryFlag.Present) === 0) return undefined;
  const flags = pageTables.flags(level);
  const frame = pageTables.frameInLeaf(page, level);
  const zero = frames.isZeroFrame(frame);
  return {
    frame,
    writable: (flags & EntryFlag.Write) !== 0,
    dirty: (flags & EntryFlag.Dirty) !== 0,
    accessed: (flags & EntryFlag.Young) !== 0,
    zero,
    exclusive: !zero && frames.hasFlag(frame, FrameFlag.AnonExclusive),
    mapcount: zero ? 0 : frames.mapcount(frame),
    refcount: zero ? 0 : frames.refcount(frame),
  };
}
