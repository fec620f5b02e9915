/** A kernel with processes for tests of remote access: map, touch, look at a page, count who holds references. */
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import type { Task } from '../../../src/base/task.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { gupPopulate } from '../../../src/kernel/gup/populate.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import { copyFromUser, copyToUser } from '../../../src/kernel/mm/user-access.ts';
import { type Credentials, rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import type { Policy } from '../../../src/sched/policy/policy.ts';
import { createSystem, type System } from '../../../src/userland/system.ts';
import { architecture } from '../../support/architecture.ts';

/** Where the tests map things: one arena, away from page 0 and from a page-table boundary of its own. */
export const BASE = 0x1000_0000_0000n;
export const PAGE = 0x1000n;

export class World {
  readonly system: System;

  constructor(cpus = 1, policy?: Policy, kernel: Partial<KernelConfig> = {}) {
    this.system = createSystem({
      architecture,
      cpus,
      memoryBytes: 0x100_0000,
      retention: 'adversarial',
      kernel,
      ...(policy === undefined ? {} : { policy }),
    });
    this.system.kernel.populate = gupPopulate;
  }

  get kernel() {
    return this.system.kernel;
  }

  /** Runs one path of a task to its end and returns what it returned. */
  run<T>(task: TaskStruct, path: Task<T>): T {
    return this.system.loop.complete(task, path);
  }

  process(name: string, cpu = 0, credentials: Credentials = rootCredentials()): TaskStruct {
    return this.system.createProcess(name, cpu, credentials);
  }

  fork(parent: TaskStruct, name: string): TaskStruct {
    const child = this.run(parent, sysFork(parent, name));
    if (typeof child === 'number') throw new Error(`fork failed with ${child}`);
    return child;
  }

  /** Maps anonymous pages at BASE + `page`; `flags` beside MAP_FIXED and MAP_ANONYMOUS. */
  map(task: TaskStruct, page: number, pages: number, prot: number, flags = MAP_PRIVATE): bigint {
    const address = BASE + BigInt(page) * PAGE;
    const all = flags | MAP_FIXED | MAP_ANONYMOUS;
    const mapped = this.run(task, sysMmap(task, address, BigInt(pages) * PAGE, prot, all, null, 0n));
    if (mapped !== address) throw new Error(`mmap gave ${mapped}`);
    return address;
  }

  protect(task: TaskStruct, address: bigint, pages: number, prot: number): void {
    const error = this.run(task, sysMprotect(task, address, BigInt(pages) * PAGE, prot));
    if (error !== 0) throw new Error(`mprotect gave ${error}`);
  }

  /** mprotect whose errors do not matter. */
  tryProtect(task: TaskStruct, address: bigint, pages: number, prot: number): void {
    this.run(task, sysMprotect(task, address, BigInt(pages) * PAGE, prot));
  }

  /** Stores bytes as the process itself would, by a system call of its own. */
  store(task: TaskStruct, address: bigint, bytes: readonly number[]): void {
    const left = this.run(task, copyToUser(task, address, Uint8Array.from(bytes)));
    if (left !== 0) throw new Error(`${left} bytes not stored`);
  }

  load(task: TaskStruct, address: bigint, length: number): number[] {
    const bytes = new Uint8Array(length);
    const left = this.run(task, copyFromUser(task, bytes, address));
    if (left !== 0) throw new Error(`${left} bytes not loaded`);
    return [...bytes];
  }

  /** Faults counted in `task` while `path` runs. */
  counted<T>(task: TaskStruct, path: Task<T>): { readonly result: T; readonly faults: number } {
    const before = task.minFlt + task.majFlt;
    const result = this.run(task, path);
    return { result, faults: task.minFlt + task.majFlt - before };
  }

  /** The frame that is mapped at an address, -1 when none is. */
  frameAt(task: TaskStruct, address: bigint): number {
    const { pageTables } = this.kernel;
    if (task.mm === null || !pageTables.lookupPte(rootTable(task.mm), Number(address >> 12n))) return -1;
    if ((pageTables.flags(pageTables.lastLevel) & EntryFlag.Present) === 0) return -1;
    return pageTables.frame(pageTables.lastLevel);
  }

  /**
   * The page as the traces show it: absent `-`, zero page `Z`, file or shared `F`, anonymous and mapped once `X`,
   * mapped by several `mN`; then `w` when the entry is writable.
   */
  state(task: TaskStruct, address: bigint): string {
    const frame = this.frameAt(task, address);
    if (frame < 0) return '-';
    const { pageTables, frames } = this.kernel;
    const writable = (pageTables.flags(pageTables.lastLevel) & EntryFlag.Write) === 0 ? '' : 'w';
    if (frames.isZeroFrame(frame)) return `Z${writable}`;
    if (!frames.hasFlag(frame, FrameFlag.Anon)) return `F${writable}`;
    const mapped = frames.mapcount(frame);
    return (mapped === 1 ? 'X' : `m${mapped}`) + writable;
  }
}

export { MAP_PRIVATE, MAP_SHARED };
