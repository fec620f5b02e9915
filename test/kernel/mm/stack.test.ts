/** Stacks that grow. are the rules of the kernel traces. */
import { describe, expect, it } from 'vitest';
import { MAP_GROWSDOWN, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { expandStack } from '../../../src/kernel/mm/stack.ts';
import { copyFromUser, copyToUser } from '../../../src/kernel/mm/user-access.ts';
import { SEGV_ACCERR, SEGV_MAPERR } from '../../../src/kernel/signal.ts';
import { pokeVma } from './poke-vma.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const STACK = MAP_PRIVATE | MAP_GROWSDOWN;
/** Page of the arena where the stack of these tests starts. */
const TOP = 1000;

function withStack(prot = RW) {
  const world = new ProcessWorld();
  const task = world.process();
  world.map(task, TOP, 1, prot, STACK);
  const vma = mmOf(task).vmas.lookup(BASE_PAGE + TOP);
  if (vma === null) throw new Error('no stack');
  return { world, task, vma };
}

describe('a touch below a stack', () => {
  it.each([1, 16, 700])('%i pages below grows it to exactly that page', (distance) => {
    const { world, task, vma } = withStack();
    const { pgoff } = vma;
    expect(world.store(task, TOP - distance, 1)).toBeNull();
    expect([vma.start - BASE_PAGE, vma.pgoff, mmOf(task).totalVm]).toEqual([
      TOP - distance,
      pgoff - distance,
      distance + 1,
    ]);
    expect([task.minFlt, world.load(task, TOP - distance)]).toEqual([1, 1]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it.each([
    ['read-write memory 256 pages below: allowed', RW, 256, 0],
    ['read-write memory 255 pages below: refused', RW, 255, SEGV_MAPERR],
    ['memory without access right below: allowed', PROT_NONE, 0, 0],
  ])('%s', (_name, prot, gap, code) => {
    const { world, task } = withStack();
    const below = TOP - 2;
    world.map(task, below - gap - 1, 1, prot);
    const result = world.store(task, below, 1);
    expect(result?.code ?? 0).toBe(code);
  });

  it('another stack right below is no obstacle', () => {
    const { world, task } = withStack();
    world.map(task, TOP - 3, 1, RW, STACK);
    expect(world.store(task, TOP - 2, 1)).toBeNull();
  });

  it('is limited by RLIMIT_STACK, counted after the growth', () => {
    const { world, task } = withStack();
    const soft = 64 * 4096;
    task.rlimits = { ...task.rlimits, stack: { soft, hard: soft } };
    expect(world.store(task, TOP - 64, 1)).toMatchObject({ code: SEGV_MAPERR, address: addressOf(TOP - 64) });
    expect(world.store(task, TOP - 63, 1)).toBeNull();
  });

  it('a read-only stack grows by a write, which then fails', () => {
    const { world, task, vma } = withStack(PROT_READ);
    expect(world.store(task, TOP - 1, 1)).toMatchObject({ code: SEGV_ACCERR });
    expect(vma.start - BASE_PAGE).toBe(TOP - 1);
  });

  it('an ordinary mapping does not grow', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, TOP, 1, RW);
    expect(world.store(task, TOP - 1, 1)).toMatchObject({ code: SEGV_MAPERR });
  });

  it('a system call that copies to user space grows it too', () => {
    const { world, task, vma } = withStack();
    expect(world.run(task, copyToUser(task, addressOf(TOP - 5, 4090), Uint8Array.from([1, 2, 3])))).toBe(0);
    expect(vma.start - BASE_PAGE).toBe(TOP - 5);
  });
});

describe('the end of growth', () => {
  it('does not reach below mmap_min_addr, where root may map and a stack may not grow', () => {
    const world = new ProcessWorld();
    const task = world.process();
    const lowest = world.kernel.config.mmapMinPage;
    world.map(task, lowest + 1 - BASE_PAGE, 1, RW, STACK);
    expect(world.store(task, lowest - BASE_PAGE, 1)).toBeNull();
    expect(world.store(task, lowest - 1 - BASE_PAGE, 1)).toMatchObject({ code: SEGV_MAPERR });
    expect(mmOf(task).vmas.find(0)?.start).toBe(lowest);
  });

  it('does not grow beyond the start of its object, as page offset 0 says', () => {
    const { world, task, vma } = withStack();
    // As after mremap to a higher address: the offset stays that of the old one.
    pokeVma(vma, (stack) => {
      stack.pgoff = 2;
    });
    expect(world.store(task, TOP - 3, 1)).toMatchObject({ code: SEGV_MAPERR });
    expect(world.store(task, TOP - 2, 1)).toBeNull();
    expect([vma.start - BASE_PAGE, vma.pgoff]).toEqual([TOP - 2, 0]);
  });
});

describe('expand_stack', () => {
  it('comes back with mmap_lock held for reading, or without it', () => {
    const { world, task, vma } = withStack();
    const mm = mmOf(task);
    world.run(task, mm.mmapLock.downRead(task));
    expect(world.run(task, expandStack(task, mm, BASE_PAGE + TOP - 4))).toBe(vma);
    expect(mm.mmapLock.isReadBy(task)).toBe(true);
    expect(world.run(task, expandStack(task, mm, BASE_PAGE + TOP + 9))).toBeNull();
    expect(mm.mmapLock.isLocked()).toBe(false);
  });
});

describe('copies of the kernel', () => {
  it.each([
    ['within a page', 10, 20, 0],
    ['over a page end', 4090, 20, 0],
    ['up to the last byte of the last page', 3 * 4096 + 4000, 96, 0],
    ['into the hole behind: byte exact', 3 * 4096 + 4000, 200, 104],
    ['all beyond', 4 * 4096, 10, 10],
    ['a kernel address', -1, 16, 16],
  ])('%s: %i bytes at %i leave %i', (_name, offset, length, left) => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 4, RW);
    const address = offset < 0 ? 0xffff_8000_0000_0000n : addressOf(0, offset);
    const bytes = Uint8Array.from({ length }, (_, at) => at + 1);
    expect(world.run(task, copyToUser(task, address, bytes))).toBe(left);
    const back = new Uint8Array(length);
    expect(world.run(task, copyFromUser(task, back, address))).toBe(left);
    expect([...back.subarray(0, length - left)]).toEqual([...bytes.subarray(0, length - left)]);
    expect(back.subarray(length - left).every((byte) => byte === 0)).toBe(true);
  });

  it('respect the protection of the memory, and send no signal', () => {
    const world = new ProcessWorld();
    const task = world.process();
    world.map(task, 0, 1, PROT_READ);
    expect(world.run(task, copyToUser(task, addressOf(0), Uint8Array.of(1)))).toBe(1);
    expect(task.pendingSignals).toEqual([]);
  });
});
