/**
 * Whose tags a page shows: nobody sees those of whoever had the frame before.
 * @see Linux arch/arm64/kernel/mte.c `mte_sync_tags`, arch/arm64/mm/copypage.c `copy_highpage`
 */

import { beforeEach, describe, expect, it } from 'vitest';
import { PROT_MTE } from '../../../../src/arch/user-abi.ts';
import type { Task } from '../../../../src/base/task.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { pinUserPages } from '../../../../src/kernel/gup/get-user-pages.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { memfdCreate } from '../../../../src/kernel/mm/memfd.ts';
import { MMF_HAS_PINNED } from '../../../../src/kernel/mm/mm.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
} from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import { SEGV_MTEAERR, SEGV_MTESERR, SIGBUS, SIGSEGV } from '../../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { AT, MteWorld, PRIVATE, RW, RWM, tagged } from './mte-world.ts';

let world: MteWorld;
let task: TaskStruct;

beforeEach(() => {
  world = new MteWorld();
  task = world.process('p');
});

const isTagged = (frame: number): boolean => world.system.kernel.frames.hasFlag(frame, FrameFlag.Tagged);

describe('a frame that others had before', () => {
  it('shows no old tags in a mapping with tags', () => {
    world.map(task, 1);
    world.stg(task, tagged(AT, 5));
    const frame = world.frame(task, AT);
    world.call(task, sysMunmap(task, AT, 0x1000n));
    expect(isTagged(frame)).toBe(false);
    world.map(task, 1);
    world.store(task, AT, 1);
    expect(world.frame(task, AT)).toBe(frame);
    expect(world.ldg(task, AT)).toBe(0);
  });

  it('shows none when a mapping without tags gets them', () => {
    world.map(task, 1, RW);
    world.store(task, AT, 7);
    const frame = world.frame(task, AT);
    world.plantTag(frame, 0, 9);
    expect(isTagged(frame)).toBe(false);
    expect(world.ldg(task, AT)).toBe(0);
    expect(world.made(task, sysMprotect(task, AT, 0x1000n, RWM))).toBe(0);
    expect([world.ldg(task, AT), isTagged(frame), world.load(task, AT)]).toEqual([0, true, 7]);
  });

  it('shows none in shared memory that a second mapping has with tags', () => {
    const shared = MAP_SHARED | MAP_ANONYMOUS;
    world.map(task, 1, RW, shared);
    world.store(task, AT, 7);
    world.plantTag(world.frame(task, AT), 0, 9);
    const child = world.fork(task);
    expect(world.made(child, sysMprotect(child, AT, 0x1000n, RWM))).toBe(0);
    expect(world.ldg(child, AT)).toBe(0);
    world.stg(child, tagged(AT, 3));
    // One page, one set of tags; the parent has no access to them.
    expect([world.ldg(task, AT), world.ldg(child, AT)]).toEqual([0, 3]);
    expect(world.made(task, sysMprotect(task, AT, 0x1000n, RWM))).toBe(0);
    expect(world.ldg(task, AT)).toBe(3);
  });
});

describe('the zero page', () => {
  it('has tag 0 for everybody, and stays so', () => {
    world.map(task, 1);
    expect([world.ldg(task, AT), world.load(task, AT)]).toEqual([0, 0]);
    const { zeroFrame } = world.system.kernel.frames;
    expect([world.frame(task, AT), isTagged(zeroFrame)]).toEqual([zeroFrame, true]);
    world.stg(task, tagged(AT, 4));
    expect([world.ldg(task, AT), world.frame(task, AT) === zeroFrame]).toEqual([4, false]);
    expect(world.system.kernel.arch.memoryTags?.readTag(zeroFrame, 0)).toBe(0);
  });
});

describe('mprotect', () => {
  it('without PROT_MTE keeps tags, checks and the mapping as it is', () => {
    world.map(task, 1);
    world.control(task, 3n);
    world.stg(task, tagged(AT, 6));
    expect(world.made(task, sysMprotect(task, AT, 0x1000n, PROT_READ))).toBe(0);
    expect(world.ldg(task, AT)).toBe(6);
    expect(world.load(task, AT)).toMatchObject({ signal: SIGSEGV, code: SEGV_MTESERR });
    expect(world.load(task, tagged(AT, 6))).toBe(0);
  });

  it('to PROT_NONE and back keeps them too', () => {
    world.map(task, 1);
    world.stg(task, tagged(AT, 6));
    world.call(task, sysMprotect(task, AT, 0x1000n, PROT_NONE | PROT_MTE));
    world.call(task, sysMprotect(task, AT, 0x1000n, RWM));
    expect(world.ldg(task, AT)).toBe(6);
  });

  it('splits a mapping where only a part gets tags, and merges it again never', () => {
    world.map(task, 3, RW);
    world.call(task, sysMprotect(task, AT + 0x1000n, 0x1000n, RWM));
    expect(task.mm?.mapCount).toBe(3);
    world.call(task, sysMprotect(task, AT + 0x1000n, 0x1000n, RW));
    expect(task.mm?.mapCount).toBe(3);
    world.call(task, sysMprotect(task, AT, 0x3000n, RWM));
    expect(task.mm?.mapCount).toBe(1);
  });
});

