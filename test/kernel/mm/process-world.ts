/**
 * A machine with processes that touch their memory as programs do, and what must hold whenever nothing is under way:
 * page tables agree with VMAs, and every count with what is really there.
 */

import { EntryFlag, tableIndex } from '../../../src/arch/paging-format.ts';
import type { ProcessorOptions } from '../../../src/arch/processor-options.ts';
import type { Task } from '../../../src/base/task.ts';
import { describeStale, staleTranslations } from '../../../src/check/stale-translation.ts';
import type { Retention } from '../../../src/hardware/retention.ts';
import { AddressSpace } from '../../../src/kernel/frame/address-space.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import {
  MM_ANONPAGES,
  MM_FILEPAGES,
  MM_SHMEMPAGES,
  MM_SWAPENTS,
  type MmStruct,
} from '../../../src/kernel/mm/mm.ts';
import { mmget } from '../../../src/kernel/mm/mm-lifetime.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import type { TablePage } from '../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { mmCounter } from '../../../src/kernel/mm/rmap.ts';
import { swapSlotRead } from '../../../src/kernel/mm/swap-pte.ts';
import { VM_ACCOUNT } from '../../../src/kernel/mm/vma-flags.ts';
import { rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { createTask, sysFork } from '../../../src/kernel/process/fork.ts';
import type { SignalInfo } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import type { Policy } from '../../../src/sched/policy/policy.ts';
import { userFetch, userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { createSystem, type System } from '../../../src/userland/system.ts';
import { architecture, CPU_MODEL_OF_5_LEVELS } from '../../support/architecture.ts';
import { rmapInconsistencies } from './rmap-audit.ts';
import { SwapAudit } from './swap-audit.ts';

/** First page of the arena; not at a table boundary, so that pages 0…15 span two pte tables. */
export const BASE_PAGE = 0x1_0000_01f8;
export const addressOf = (page: number, offset = 0): bigint =>
  (BigInt(BASE_PAGE + page) << 12n) + BigInt(offset);

export interface ProcessWorldOptions {
  readonly cpus?: number;
  readonly policy?: Policy;
  readonly retention?: Retention;
  readonly memoryBytes?: number;
  /** Default: 4 levels on the default CPU; 5: on one that has everything. */
  readonly levels?: 4 | 5;
  /** Any other. */
  readonly processor?: ProcessorOptions;
  readonly kernel?: Partial<KernelConfig>;
}

export class ProcessWorld {
  readonly system: System;

  constructor({
    cpus = 1,
    policy,
    retention = 'adversarial',
    memoryBytes = 0x100_0000,
    levels = 4,
    processor = levels === 5 ? { levels, cpuModel: CPU_MODEL_OF_5_LEVELS } : {},
    kernel = {},
  }: ProcessWorldOptions = {}) {
    this.system = createSystem({
      architecture,
      ...processor,
      cpus,
      retention,
      memoryBytes,
      kernel,
      ...(policy === undefined ? {} : { policy }),
    });
  }

  get kernel() {
    return this.system.kernel;
  }

  process(name = 'process', cpu = 0): TaskStruct {
    return this.system.createProcess(name, cpu, rootCredentials());
  }

  /** Another task with the same address space, as a thread has. */
  thread(of: TaskStruct, name: string, cpu: number): TaskStruct {
    const mm = mmOf(of);
    this.run(of, mmget(mm));
    return createTask(this.kernel, mm, of.credentials, name, cpu);
  }

  fork(parent: TaskStruct, name = 'child'): TaskStruct {
    const child = this.run(parent, sysFork(parent, name));
    if (typeof child === 'number') throw new Error(`fork failed with ${child}`);
    return child;
  }

  run<T>(task: TaskStruct, path: Task<T>): T {
    return this.system.loop.complete(task, path);
  }

  /** Maps `pages` pages at page `page` of the arena. */
  map(task: TaskStruct, page: number, pages: number, prot: number, flags = MAP_PRIVATE): void {
    const all = flags | MAP_FIXED | MAP_ANONYMOUS;
    const got = this.run(task, sysMmap(task, addressOf(page), BigInt(pages) << 12n, prot, all, null, 0n));
    if (got !== addressOf(page)) throw new Error(`mmap gave ${got}`);
  }

  /** A store of one byte by the program itself. */
  store(task: TaskStruct, page: number, value: number, offset = 0): SignalInfo | null {
    return this.run(task, userStore(task, addressOf(page, offset), Uint8Array.of(value)));
  }

  /** A load of one byte: its value, or the signal. */
  load(task: TaskStruct, page: number, offset = 0): number | SignalInfo {
    const byte = new Uint8Array(1);
    return this.run(task, userLoad(task, addressOf(page, offset), byte)) ?? (byte[0] as number);
  }

  fetch(task: TaskStruct, page: number): SignalInfo | null {
    return this.run(task, userFetch(task, addressOf(page)));
  }

  /** Flags and frame of the pte of a page of the arena; flags 0 when there is none. */
  pte(task: TaskStruct, page: number): { readonly flags: number; readonly frame: number } {
    const { pageTables } = this.kernel;
    if (!pageTables.lookupPte(rootTable(mmOf(task)), BASE_PAGE + page)) return { flags: 0, frame: -1 };
    const flags = pageTables.flags(pageTables.lastLevel);
    return { flags, frame: (flags & EntryFlag.Present) === 0 ? -1 : pageTables.frame(pageTables.lastLevel) };
  }

  /**
   * A page in a few letters: `-` absent, `Z` zero page, `F` file, `A` anonymous (`X` if exclusive); `w` writable,
   * `d` dirty; then how many ptes map it, if not one. In swap: `S`, `Sx` for an entry that is exclusive.
   */
  page(task: TaskStruct, page: number): string {
    const { flags, frame } = this.pte(task, page);
    if (frame < 0) return this.swapSlot(task, page) < 0 ? '-' : this.#swapText(flags);
    const { frames } = this.kernel;
    const write = (flags & EntryFlag.Write) === 0 ? '' : 'w';
    const dirty = (flags & EntryFlag.Dirty) === 0 ? '' : 'd';
    if (frames.isZeroFrame(frame)) return `Z${write}${dirty}`;
    const exclusive = frames.hasFlag(frame, FrameFlag.AnonExclusive) ? 'X' : 'A';
    const kind = frames.hasFlag(frame, FrameFlag.Anon) ? exclusive : 'F';
    const mapped = frames.mapcount(frame);
    return `${kind}${write}${dirty}${mapped === 1 ? '' : mapped}`;
  }

  #swapText(flags: number): string {
    return (flags & EntryFlag.SwapExclusive) === 0 ? 'S' : 'Sx';
  }

  /** The swap slot in which a page of the arena lies, -1 when its pte says nothing of one. */
  swapSlot(task: TaskStruct, page: number): number {
    const { pageTables } = this.kernel;
    const mm = mmOf(task);
    if (!pageTables.lookupPte(rootTable(mm), BASE_PAGE + page)) return -1;
    return swapSlotRead(mm, pageTables.lastLevel);
  }

  /** What is wrong, in words; empty when everything adds up. Nothing may be running. */
  inconsistencies(): string[] {
    return new Audit(this.kernel).report();
  }
}

export function mmOf(task: TaskStruct): MmStruct {
  if (task.mm === null) throw new Error(`${task.name} has no address space`);
  return task.mm;
}

/** Counts everything anew and compares. */
class Audit {
  readonly #kernel: System['kernel'];
  readonly #wrong: string[] = [];
  /** Ptes that map each frame, counted. */
  readonly #mapped = new Map<number, number>();
  /** Frames somebody owns. */
  readonly #owned = new Set<number>();
  readonly #files = new Set<AddressSpace>();
  readonly #swap: SwapAudit;

  constructor(kernel: System['kernel']) {
    this.#kernel = kernel;
    this.#swap = new SwapAudit(kernel);
  }

  report(): string[] {
    const { frames, activeMm, tasks } = this.#kernel;
    const mms = new Set<MmStruct>();
    for (const { mm } of tasks.values()) if (mm !== null) mms.add(mm);
    for (const mm of mms) this.#mm(mm);
    this.#charges(mms);
    for (const { mm, borrowed } of activeMm)
      if (borrowed && mm !== null && mm.pgd >= 0) this.#owned.add(mm.pgd);
    for (const file of this.#files) for (const index of file.indexes()) this.#owned.add(file.frameAt(index));
    this.#counts();
    this.#lists();
    for (const file of this.#files) this.#swap.addFile(file);
    for (const frame of this.#swap.cachedFrames()) this.#owned.add(frame);
    this.#wrong.push(...this.#swap.report(this.#mapped));
    // The zero page and the root table of no process are the two that were there first.
    const free = frames.frameCount - this.#owned.size - 2;
    if (frames.freeFrames !== free)
      this.#wrong.push(`${frames.freeFrames} frames are free, ${free} should be`);
    const view = architecture.createTlbView(this.#kernel.arch);
    this.#wrong.push(...rmapInconsistencies(this.#kernel));
    for (const stale of staleTranslations(this.#kernel, view)) this.#wrong.push(...describeStale(stale));
    return this.#wrong;
  }

  #mm(mm: MmStruct): void {
    const resident = new Int32Array(4);
    const tables = this.#table(mm, rootTable(mm), 0, resident);
    if (mm.pgtablesBytes !== (tables - 1) * 4096) {
      this.#wrong.push(
        `${mm.name} counts ${mm.pgtablesBytes} bytes of tables, has ${tables - 1} below the root`,
      );
    }
    for (const counter of [MM_FILEPAGES, MM_ANONPAGES, MM_SHMEMPAGES, MM_SWAPENTS]) {
      if (mm.rss[counter] !== resident[counter]) {
        this.#wrong.push(
          `${mm.name} counter ${counter} is ${mm.rss[counter]}, ${resident[counter]} are resident`,
        );
      }
    }
    if (mm.tlbFlushPending !== 0) this.#wrong.push(`${mm.name} has a gather under way`);
    for (const vma of mm.vmas) if (vma.file !== null) this.#files.add(vma.file.mapping);
  }

  /** Pages promised are those of the charged mappings that are left. */
  #charges(mms: ReadonlySet<MmStruct>): void {
    let charged = 0;
    for (const { vmas } of mms)
      for (const vma of vmas) if ((vma.flags & VM_ACCOUNT) !== 0) charged += vma.pages;
    const { committedPages } = this.#kernel;
    if (committedPages !== charged)
      this.#wrong.push(`${committedPages} pages are promised, ${charged} should be`);
  }

  /** Everything below one table; returns the number of tables. */
  #table(mm: MmStruct, table: TablePage, firstPage: number, resident: Int32Array): number {
    const { pageTables } = this.#kernel;
    const { format, lastLevel } = pageTables;
    this.#owned.add(table.frame);
    let tables = 1;
    const pages = 2 ** ((format.levels[table.level]?.shift ?? 0) - 12);
    for (let index = 0; index < 512; index++) {
      pageTables.read(table, index);
      if (format.isNone(pageTables.hi, pageTables.lo)) continue;
      const page = firstPage + index * pages;
      if (tableIndex(format, page, table.level) !== index) throw new Error('the audit lost its way');
      if (table.level === lastLevel) this.#pte(mm, page, resident);
      else tables += this.#table(mm, pageTables.tableAt(pageTables.frame(table.level)), page, resident);
    }
    return tables;
  }

  #pte(mm: MmStruct, page: number, resident: Int32Array): void {
    const { frames, pageTables } = this.#kernel;
    const flags = pageTables.flags(pageTables.lastLevel);
    const frame = pageTables.frame(pageTables.lastLevel);
    const vma = mm.vmas.lookup(page);
    if (vma === null) this.#wrong.push(`${mm.name} maps page 0x${page.toString(16)} outside every VMA`);
    const slot = swapSlotRead(mm, pageTables.lastLevel);
    if (slot !== -1) {
      resident[MM_SWAPENTS] = (resident[MM_SWAPENTS] as number) + 1;
      this.#swap.refer(slot);
    }
    if ((flags & EntryFlag.Present) === 0) return;
    if (frames.isZeroFrame(frame)) {
      if ((flags & EntryFlag.Write) !== 0) this.#wrong.push('the zero page is writable');
      if ((flags & EntryFlag.Special) === 0) this.#wrong.push('the zero page is counted');
      return;
    }
    this.#mapped.set(frame, (this.#mapped.get(frame) ?? 0) + 1);
    this.#owned.add(frame);
    const counter = mmCounter(frames, frame);
    resident[counter] = (resident[counter] as number) + 1;
    const writable = (flags & EntryFlag.Write) !== 0;
    if (writable && vma !== null && (vma.flags & 2) === 0)
      this.#wrong.push(`${vma.name} is read-only, its pte is not`);
    if (
      writable &&
      frames.hasFlag(frame, FrameFlag.Anon) &&
      !frames.hasFlag(frame, FrameFlag.AnonExclusive)
    ) {
      this.#wrong.push(`frame 0x${frame.toString(16)} is writable and not exclusive`);
    }
  }

  #counts(): void {
    const { frames } = this.#kernel;
    for (const [frame, count] of this.#mapped) {
      const inSwapCache = frames.hasFlag(frame, FrameFlag.SwapCache);
      const cached = inSwapCache || frames.mapping(frame) instanceof AddressSpace ? 1 : 0;
      const name = `frame 0x${frame.toString(16)}`;
      if (frames.mapcount(frame) !== count)
        this.#wrong.push(`${name}: mapcount ${frames.mapcount(frame)}, ${count} ptes`);
      if (frames.refcount(frame) !== count + cached) {
        this.#wrong.push(
          `${name}: refcount ${frames.refcount(frame)}, ${count} ptes and ${cached} from the page cache`,
        );
      }
      if (frames.hasFlag(frame, FrameFlag.AnonExclusive) && count > 1)
        this.#wrong.push(`${name}: exclusive, ${count} ptes`);
      if (frames.hasFlag(frame, FrameFlag.Locked)) this.#wrong.push(`${name}: still locked`);
    }
  }
  /** Every page of user memory is where reclaim finds it, once nobody is looking at it. */
  #lists(): void {
    const { frames } = this.#kernel;
    for (const frame of this.#mapped.keys()) {
      if (frames.hasFlag(frame, FrameFlag.Hugetlb) || frames.lru.listOf(frames.head(frame)) !== -1) continue;
      this.#wrong.push(`frame 0x${frame.toString(16)}: on no list of reclaim`);
    }
  }
}
