/**
 * Processes for the cases of Linux's tools/testing/selftests/arm64/mte: memory with tags, loads and stores of single
 * bytes, the tag instructions, and SEGV_MTEAERR as it arrives before a system call is made.
 */

import { Access } from '../../../src/arch/access.ts';
import { architectureNamed } from '../../../src/arch/registry.ts';
import type { TagInstructions } from '../../../src/arch/tag-instructions.ts';
import {
  PR_MTE_TAG_SHIFT,
  PR_MTE_TCF_ASYNC,
  PR_MTE_TCF_SYNC,
  PR_TAGGED_ADDR_ENABLE,
  PROT_MTE,
} from '../../../src/arch/user-abi.ts';
import { atomically, type Task } from '../../../src/base/task.ts';
import { fromHalves, highHalf, lowHalf } from '../../../src/base/u64.ts';
import type { KernelConfig } from '../../../src/kernel/kernel.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import {
  MAP_ANONYMOUS,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import {
  sysPrctlGetTaggedAddrCtrl,
  sysPrctlSetTaggedAddrCtrl,
} from '../../../src/kernel/process/tagged-address.ts';
import { enterSystemCall, exitToUserMode, signalAddress } from '../../../src/kernel/process/user-mode.ts';
import { SEGV_MTEAERR, SEGV_MTESERR, type SignalInfo } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { logicalTag, tagInstructionsOf, userTagAccess } from '../../../src/userland/calls/tag-access.ts';
import { createSystem, type System } from '../../../src/userland/system.ts';

export const GRANULE = 16;
export const PAGE = 4096;
/** Every tag but 0, the include mask of most cases. */
const NON_ZERO_TAGS = 0xfffe;

/** `sync`: precise, `async`: imprecise, `none`: tag check faults are ignored. */
export type Mode = 'sync' | 'async' | 'none';
/** PROT_MTE with mmap, or added by mprotect. */
export type How = 'mmap' | 'mmap/mprotect';

const MODE_BITS = { sync: PR_MTE_TCF_SYNC, async: PR_MTE_TCF_ASYNC, none: 0 } as const;
const CODE_NAMES: Readonly<Record<number, string>> = {
  [SEGV_MTESERR]: 'SEGV_MTESERR',
  [SEGV_MTEAERR]: 'SEGV_MTEAERR',
};

export interface Allocation {
  readonly how: How;
  readonly shared?: boolean;
  /** Gives the middle a random tag (IRG, STG); the pointer has it then. */
  readonly tags?: boolean;
  /** Bytes of the same mapping before and behind, left with tag 0. */
  readonly before?: number;
  readonly after?: number;
  /** A tmpfs file of its own in place of anonymous memory. */
  readonly file?: boolean;
  /** MAP_HUGETLB: whole huge pages. */
  readonly huge?: boolean;
}

export const roundUp = (bytes: number, to: number): number => Math.ceil(bytes / to) * to;
export const tagOf = logicalTag;
export const withTag = (pointer: bigint, tag: number): bigint =>
  (pointer & ~(15n << 56n)) | (BigInt(tag) << 56n);

/** @param cpuModel default: the one of scenarios, which was recorded too */
export function mteSystem(cpus = 1, cpuModel?: string, kernel: Partial<KernelConfig> = {}): System {
  const model = cpuModel === undefined ? {} : { cpuModel };
  const architecture = architectureNamed('arm64');
  return createSystem({ architecture, cpus, memoryBytes: 0x400_0000, kernel, ...model });
}

export function mteProcess(system: System = mteSystem(), cpu = 0): MteProcess {
  return new MteProcess(system, system.createProcess('test', cpu, rootCredentials()));
}

export class MteProcess {
  readonly system: System;
  readonly task: TaskStruct;
  /** SA_EXPOSE_TAGBITS of the handler. */
  exposeTagBits = false;
  /** Asynchronous faults that were reported and not asked for yet. */
  #asynchronous = 0;

  constructor(system: System, task: TaskStruct) {
    this.system = system;
    this.task = task;
  }

  run<T>(path: Task<T>): T {
    return this.system.loop.complete(this.task, path);
  }

