/**
 * Turns that paths take only when somebody else was there at the wrong moment, or has something: each brought about by
 * hand, and each of them something that goes wrong without it.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { SchedPoint, Task } from '../../../src/base/task.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { folioLock, folioUnlock } from '../../../src/kernel/mm/fault/folio-lock.ts';
import { MMF_UNSTABLE } from '../../../src/kernel/mm/mm.ts';
import {
  MAP_GROWSDOWN,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { TablePage } from '../../../src/kernel/mm/page-table.ts';
import { copyFromUser } from '../../../src/kernel/mm/user-access.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { SIGBUS } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { Director } from '../support/director.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
/** Where the stack of these tests starts. */
const TOP = 400;
const bytes = (pages: number): bigint => BigInt(pages) << 12n;

let director: Director;
let world: ProcessWorld;
let task: TaskStruct;
let other: TaskStruct;

const store = (by: TaskStruct, page: number): Task<unknown> =>
  userStore(by, addressOf(page), Uint8Array.of(1));
const load = (by: TaskStruct, page: number): Task<unknown> =>
  userLoad(by, addressOf(page), new Uint8Array(1));
const vmaAt = (page: number) => mmOf(task).vmas.lookup(BASE_PAGE + page);

beforeEach(() => {
  director = new Director();
  world = new ProcessWorld({ cpus: 3, policy: director.policy });
  director.loop = world.system.loop;
  task = world.process('task', 0);
  other = world.thread(task, 'other', 1);
});

/** It has seen that the stack must grow, and has let mmap_lock go. */
const wantsToGrow = ({ object, operation }: SchedPoint): boolean =>
  object === mmOf(task).mmapLock && operation.startsWith('down_write');

describe('two threads that touch pages below one stack', () => {
  it.each([
    ['the second one finds that the first has gone further', 390, 395, 390],
    ['the second one goes further', 395, 390, 390],
    ['both want the same page', 390, 390, 390],
  ])('%s', (_what, first, second, start) => {
    world.map(task, TOP, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    director.start(other, store(other, second));
    director.untilPoint(other, wantsToGrow);
    director.start(task, store(task, first));
    director.finish(task);
    expect(director.finish(other)).toBeNull();
    const vma = vmaAt(TOP);
    expect(vma && [vma.start - BASE_PAGE, mmOf(task).totalVm]).toEqual([start, TOP + 1 - start]);
    expect(vma?.pgoff).toBe(vma?.start);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('one that finds other memory there instead uses that, and nothing grows', () => {
    world.map(task, TOP, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    director.start(other, store(other, 390));
    director.untilPoint(other, wantsToGrow);
    world.map(task, 390, 1, RW);
    expect(director.finish(other)).toBeNull();
    expect(vmaAt(TOP)?.start).toBe(BASE_PAGE + TOP);
    expect([vmaAt(390)?.end, world.page(task, 390)]).toEqual([BASE_PAGE + 391, 'Xwd']);
  });
});

describe('munmap', () => {
  it('lets readers of mmap_lock in while it zaps pages and frees tables', () => {
    world.map(task, 0, 2, RW);
    world.map(task, 8, 1, RW);
    for (const page of [0, 1]) world.store(task, page, 1);
    director.start(other, sysMunmap(other, addressOf(0), bytes(2)));
    const takesTableOut = ({ object, operation }: SchedPoint): boolean =>
      object instanceof TablePage && operation === 'set_pte_at';
    director.untilPoint(other, (point) => takesTableOut(point) && world.page(task, 0) !== 'Xwd');
    expect(mmOf(task).mmapWriteLocked).toBe(false);
    // The kernel's own accesses take mmap_lock.
    director.start(task, copyFromUser(task, new Uint8Array(1), addressOf(8)));
    director.finish(task);
    expect(director.finish(other)).toBe(0);
  });
});

describe('a write to a page that nobody else maps any more', () => {
  it.each([
    ['copies when somebody has the folio locked', true],
    ['keeps the page otherwise', false],
  ])('%s', (_what, locked) => {
    world.map(task, 0, 1, RW);
    world.store(task, 0, 7);
    const child = world.fork(task);
    world.run(child, doExit(child, 0));
    const { frame } = world.pte(task, 0);
    expect(world.page(task, 0)).toBe('Ad');
    const { frames } = world.kernel;
    director.start(task, store(task, 0));
    if (locked) {
      const isRef = (point: SchedPoint): boolean => point === frames.refPoint(frame);
      director.untilPoint(task, isRef);
      // It has counted the references, and stands before taking the lock.
      director.step(task);
      director.untilPoint(task, isRef);
      frames.get(frame);
      world.run(other, folioLock(other, frame));
    }
    expect(director.finish(task)).toBeNull();
    expect(world.pte(task, 0).frame === frame).toBe(!locked);
    if (locked) {
      world.run(other, folioUnlock(other, frame));
      frames.put(frame);
    }
    expect(frames.hasFlag(frame, FrameFlag.Locked)).toBe(false);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('an address space that is being taken apart (MMF_UNSTABLE)', () => {
  it.each([
    ['a read of anonymous memory', MAP_PRIVATE, load, true],
    ['a write to anonymous memory', MAP_PRIVATE, store, true],
    ['a read of shared memory', MAP_SHARED, load, false],
    ['a write to shared memory', MAP_SHARED, store, false],
  ])('%s', (_what, flags, access, refused) => {
    world.map(task, 0, 1, RW, flags);
    mmOf(task).flagBits |= MMF_UNSTABLE;
    const signal = world.run(task, access(task, 0));
    if (refused) expect(signal).toMatchObject({ signal: SIGBUS });
    else expect(signal).toBeNull();
    expect(world.page(task, 0) === '-').toBe(refused);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is not what a fork that succeeds makes', () => {
    world.map(task, 0, 1, RW);
    world.store(task, 0, 1);
    expect(mmOf(world.fork(task)).flagBits & MMF_UNSTABLE).toBe(0);
  });
});
