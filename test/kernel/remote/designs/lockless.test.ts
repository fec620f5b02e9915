/**
 * V5 and V6 beside a writer of the other process, moved on by hand: what V5's lock keeps out, and what V6 throws away. The reader
 * stands with its page in hand when the writer comes.
 */
import { describe, expect, it } from 'vitest';
import { FOLL_FORCE, FOLL_WRITE } from '../../../../src/kernel/gup/foll-flags.ts';
import { MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { accessRemoteVm } from '../../../../src/kernel/remote/access-remote-vm.ts';
import { designNamed } from '../../../../src/kernel/remote/designs/registry.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { addressOf, mmOf, ProcessWorld } from '../../mm/process-world.ts';
import { Director } from '../../support/director.ts';

const RW = PROT_READ | PROT_WRITE;

function scene(design: 'v5' | 'v6') {
  const director = new Director();
  const world = new ProcessWorld({ cpus: 3, policy: director.policy, kernel: { lockdep: true } });
  director.loop = world.system.loop;
  world.kernel.remoteAccess = designNamed(design);
  const owner = world.process('owner', 0);
  const reader = world.process('reader', 1);
  world.map(owner, 0, 4, RW);
  for (let page = 0; page < 4; page++) world.store(owner, page, page + 1);
  const buffer = new Uint8Array(8192);
  const access = (gupFlags = 0) =>
    accessRemoteVm(reader, mmOf(owner), addressOf(0), buffer, buffer.length, gupFlags);
  return { director, world, owner, reader, buffer, access };
}

const protect = (task: TaskStruct, prot: number) => sysMprotect(task, addressOf(0), 4n << 12n, prot);
const unmap = (task: TaskStruct) => sysMunmap(task, addressOf(0), 4n << 12n);

describe('V5 with the lock of the VMA', () => {
  it.each([
    ['munmap', unmap],
    ['mprotect', (task: TaskStruct) => protect(task, PROT_NONE)],
  ])('%s waits until all is copied', (_, call) => {
    const { director, world, owner, reader, buffer, access } = scene('v5');
    director.start(reader, access());
    director.until(reader, 'page_ref');
    director.start(owner, call(owner));
    expect(director.block(owner)).toMatch(/vma_start_write|vma_mark_detached/);
    expect(director.finish(reader)).toBe(8192);
    expect([buffer[0], buffer[4096]]).toEqual([1, 2]);
    expect(director.finish(owner)).toBe(0);
    expect([...world.kernel.remoteCounters.fallbackReasons()]).toEqual([]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a write goes where the pte allows it, and by today’s code where it does not', () => {
    const { world, owner, reader, buffer, access } = scene('v5');
    buffer.fill(9);
    expect(world.run(reader, access(FOLL_WRITE))).toBe(8192);
    expect([...world.kernel.remoteCounters.fallbackReasons()]).toEqual([]);
    world.run(owner, protect(owner, PROT_READ));
    expect(world.run(reader, access(FOLL_WRITE | FOLL_FORCE))).toBe(8192);
    expect([...world.kernel.remoteCounters.fallbackReasons()]).toEqual([['lockless walk stopped', 1]]);
    expect([world.load(owner, 0), world.load(owner, 1), world.load(owner, 2)]).toEqual([9, 9, 3]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('V6 without a lock', () => {
  it.each([
    ['munmap', unmap, 0],
    ['mprotect of the range', (task: TaskStruct) => protect(task, PROT_NONE), 0],
    ['a writer elsewhere', (task: TaskStruct) => sysMprotect(task, addressOf(8), 4096n, PROT_READ), 8192],
  ])('%s in the middle makes it throw away what it read', (_, call, then) => {
    const { director, world, owner, reader, buffer, access } = scene('v6');
    world.map(owner, 8, 1, RW, MAP_PRIVATE);
    director.start(reader, access());
    director.until(reader, 'page_ref');
    director.start(owner, call(owner));
    expect(director.finish(owner)).toBe(0);
    expect(buffer[0]).toBe(0);
    expect(director.finish(reader)).toBe(then);
    expect([...world.kernel.remoteCounters.fallbackReasons()]).toEqual([['a writer ran', 1]]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('a VMA that has become another one of another process is not taken for what it was', () => {
    const { director, world, owner, reader, access } = scene('v6');
    const other = world.process('other', 2);
    director.start(reader, access());
    // It has found the VMA and is about to read its fields.
    director.until(reader, 'vma_start_read');
    director.start(owner, unmap(owner));
    director.finish(owner);
    // The object given back last is handed out first; readable memory at the same place.
    world.map(other, 0, 4, RW);
    expect(director.finish(reader)).toBe(0);
    expect([...world.kernel.remoteCounters.fallbackReasons()]).toEqual([['a writer ran', 1]]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('while a writer has mmap_lock it does not begin', () => {
    const { director, world, owner, reader, access } = scene('v6');
    director.start(owner, protect(owner, PROT_READ));
    director.untilPoint(owner, () => mmOf(owner).mmapWriteLocked);
    director.start(reader, access());
    expect(director.block(reader)).toContain('read');
    director.finish(owner);
    expect(director.finish(reader)).toBe(8192);
    expect([...world.kernel.remoteCounters.fallbackReasons()]).toEqual([['a writer holds mmap_lock', 1]]);
    expect(world.inconsistencies()).toEqual([]);
  });
});