  /** A system call: in, the call, out. */
  syscall<T>(path: Task<T>): T {
    return this.run(this.#syscall(path));
  }

  /** A signal that comes first is counted and its handler returns: then the call is made. */
  *#syscall<T>(path: Task<T>): Task<T> {
    for (;;) {
      const signal = enterSystemCall(this.task);
      if (signal === null) break;
      if (signal.code !== SEGV_MTEAERR || signal.address !== 0n) throw new Error(`signal ${signal.code}`);
      this.#asynchronous++;
      exitToUserMode(this.task);
    }
    const result = yield* path;
    if (exitToUserMode(this.task) !== null) throw new Error('a signal that came with the call');
    return result;
  }

  /** Any system call, and how many SEGV_MTEAERR came since this was asked last. */
  asynchronousFaults(): number {
    this.syscall(nothing());
    const count = this.#asynchronous;
    this.#asynchronous = 0;
    return count;
  }

  /** prctl(PR_SET_TAGGED_ADDR_CTRL). @param include the tags that IRG may give, a bit each */
  switchMode(mode: Mode, include: number = NON_ZERO_TAGS): void {
    this.setControl(PR_TAGGED_ADDR_ENABLE | MODE_BITS[mode] | (include << PR_MTE_TAG_SHIFT));
  }

  setControl(control: number): void {
    const error = this.syscall(sysPrctlSetTaggedAddrCtrl(this.task, BigInt(control)));
    if (error !== 0) throw new Error(`prctl gave ${error}`);
  }

  get control(): number {
    return sysPrctlGetTaggedAddrCtrl(this.task);
  }

  file(bytes: number): MappedFile {
    const file = memfdCreate(this.system.kernel, 'test');
    this.syscall(fileTruncate(this.task, file, BigInt(bytes)));
    return file;
  }

  /** Maps readable and writable memory with PROT_MTE; the address of its middle. */
  allocate(size: number, allocation: Allocation): bigint {
    const {
      how,
      shared = false,
      tags = false,
      before = 0,
      after = 0,
      file = false,
      huge = false,
    } = allocation;
    const length = before + size + after;
    const prot = PROT_READ | PROT_WRITE;
    const backed = (file ? 0 : MAP_ANONYMOUS) | (huge ? MAP_HUGETLB : 0);
    const flags = (shared ? MAP_SHARED : MAP_PRIVATE) | backed;
    const backing = file ? this.file(length) : null;
    const first = how === 'mmap' ? prot | PROT_MTE : prot;
    const map = sysMmap(this.task, 0n, BigInt(length), first, flags, backing, 0n);
    const base = this.syscall(map);
    if (base < 0n) throw new Error(`mmap gave ${base}`);
    if (how === 'mmap/mprotect') this.protect(base, length, prot | PROT_MTE);
    const middle = base + BigInt(before);
    return tags ? this.insertTags(middle, size) : middle;
  }

  protect(address: bigint, bytes: number, prot: number): void {
    const start = address & ~0xfffn;
    const error = this.syscall(sysMprotect(this.task, start, address - start + BigInt(bytes), prot));
    if (error !== 0) throw new Error(`mprotect gave ${error}`);
  }

  unmap(address: bigint, bytes: number): void {
    const error = this.syscall(sysMunmap(this.task, address, BigInt(bytes)));
    if (error !== 0) throw new Error(`munmap gave ${error}`);
  }

  /** A random tag for the granules of [pointer, pointer + size): the pointer with it. */
  insertTags(pointer: bigint, size: number): bigint {
    const tagged = this.irg(pointer);
    this.setTags(tagged, size);
    return tagged;
  }

  /** Gives the granules of a range the tag of the pointer. */
  setTags(pointer: bigint, size: number): void {
    for (let at = 0; at < size; at += GRANULE) {
      const signal = this.stg(pointer + BigInt(at));
      if (signal !== null) throw new Error(`STG gave ${describe(signal)}`);
    }
  }

