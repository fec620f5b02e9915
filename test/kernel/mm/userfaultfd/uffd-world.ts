/** A process with memory that a manager, another process, watches through a userfaultfd. */
import { expect } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import type { UserfaultfdContext } from '../../../../src/kernel/mm/userfaultfd/context.ts';
import { userfaultfdCopy } from '../../../../src/kernel/mm/userfaultfd/copy.ts';
import { userfaultfdRead } from '../../../../src/kernel/mm/userfaultfd/read.ts';
import { userfaultfdRegister } from '../../../../src/kernel/mm/userfaultfd/register.ts';
import {
  O_NONBLOCK,
  UFFD_API,
  UFFDIO_REGISTER_MODE_MINOR,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_WRITEPROTECT_MODE_WP,
} from '../../../../src/kernel/mm/userfaultfd/uffd-abi.ts';
import { sysUserfaultfd, userfaultfdApi } from '../../../../src/kernel/mm/userfaultfd/userfaultfd.ts';
import { userfaultfdWriteprotect } from '../../../../src/kernel/mm/userfaultfd/write-protect.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../../../src/kernel/remote/process-vm.ts';
import type { SignalInfo } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { TaskState } from '../../../../src/sched/task.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { addressOf, ProcessWorld, type ProcessWorldOptions } from '../process-world.ts';

export const RW = 3;
export const MISSING = UFFDIO_REGISTER_MODE_MISSING;
export const WP = UFFDIO_REGISTER_MODE_WP;
export const MINOR = UFFDIO_REGISTER_MODE_MINOR;
export const bytesOf = (pages: number): bigint => BigInt(pages) << 12n;
/** Pages filled with one byte. */
export const pagesOf = (value: number, pages = 1): Uint8Array => new Uint8Array(4096 * pages).fill(value);

/** A path that was begun and may be waiting. */
export interface Begun<T> {
  readonly task: TaskStruct;
  /** Is it at its end? */
  readonly ended: boolean;
  /** What it returned. @throws when it is not at its end */
  readonly result: T;
}

export class UffdWorld extends ProcessWorld {
  readonly owner: TaskStruct;
  readonly manager: TaskStruct;
  /** Opened by the owner, non-blocking, without features. */
  readonly uffd: UserfaultfdContext;

  constructor(options: ProcessWorldOptions = {}, features = 0, flags = O_NONBLOCK) {
    super(options);
    this.owner = this.process('owner');
    this.manager = this.process('manager', (options.cpus ?? 1) > 1 ? 1 : 0);
    this.uffd = this.open(this.owner, features, flags);
  }

  open(task: TaskStruct, features = 0, flags = O_NONBLOCK): UserfaultfdContext {
    const context = this.run(task, sysUserfaultfd(task, flags));
    if (typeof context === 'number') throw new Error(`userfaultfd gave ${context}`);
    const { error } = this.run(task, userfaultfdApi(task, context, UFFD_API, BigInt(features)));
    expect(error).toBe(0);
    return context;
  }

  register(page: number, pages: number, mode: bigint, context = this.uffd): bigint {
    const call = userfaultfdRegister(this.manager, context, addressOf(page), bytesOf(pages), mode);
    const { error, ioctls } = this.run(this.manager, call);
    expect(error).toBe(0);
    return ioctls;
  }

  /** Starts a path and runs until nothing can happen any more. */
  begin<T>(task: TaskStruct, path: Task<T>): Begun<T> {
    this.system.loop.start(task, path);
    this.settle();
    const ended = (): boolean => task.state === TaskState.Idle;
    return {
      task,
      get ended() {
        return ended();
      },
      get result() {
        if (!ended()) throw new Error(`${task.name} still waits`);
        return task.result as T;
      },
    };
  }

  settle(): void {
    this.system.loop.run();
  }

  beginLoad(task: TaskStruct, page: number, offset = 0): Begun<SignalInfo | number | null> {
    const byte = new Uint8Array(1);
    return this.begin(task, loadByte(task, page, offset, byte));
  }

  beginStore(task: TaskStruct, page: number, value: number): Begun<SignalInfo | null> {
    return this.begin(task, userStore(task, addressOf(page), Uint8Array.of(value)));
  }

  /** The oldest fault that nobody has read: `page flags`, or `-`. */
  event(context = this.uffd): string {
    const { messages } = this.run(this.manager, userfaultfdRead(this.manager, context, 32));
    const [message] = messages;
    if (message === undefined) return '-';
    if (message.event !== 'pagefault') return message.event;
    return `${Number(message.address - addressOf(0)) / 4096} ${message.flags}`;
  }

  copy(page: number, value: number, pages = 1, mode = 0n): { error: number; done: number | null } {
    const source = pagesOf(value, pages);
    const call = userfaultfdCopy(this.manager, this.uffd, addressOf(page), source, bytesOf(pages), mode);
    return this.run(this.manager, call);
  }

  protect(page: number, pages: number, mode = UFFDIO_WRITEPROTECT_MODE_WP): number {
    const call = userfaultfdWriteprotect(this.manager, this.uffd, addressOf(page), bytesOf(pages), mode);
    return this.run(this.manager, call);
  }

  /** Nothing is left over: counts add up, nobody holds a lock, and no order of locks was wrong where that is watched. */
  expectConsistent(): void {
    this.settle();
    expect(this.inconsistencies()).toEqual([]);
    expect(this.kernel.lockdep?.reports ?? []).toEqual([]);
    for (const { mm } of [this.owner, this.manager]) {
      if (mm !== null) expect(mm.mmapLock.isLocked()).toBe(false);
    }
  }
}

/** A load that gives the byte it read, or the signal. */
export function* loadByte(
  task: TaskStruct,
  page: number,
  offset: number,
  byte: Uint8Array,
): Task<SignalInfo | number> {
  const signal = yield* userLoad(task, addressOf(page, offset), byte);
  return signal ?? (byte[0] as number);
}

/** process_vm_readv, or with `write` process_vm_writev, of the owner's memory by `caller`; the buffer is full of 0x5a. */
export function processVm(world: UffdWorld, caller: TaskStruct, page: number, length: number, write = false) {
  const buffer = new Uint8Array(length).fill(0x5a);
  const args = {
    pid: world.owner.pid,
    local: [{ base: buffer, length: BigInt(length) }],
    localCount: 1,
    remote: [{ base: addressOf(page), length: BigInt(length) }],
    remoteCount: 1,
    flags: 0,
  };
  return { buffer, call: write ? sysProcessVmWritev(caller, args) : sysProcessVmReadv(caller, args) };
}
