/** A machine with tagged memory and processes that use it, for tests of what the kernel keeps of tags. */

import { architectureNamed } from '../../../../src/arch/registry.ts';
import { PROT_MTE } from '../../../../src/arch/user-abi.ts';
import type { Task } from '../../../../src/base/task.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { rootTable } from '../../../../src/kernel/mm/page-table-alloc.ts';
import { rootCredentials } from '../../../../src/kernel/process/credentials.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import { sysPrctlSetTaggedAddrCtrl } from '../../../../src/kernel/process/tagged-address.ts';
import { enterSystemCall, exitToUserMode } from '../../../../src/kernel/process/user-mode.ts';
import type { SignalInfo } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { logicalTag, userTagAccess } from '../../../../src/userland/calls/tag-access.ts';
import { createSystem, type System } from '../../../../src/userland/system.ts';

export const AT = 0x1000_0000_0000n;
export const RW = PROT_READ | PROT_WRITE;
export const RWM = RW | PROT_MTE;
export const PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS;

/** `address` with another tag. */
export const tagged = (address: bigint, tag: number): bigint =>
  (address & ~(0xfn << 56n)) | (BigInt(tag) << 56n);

export class MteWorld {
  readonly system: System;

  constructor(cpus = 1) {
    const architecture = architectureNamed('arm64');
    this.system = createSystem({ architecture, cpus, memoryBytes: 0x80_0000, retention: 'adversarial' });
  }

  process(name: string, cpu = 0): TaskStruct {
    return this.system.createProcess(name, cpu, rootCredentials());
  }

  /** Instructions of the task's own. */
  run<T>(task: TaskStruct, body: Task<T>): T {
    return this.system.loop.complete(task, body);
  }

  /** A system call; with the signal that came first, if any, after which it is not made: `result` is undefined. */
  call<T>(
    task: TaskStruct,
    body: Task<T>,
  ): { readonly result: T | undefined; readonly signal: SignalInfo | null } {
    function* path(): Task<{ readonly result: T | undefined; readonly signal: SignalInfo | null }> {
      const signal = enterSystemCall(task);
      const result = signal === null ? yield* body : undefined;
      if (exitToUserMode(task) !== null) throw new Error('a signal that came with the call');
      return { result, signal };
    }
    return this.run(task, path());
  }

  /** A system call that nothing stops. */
  made<T>(task: TaskStruct, body: Task<T>): T {
    const { result, signal } = this.call(task, body);
    if (signal !== null || result === undefined) throw new Error('the call was not made');
    return result;
  }

  map(task: TaskStruct, pages: number, prot = RWM, flags = PRIVATE, page = 0): bigint {
    const address = AT + BigInt(page) * 0x1000n;
    const call = sysMmap(task, address, BigInt(pages) << 12n, prot, flags | MAP_FIXED, null, 0n);
    const result = this.made(task, call);
    if (result !== address) throw new Error(`mmap gave ${result}`);
    return address;
  }

  fork(parent: TaskStruct, name = 'child'): TaskStruct {
    const result = this.made(parent, sysFork(parent, name));
    if (typeof result === 'number') throw new Error(`fork gave ${result}`);
    return result;
  }

  control(task: TaskStruct, control: bigint): void {
    const result = this.made(task, sysPrctlSetTaggedAddrCtrl(task, control));
    if (result !== 0) throw new Error(`prctl gave ${result}`);
  }

  /** Tags one granule with the tag of the address. */
  stg(task: TaskStruct, address: bigint): SignalInfo | null {
    const tag = logicalTag(address);
    return this.run(
      task,
      userTagAccess(task, address, (tags, hi, lo, how) => tags.stg(hi, lo, how, tag)),
    );
  }

  /** The tag of memory as the program sees it. */
  ldg(task: TaskStruct, address: bigint): number | SignalInfo {
    let tag = 0;
    const signal = this.run(
      task,
      userTagAccess(task, address, (tags, hi, lo, how) => {
        const fault = tags.ldg(hi, lo, how);
        ({ tag } = tags);
        return fault;
      }),
    );
    return signal ?? tag;
  }

  store(task: TaskStruct, address: bigint, value: number): SignalInfo | null {
    return this.run(task, userStore(task, address, Uint8Array.of(value)));
  }

  load(task: TaskStruct, address: bigint): number | SignalInfo {
    const byte = new Uint8Array(1);
    return this.run(task, userLoad(task, address, byte)) ?? (byte[0] as number);
  }

  /** The frame mapped at an address. */
  frame(task: TaskStruct, address: bigint): number {
    const { pageTables } = this.system.kernel;
    if (task.mm === null) throw new Error('no address space');
    pageTables.lookupPte(rootTable(task.mm), Number((address & ((1n << 56n) - 1n)) >> 12n));
    return pageTables.frame(pageTables.lastLevel);
  }

  /** Writes a tag behind everybody's back. */
  plantTag(frame: number, granule: number, tag: number): void {
    this.system.kernel.arch.memoryTags?.writeTag(frame, granule, tag);
  }
}