  irg(pointer: bigint, exclude = 0): bigint {
    return this.run(this.#irg(pointer, exclude));
  }

  #irg(pointer: bigint, exclude: number): Task<bigint> {
    return atomically(() => {
      const tags = this.#tags();
      tags.irg(highHalf(pointer), lowHalf(pointer), Access.User, exclude);
      return fromHalves(tags.resultHi, tags.resultLo);
    });
  }

  stg(pointer: bigint): SignalInfo | null {
    const tag = logicalTag(pointer);
    return this.run(userTagAccess(this.task, pointer, (tags, hi, lo, how) => tags.stg(hi, lo, how, tag)));
  }

  /** The Allocation Tag at an address. */
  ldg(pointer: bigint): number {
    return this.run(this.#ldg(pointer));
  }

  *#ldg(pointer: bigint): Task<number> {
    const signal = yield* userTagAccess(this.task, pointer, (tags, hi, lo, how) => tags.ldg(hi, lo, how));
    if (signal !== null) throw new Error(`LDG gave ${describe(signal)}`);
    return this.#tags().tag;
  }

  /** Those of the CPU that the process runs on, inside a task. */
  #tags(): TagInstructions {
    const tags = tagInstructionsOf(this.task);
    if (tags === null) throw new Error('no tag instructions');
    return tags;
  }

  /** PSTATE.TCO: with it no tag of an access is checked. */
  setTco(on: boolean): void {
    this.run(this.#setTco(on));
  }

  #setTco(on: boolean): Task<void> {
    return atomically(() => this.task.kernel.arch.memoryTags?.setTagCheckOverride(this.task.cpu, on));
  }

  exit(): void {
    this.run(doExit(this.task, 0));
  }

  /** Stores one byte: `stored`, or the signal. */
  store(pointer: bigint, byte: number): string {
    return this.#outcome(
      this.run(userStore(this.task, BigInt.asUintN(64, pointer), Uint8Array.of(byte))),
      'stored',
    );
  }

  /** Loads one byte: `loaded`, or the signal. */
  load(pointer: bigint): string {
    return this.#outcome(
      this.run(userLoad(this.task, BigInt.asUintN(64, pointer), new Uint8Array(1))),
      'loaded',
    );
  }

  #outcome(signal: SignalInfo | null, done: string): string {
    if (signal === null) return done;
    return describe({ ...signal, address: signalAddress(this.task, signal, this.exposeTagBits) });
  }

  /** Stores a byte to each address of a range in turn, until a signal: how many were stored, and the signal. */
  fill(
    pointer: bigint,
    bytes: number,
    byte: number,
  ): { readonly stored: number; readonly signal: string | null } {
    for (let at = 0; at < bytes; at++) {
      const outcome = this.store(pointer + BigInt(at), byte);
      if (outcome !== 'stored') return { stored: at, signal: outcome };
    }
    return { stored: bytes, signal: null };
  }

  /** The bytes of a range as they are in memory, whatever the tags. */
  bytes(pointer: bigint, length: number): Uint8Array {
    this.setTco(true);
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at++) {
      const signal = this.run(userLoad(this.task, pointer + BigInt(at), bytes.subarray(at, at + 1)));
      if (signal !== null) throw new Error(`load gave ${describe(signal)}`);
    }
    this.setTco(false);
    return bytes;
  }

  /** Copies byte by byte: null, or the signal that ended it. */
  copy(target: bigint, source: bigint, bytes: number): string | null {
    for (let at = 0; at < bytes; at++) {
      const byte = new Uint8Array(1);
      const read = this.run(userLoad(this.task, source + BigInt(at), byte));
      const signal = read ?? this.run(userStore(this.task, target + BigInt(at), byte));
      if (signal !== null) return describe(signal);
    }
    return null;
  }

  fork(): MteProcess {
    const child = this.syscall(sysFork(this.task, 'child'));
    if (typeof child === 'number') throw new Error(`fork gave ${child}`);
    return new MteProcess(this.system, child);
  }
}

function* nothing(): Task<void> {}

const describe = ({ code, address }: SignalInfo): string =>
  `${CODE_NAMES[code] ?? `si_code ${code}`} at 0x${address.toString(16)}`;