/** Pins the first page for writing, as a device driver does. */
function* pin(current: TaskStruct): Task<number> {
  if (current.mm === null) return -1;
  yield* mmapReadLock(current, current.mm);
  const pinned = yield* pinUserPages(current, Number(AT >> 12n), 1, FOLL_WRITE, [0]);
  yield* mmapReadUnlock(current, current.mm);
  current.mm.flagBits |= MMF_HAS_PINNED;
  return pinned;
}

describe('a copy of a page', () => {
  it('made by a write after fork has the tags of the original, and its own from then on', () => {
    world.map(task, 1);
    world.stg(task, tagged(AT, 6));
    const child = world.fork(task);
    world.store(child, tagged(AT, 6), 1);
    expect(world.frame(child, AT)).not.toBe(world.frame(task, AT));
    world.stg(child, tagged(AT + 16n, 7));
    expect([world.ldg(child, AT), world.ldg(child, AT + 16n)]).toEqual([6, 7]);
    expect([world.ldg(task, AT), world.ldg(task, AT + 16n)]).toEqual([6, 0]);
  });

  it('made of a page that has no tags of its own has none either', () => {
    world.map(task, 1, RW);
    world.store(task, AT, 7);
    world.plantTag(world.frame(task, AT), 0, 9);
    const child = world.fork(task);
    world.store(child, AT, 8);
    world.call(child, sysMprotect(child, AT, 0x1000n, RWM));
    expect([world.ldg(child, AT), world.load(child, AT)]).toEqual([0, 8]);
  });

  it('made by fork because it is pinned has them as well', () => {
    world.map(task, 1);
    world.stg(task, tagged(AT, 6));
    expect(world.made(task, pin(task))).toBe(1);
    const child = world.fork(task);
    expect(world.frame(child, AT)).not.toBe(world.frame(task, AT));
    expect(world.ldg(child, AT)).toBe(6);
  });
});

describe('a fault that comes late', () => {
  /** PR_TAGGED_ADDR_ENABLE | PR_MTE_TCF_ASYNC. */
  const ASYNC = 5n;

  it('arrives in place of the next system call, once for however many accesses', () => {
    world.map(task, 1);
    world.control(task, ASYNC);
    world.stg(task, tagged(AT, 6));
    expect([world.store(task, AT, 1), world.store(task, tagged(AT, 9), 2)]).toEqual([null, null]);
    const late = { signal: SIGSEGV, code: SEGV_MTEAERR, address: 0n };
    const fork = world.call(task, sysFork(task, 'child'));
    expect(fork).toEqual({ result: undefined, signal: late });
    expect(task.children).toEqual(new Set());
    expect(world.call(task, sysMunmap(task, AT + 0x5000n, 0x1000n)).signal).toBe(null);
    expect(world.load(task, tagged(AT, 6))).toBe(2);
  });

  it('arrives with the next page fault, whose access is then not made', () => {
    world.map(task, 2);
    world.control(task, ASYNC);
    world.stg(task, tagged(AT, 6));
    world.store(task, AT, 1);
    expect(world.store(task, AT + 0x1000n, 3)).toMatchObject({ code: SEGV_MTEAERR });
    expect(world.load(task, AT + 0x1000n)).toBe(0);
  });

  it('waits behind a signal of another number', () => {
    const file = memfdCreate(world.system.kernel, 'empty');
    world.map(task, 1);
    const map = sysMmap(task, AT + 0x8000n, 0x1000n, RW, MAP_SHARED | MAP_FIXED, file, 0n);
    expect(world.made(task, map)).toBe(AT + 0x8000n);
    world.control(task, ASYNC);
    world.stg(task, tagged(AT, 6));
    world.store(task, AT, 1);
    expect(world.load(task, AT + 0x8000n)).toMatchObject({ signal: SIGBUS });
    expect(world.call(task, sysMunmap(task, AT + 0x5000n, 0x1000n)).signal).toMatchObject({
      code: SEGV_MTEAERR,
    });
  });

  it('is lost behind a signal of the access itself', () => {
    world.map(task, 1);
    world.control(task, ASYNC);
    world.stg(task, tagged(AT, 6));
    world.store(task, AT, 1);
    expect(world.load(task, AT + 0x9000n)).toMatchObject({ signal: SIGSEGV, address: AT + 0x9000n });
    expect(world.call(task, sysMunmap(task, AT + 0x5000n, 0x1000n)).signal).toBe(null);
  });

  it('stays with its process when another one runs in between', () => {
    const other = world.process('other');
    world.map(task, 1);
    world.map(other, 1, RWM, PRIVATE);
    world.control(task, ASYNC);
    world.control(other, ASYNC);
    world.stg(task, tagged(AT, 6));
    world.store(task, AT, 1);
    expect(world.call(other, sysMunmap(other, AT + 0x5000n, 0x1000n)).signal).toBe(null);
    expect(world.call(task, sysMunmap(task, AT + 0x5000n, 0x1000n)).signal).toMatchObject({
      code: SEGV_MTEAERR,
    });
  });
});
