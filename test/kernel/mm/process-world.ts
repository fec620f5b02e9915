/**
 * A machine with processes that touch their memory as programs do, and what must hold whenever nothing is under way:
 * page tables agree with VMAs, and every count with what is really there.
 */

import { EntryFlag } from '../../../src/arch/paging-format.ts';
import type { ProcessorOptions } from '../../../src/arch/processor-options.ts';
import type { Task } from '../../../src/base/task.ts';
import type { AuditOptions } from '../../../src/check/mm/audit.ts';
import { auditKernel } from '../../../src/check/mm-invariants.ts';
import type { Retention } from '../../../src/hardware/retention.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { mmget } from '../../../src/kernel/mm/mm-lifetime.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { swapSlotRead } from '../../../src/kernel/mm/swap-pte.ts';
import { rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { createTask, sysFork } from '../../../src/kernel/process/fork.ts';
import type { SignalInfo } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import type { Policy } from '../../../src/sched/policy/policy.ts';
import { userFetch, userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { createSystem, type System } from '../../../src/userland/system.ts';
import { architecture, CPU_MODEL_OF_5_LEVELS } from '../../support/architecture.ts';

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
  inconsistencies(options: AuditOptions = {}): readonly string[] {
    return auditKernel(this.kernel, this.system.tlbView, options);
  }
}

export function mmOf(task: TaskStruct): MmStruct {
  if (task.mm === null) throw new Error(`${task.name} has no address space`);
  return task.mm;
}
