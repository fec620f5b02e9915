/**
 * A small machine for one look at one design: a target with two threads, a reader with a CPU of its own, everybody moved on by
 * hand.
 */
import type { Task } from '../../../base/task.ts';
import { FOLL_WRITE } from '../../../kernel/gup/foll-flags.ts';
import type { KernelConfig } from '../../../kernel/kernel.ts';
import type { MappedFile } from '../../../kernel/mm/mapped-file.ts';
import type { MmStruct } from '../../../kernel/mm/mm.ts';
import { mmget } from '../../../kernel/mm/mm-lifetime.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../../kernel/mm/mman.ts';
import { sysMmap } from '../../../kernel/mm/mmap.ts';
import { sysMprotect } from '../../../kernel/mm/mprotect.ts';
import { createTask } from '../../../kernel/process/fork.ts';
import { accessRemoteVm } from '../../../kernel/remote/access-remote-vm.ts';
import type { DesignName } from '../../../kernel/remote/design-names.ts';
import { designNamed } from '../../../kernel/remote/designs/registry.ts';
import type { TaskStruct } from '../../../kernel/task-struct.ts';
import { userStore } from '../../calls/access.ts';
import { createSystem, type System, type SystemArchitecture } from '../../system.ts';
import { createTarget, TARGET_BASE } from '../remote-process.ts';
import { ByHand } from './by-hand.ts';
import { Footprint, watched } from './footprint.ts';

export const PAGE_BYTES = 4096;
export const READ_WRITE = PROT_READ | PROT_WRITE;
/** 32 MiB. */
const MEMORY_BYTES = 0x200_0000;
/** As many bytes as a debugger asks for. */
export const WORD_BYTES = 8;

/** First byte of page `page` of what the target has mapped, and so many bytes on. */
export const addressOf = (page: number, offset = 0): bigint =>
  TARGET_BASE + BigInt(page * PAGE_BYTES + offset);

/** What came of one access. */
export interface Access {
  readonly moved: number;
  readonly buffer: Uint8Array;
  readonly footprint: Footprint;
  /** How often what was left was given to today's code, by reason. */
  readonly fallbacks: ReadonlyMap<string, number>;
}

export class ProtocolMachine {
  readonly system: System;
  readonly hand: ByHand;
  readonly target: TaskStruct;
  readonly mm: MmStruct;
  readonly reader: TaskStruct;
  /** A second thread of the target. */
  readonly writer: TaskStruct;

  constructor(architecture: SystemArchitecture, design: DesignName, kernel: Partial<KernelConfig> = {}) {
    this.hand = new ByHand(() => this.system.loop);
    this.system = createSystem({
      architecture,
      cpus: 3,
      memoryBytes: MEMORY_BYTES,
      policy: this.hand.policy,
      kernel,
    });
    const { task, mm } = createTarget(this.system, 'target', 0);
    this.target = task;
    this.mm = mm;
    this.reader = createTarget(this.system, 'reader', 1).task;
    this.run(task, mmget(mm));
    this.writer = createTask(this.system.kernel, mm, task.credentials, 'writer', 2);
    this.system.kernel.remoteAccess = designNamed(design);
  }

  /** Nobody else may be under way. */
  run<T>(task: TaskStruct, path: Task<T>): T {
    return this.system.loop.complete(task, path);
  }

  map(page: number, pages: number, flags = MAP_PRIVATE, prot = READ_WRITE): void {
    this.mapFile(page, pages, null, flags | MAP_ANONYMOUS, prot);
  }

  mapFile(page: number, pages: number, file: MappedFile | null, flags: number, prot = READ_WRITE): void {
    const at = addressOf(page);
    const bytes = BigInt(pages * PAGE_BYTES);
    const got = this.run(this.target, sysMmap(this.target, at, bytes, prot, flags | MAP_FIXED, file, 0n));
    if (got !== at) throw new Error(`mmap gave ${got}`);
  }

  protect(page: number, pages: number, prot: number): void {
    const bytes = BigInt(pages * PAGE_BYTES);
    const error = this.run(this.target, sysMprotect(this.target, addressOf(page), bytes, prot));
    if (error !== 0) throw new Error(`mprotect gave ${error}`);
  }

  /** The target stores `value` into the first byte of each page. */
  fill(page: number, pages: number, value = 1): void {
    for (let i = 0; i < pages; i++) {
      this.run(this.target, userStore(this.target, addressOf(page + i), Uint8Array.of(value)));
    }
  }

  /** An access of the reader, begun and not run, and what it will leave. */
  begin(address: bigint, length: number, write = false): PendingAccess {
    const { reader, mm, system } = this;
    const { remoteCounters } = system.kernel;
    const before = new Map<string, number>(remoteCounters.fallbackReasons());
    const buffer = new Uint8Array(length).fill(write ? 0x77 : 0);
    const footprint = new Footprint(reader, mm);
    const path = accessRemoteVm(reader, mm, address, buffer, length, write ? FOLL_WRITE : 0);
    system.loop.start(reader, watched(path, footprint));
    return {
      result: () => ({
        moved: reader.result as number,
        buffer,
        footprint,
        fallbacks: new Map(
          [...remoteCounters.fallbackReasons()].filter(
            ([reason, count]) => count > (before.get(reason) ?? 0),
          ),
        ),
      }),
    };
  }

  /** An access of the reader, with nobody else under way. */
  access(address: bigint, length: number, write = false): Access {
    const pending = this.begin(address, length, write);
    this.hand.on(this.reader);
    if (!this.hand.isOver(this.reader)) throw new Error('an access alone does not come to its end');
    return pending.result();
  }
}

export interface PendingAccess {
  /** When the reader is at its end. */
  readonly result: () => Access;
}
