/**
 * A debugger and the tags of its tracee, and what remote access does with tagged addresses.
 * @see Linux arch/arm64/kernel/mte.c, `__access_remote_tags`; arch/arm64/kernel/ptrace.c, `tagged_addr_ctrl_set`
 */

import { beforeEach, describe, expect, it } from 'vitest';
import { NT_ARM_TAGGED_ADDR_CTRL, PROT_MTE } from '../../../../src/arch/user-abi.ts';
import { errnoName } from '../../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { SUID_DUMP_DISABLE } from '../../../../src/kernel/mm/mm.ts';
import { MAP_ANONYMOUS, MAP_SHARED, PROT_NONE, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { CAP_SYS_PTRACE, rootCredentials } from '../../../../src/kernel/process/credentials.ts';
import { getTaggedAddrCtrl, writeTcfPreferred } from '../../../../src/kernel/process/tagged-address.ts';
import { openProcMem, readProcMem } from '../../../../src/kernel/remote/proc-pid-mem.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../../../src/kernel/remote/process-vm.ts';
import { ptraceInterrupt, ptracePeekData, ptraceSeize } from '../../../../src/kernel/remote/ptrace.ts';
import { ptracePeekMteTags, ptracePokeMteTags } from '../../../../src/kernel/remote/ptrace-mte-tags.ts';
import { ptraceGetRegset, ptraceSetRegset } from '../../../../src/kernel/remote/ptrace-regset.ts';
import type { UserBuffer } from '../../../../src/kernel/remote/user-buffer.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { AT, MteWorld, RW, RWM, tagged } from './mte-world.ts';

let world: MteWorld;
let target: TaskStruct;
let debuggerTask: TaskStruct;

beforeEach(() => {
  world = new MteWorld();
  debuggerTask = world.process('debugger');
  target = world.process('target');
  target.parent = debuggerTask;
});

function attach(): void {
  world.call(debuggerTask, ptraceSeize(debuggerTask, target.pid));
  world.call(debuggerTask, ptraceInterrupt(debuggerTask, target.pid));
}

function peek(address: bigint, count: number, buffer: UserBuffer = new Uint8Array(count)): string {
  const call = ptracePeekMteTags(debuggerTask, target.pid, address, buffer, count);
  const { error, count: moved } = world.made(debuggerTask, call);
  if (error !== 0) return errnoName(error);
  return buffer instanceof Uint8Array ? `${moved}: ${[...buffer.subarray(0, 4)].join(' ')}` : `${moved}`;
}

function poke(address: bigint, tags: readonly number[]): string {
  const call = ptracePokeMteTags(debuggerTask, target.pid, address, Uint8Array.from(tags), tags.length);
  const { error, count } = world.made(debuggerTask, call);
  return error === 0 ? `${count}` : errnoName(error);
}

describe('PTRACE_PEEKMTETAGS', () => {
  it('gives a byte for each granule, from the granule around the address', () => {
    world.map(target, 1);
    world.stg(target, tagged(AT, 5));
    world.stg(target, tagged(AT + 32n, 7));
    attach();
    expect(peek(AT, 4)).toBe('4: 5 0 7 0');
    expect(peek(AT + 47n, 1)).toBe('1: 7');
  });

  it('goes on over pages, and stops at the first one without tags', () => {
    world.map(target, 2);
    world.map(target, 1, RW, undefined, 2);
    world.stg(target, tagged(AT + 0x1000n, 3));
    attach();
    expect(peek(AT + 0xfe0n, 4)).toBe('4: 0 0 3 0');
    expect(peek(AT, 1024)).toBe('512: 0 0 0 0');
    expect(peek(AT + 0x2000n, 1)).toBe('EIO');
    expect(peek(AT + 0x9000n, 1)).toBe('EIO');
  });

  it('moves nothing for no tags, which is EFAULT, as a bad buffer is', () => {
    world.map(target, 1);
    attach();
    expect(peek(AT, 0)).toBe('EFAULT');
    expect(peek(AT, 4, 8n)).toBe('EFAULT');
    expect(peek(AT, 4, 0xffff_8000_0000_0000n)).toBe('EFAULT');
  });

  it('looks at the buffer before the tracee: EFAULT, not EIO, when both are bad', () => {
    world.map(target, 1);
    attach();
    expect(peek(AT + 0x9000n, 4, 0xffff_8000_0000_0000n)).toBe('EFAULT');
    expect(peek(AT + 0x9000n, 4, 8n)).toBe('EIO');
  });

  it('fills a buffer of the debugger up to where it ends', () => {
    world.map(target, 1);
    world.map(debuggerTask, 1, RW);
    attach();
    expect(peek(AT, 64, AT + 0xff0n)).toBe('16');
  });

  it('does not take tag bits off', () => {
    world.map(target, 1);
    attach();
    expect(peek(tagged(AT, 5), 1)).toBe('EIO');
  });

  it('is for the tracer of a stopped process', () => {
    world.map(target, 1);
    expect(peek(AT, 1)).toBe('ESRCH');
    attach();
    expect(peek(AT, 1)).toBe('1: 0');
  });

  it('is refused when the process may not be looked at any more', () => {
    world.map(target, 1);
    debuggerTask.credentials = rootCredentials([CAP_SYS_PTRACE]);
    target.credentials = debuggerTask.credentials;
    attach();
    if (target.mm !== null) target.mm.dumpable = SUID_DUMP_DISABLE;
    expect(peek(AT, 1)).toBe('EPERM');
  });
});

describe('PTRACE_PEEKMTETAGS of memory without access', () => {
  it('reads the tags all the same', () => {
    world.map(target, 1);
    world.stg(target, tagged(AT, 6));
    expect(world.made(target, sysMprotect(target, AT, 0x1000n, PROT_NONE | PROT_MTE))).toBe(0);
    attach();
    expect(peek(AT, 2)).toBe('2: 6 0');
  });

  // `pte_access_permitted` asks for a valid pte, so `mte_sync_tags` is not called for PROT_NONE.
  it('shows what the frame had before in shared memory that was never accessible, as Linux does (WARN_ON_ONCE)', () => {
    world.map(target, 1);
    world.stg(target, tagged(AT, 11));
    const frame = world.frame(target, AT);
    world.made(target, sysMunmap(target, AT, 0x1000n));
    world.map(target, 1, PROT_NONE | PROT_MTE, MAP_SHARED | MAP_ANONYMOUS);
    attach();
    expect(peek(AT, 2)).toBe('2: 11 0');
    expect(world.frame(target, AT)).toBe(frame);
    expect(world.made(target, sysMprotect(target, AT, 0x1000n, RWM))).toBe(0);
    expect(peek(AT, 2)).toBe('2: 0 0');
  });

  it('shows nobody else’s in private memory that was never accessible', () => {
    world.map(target, 1);
    world.stg(target, tagged(AT, 11));
    world.made(target, sysMunmap(target, AT, 0x1000n));
    world.map(target, 1, PROT_NONE | PROT_MTE);
    attach();
    expect(peek(AT, 2)).toBe('2: 0 0');
    expect(poke(AT + 16n, [3])).toBe('1');
    expect(peek(AT, 2)).toBe('2: 0 3');
  });
});

describe('PTRACE_POKEMTETAGS', () => {
  it('uses the low 4 bits of each byte, and leaves the data alone', () => {
    world.map(target, 1);
    world.store(target, AT, 42);
    attach();
    expect(poke(AT, [0xf3, 0x24])).toBe('2');
    expect([world.ldg(target, AT), world.ldg(target, AT + 16n), world.load(target, AT)]).toEqual([3, 4, 42]);
  });

  it('writes to memory without access, which has them when it becomes accessible', () => {
    world.map(target, 1, PROT_NONE | PROT_MTE);
    attach();
    expect(poke(AT, [9])).toBe('1');
    world.call(target, sysMprotect(target, AT, 0x1000n, RWM));
    expect(world.ldg(target, AT)).toBe(9);
  });

  it('leaves the page dirty, under its own lock', () => {
    const { frames } = world.system.kernel;
    world.map(target, 1, RWM, MAP_SHARED | MAP_ANONYMOUS);
    world.store(target, AT, 42);
    const frame = world.frame(target, AT);
    attach();
    frames.clearFlags(frame, FrameFlag.Dirty);
    expect(peek(AT, 1)).toBe('1: 0');
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(false);
    expect(poke(AT, [1])).toBe('1');
    expect(frames.hasFlag(frame, FrameFlag.Dirty)).toBe(true);
  });

  it('copies a read-only private page, and does not touch a read-only shared one', () => {
    world.map(target, 1, PROT_READ | PROT_MTE);
    world.map(target, 1, PROT_READ | PROT_MTE, MAP_SHARED | MAP_ANONYMOUS, 1);
    attach();
    expect(poke(AT, [1])).toBe('1');
    expect(poke(AT + 0x1000n, [1])).toBe('EIO');
  });

  it('gives the child of a fork a page of its own', () => {
    world.map(target, 1);
    world.stg(target, tagged(AT, 2));
    const child = world.fork(target);
    attach();
    expect(poke(AT + 16n, [8])).toBe('1');
    expect([world.ldg(target, AT), world.ldg(target, AT + 16n)]).toEqual([2, 8]);
    expect([world.ldg(child, AT), world.ldg(child, AT + 16n)]).toEqual([2, 0]);
  });
});

describe('NT_ARM_TAGGED_ADDR_CTRL', () => {
  const get = (type: number = NT_ARM_TAGGED_ADDR_CTRL, bytes = 8): string => {
    const word = new Uint8Array(bytes);
    const result = world.made(debuggerTask, ptraceGetRegset(debuggerTask, target.pid, type, word));
    return result === 0 ? [...word].join(' ') : errnoName(result);
  };
  const set = (word: readonly number[], type: number = NT_ARM_TAGGED_ADDR_CTRL): string => {
    const call = ptraceSetRegset(debuggerTask, target.pid, type, Uint8Array.from(word));
    const result = world.made(debuggerTask, call);
    return result === 0 ? 'ok' : errnoName(result);
  };

  it('is the word of the tracee, to read and to set', () => {
    world.control(target, 3n);
    expect(get()).toBe('ESRCH');
    attach();
    expect(get()).toBe('3 0 0 0 0 0 0 0');
    expect(set([0xfb, 0xff, 7, 0, 0, 0, 0, 0])).toBe('ok');
    expect(getTaggedAddrCtrl(target)).toBe(0x7_fffbn);
  });

  it.each([
    ['an unknown bit', () => set([0, 0, 8, 0, 0, 0, 0, 0])],
    ['a length that is no multiple of 8', () => set([1])],
    ['another set', () => set([1, 0, 0, 0, 0, 0, 0, 0], 1)],
    ['another set to read', () => get(1)],
    ['a wrong length to read', () => get(NT_ARM_TAGGED_ADDR_CTRL, 4)],
  ])('refuses %s', (_name, request) => {
    world.control(target, 3n);
    attach();
    expect([request(), getTaggedAddrCtrl(target)]).toEqual(['EINVAL', 3n]);
  });
});

describe('a tagged address of another process', () => {
  it.each(['a5', '05', 'ff'])(
    '0x%s in its top byte is ignored by every path that reads memory, where the path can have it',
    (text) => {
      const top = BigInt(`0x${text}`);
      world.map(target, 1);
      world.store(target, AT, 42);
      const address = AT | (top << 56n);
      const byte = new Uint8Array(8);
      attach();
      expect(world.made(debuggerTask, ptracePeekData(debuggerTask, target.pid, address, byte))).toBe(0);
      expect(byte[0]).toBe(42);
      const local = [{ base: byte.fill(0), length: 8n }];
      const remote = [{ base: address, length: 8n }];
      const args = { pid: target.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
      expect(world.made(debuggerTask, sysProcessVmReadv(debuggerTask, args))).toBe(8);
      expect(byte[0]).toBe(42);
      const file = world.made(debuggerTask, openProcMem(debuggerTask, target.pid));
      if (typeof file === 'number') throw new Error(`open gave ${file}`);
      const read = readProcMem(debuggerTask, file, address, byte.fill(0), 8n);
      // A file offset with bit 63 is negative.
      expect(world.made(debuggerTask, read)).toBe(top >= 0x80n ? -22 : 8);
    },
  );

  it('never meets a tag check, and a write keeps the tags', () => {
    world.map(target, 1);
    world.control(target, 3n);
    world.stg(target, tagged(AT, 6));
    const local = [{ base: Uint8Array.of(1), length: 1n }];
    const remote = [{ base: tagged(AT, 9), length: 1n }];
    const args = { pid: target.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
    expect(world.made(debuggerTask, sysProcessVmWritev(debuggerTask, args))).toBe(1);
    expect([world.load(target, tagged(AT, 6)), world.ldg(target, AT)]).toEqual([1, 6]);
  });
});

describe('the buffer of the caller', () => {
  /** process_vm_readv of 64 bytes into AT with this tag. */
  function readv(control: bigint, tag: number): number {
    world.map(target, 1);
    world.map(debuggerTask, 1);
    world.control(debuggerTask, control);
    for (const granule of [0n, 16n]) world.stg(debuggerTask, tagged(AT + granule, 5));
    const local = [{ base: tagged(AT, tag), length: 64n }];
    const remote = [{ base: AT, length: 64n }];
    const args = { pid: target.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
    return world.made(debuggerTask, sysProcessVmReadv(debuggerTask, args));
  }

  it.each([
    ['the ABI off: a tagged pointer is no address', 0n, 5, -14],
    ['the ABI off, an untagged pointer, nothing checked', 0n, 0, 64],
    ['the ABI on, nothing checked', 1n, 9, 64],
    ['sync: up to the first granule of another tag', 3n, 5, 32],
    ['sync: another tag at once', 3n, 9, -14],
    ['async: the copy succeeds', 5n, 9, 64],
  ] as const)('%s', (_name, control, tag, expected) => {
    expect(readv(control, tag)).toBe(expected);
  });

  it('leaves no signal behind in async mode', () => {
    readv(5n, 9);
    expect(world.call(debuggerTask, sysMprotect(debuggerTask, AT, 0x1000n, RWM)).signal).toBe(null);
  });

  it.each([
    ['async', 5n, null],
    ['asymmetric', 7n, 'asymm'],
  ] as const)('nor does one that faults on its second page, %s', (_name, control, preferred) => {
    if (preferred !== null) writeTcfPreferred(world.system.kernel, 0, preferred);
    world.map(target, 2);
    world.map(debuggerTask, 2);
    world.control(debuggerTask, control);
    world.stg(debuggerTask, tagged(AT + 0xff0n, 5));
    const local = [{ base: tagged(AT + 0xff0n, 9), length: 32n }];
    const remote = [{ base: AT, length: 32n }];
    const args = { pid: target.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
    // The first page has another tag, which is not said at once; the second one is not there yet.
    expect(world.made(debuggerTask, sysProcessVmReadv(debuggerTask, args))).toBe(32);
    expect(world.system.kernel.arch.memoryTags?.takeAsynchronousFault(debuggerTask.thread)).toBe(false);
    expect(world.call(debuggerTask, sysMprotect(debuggerTask, AT, 0x1000n, RWM)).signal).toBe(null);
  });
});
