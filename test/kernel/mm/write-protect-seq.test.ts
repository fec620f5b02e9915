/**
 * `write_protect_seq`: whoever takes pages of an address space without any lock learns from it that fork was at work, and
 * gives them back. The reader here does what such a path does: it looks, takes, looks again.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { ENOMEM } from '../../../src/kernel/errno.ts';
import { MMF_HAS_PINNED } from '../../../src/kernel/mm/mm.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { TaskState } from '../../../src/sched/task.ts';
import { Director } from '../support/director.ts';
import { mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

let director: Director;
let world: ProcessWorld;
let forker: TaskStruct;
let reader: TaskStruct;

const sequence = () => mmOf(forker).writeProtectSeq;
const begin = (): number | null => world.run(reader, sequence().tryBegin());
const mustRetry = (begun: number): boolean => world.run(reader, sequence().retry(begun));

beforeEach(() => {
  director = new Director();
  world = new ProcessWorld({ cpus: 2, policy: director.policy });
  director.loop = world.system.loop;
  forker = world.process('forker', 0);
  reader = world.thread(forker, 'reader', 1);
});

describe('while fork copies a private mapping', () => {
  it.each([1, 3])('ptes become read-only only inside of the section, %i of them', (pages) => {
    world.map(forker, 0, pages, RW);
    for (let page = 0; page < pages; page++) world.store(forker, page, 1);
    const writable = (): number =>
      Array.from({ length: pages }, (_, page) => world.page(forker, page)).filter((text) => text === 'Xwd')
        .length;
    const changes: boolean[] = [];
    director.start(forker, sysFork(forker, 'child'));
    for (let before = writable(); forker.state !== TaskState.Idle; ) {
      director.step(forker);
      const now = writable();
      if (now !== before) changes.push(sequence().sequence % 2 === 1);
      before = now;
    }
    expect(changes).toEqual(Array.from({ length: pages }, () => true));
    expect(sequence().sequence).toBe(2);
  });

  it('a reader does not begin, and one that had begun has to throw away what it took', () => {
    world.map(forker, 0, 1, RW);
    world.store(forker, 0, 1);
    const begun = begin();
    expect([begun, mustRetry(0)]).toEqual([0, false]);
    director.start(forker, sysFork(forker, 'child'));
    director.untilPoint(forker, () => world.page(forker, 0) !== 'Xwd');
    expect([begin(), mustRetry(0)]).toEqual([null, true]);
    director.finish(forker);
    expect([begin(), mustRetry(0), mustRetry(2)]).toEqual([2, true, false]);
  });
});

describe('fork leaves readers alone', () => {
  it.each([
    ['a shared mapping', MAP_SHARED, true],
    ['a private one that was never written', MAP_PRIVATE, false],
  ])('with %s', (_what, flags, written) => {
    world.map(forker, 0, 1, RW, flags);
    if (written) world.store(forker, 0, 1);
    world.fork(forker);
    expect([begin(), mustRetry(0)]).toEqual([0, false]);
  });

  it('after it has failed half-way', () => {
    world.map(forker, 0, 4, RW);
    for (let page = 0; page < 4; page++) world.store(forker, page, 1);
    world.map(forker, 512, 1, RW);
    world.store(forker, 512, 1);
    const { frames } = world.kernel;
    const taken: number[] = [];
    while (frames.freeFrames > 4) taken.push(frames.allocate());
    expect(world.run(forker, sysFork(forker, 'child'))).toBe(-ENOMEM);
    for (const frame of taken) frames.put(frame);
    expect(sequence().sequence % 2).toBe(0);
    expect(sequence().sequence).toBeGreaterThan(0);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a page that was seen as exclusive and is pinned only after fork has made it shared', () => {
  it.each([
    ['is given back by a reader that looks again', true, false],
    ['would be kept by one that does not', false, true],
  ])('%s', (_what, looksAgain, kept) => {
    world.map(forker, 0, 1, RW);
    world.store(forker, 0, 1);
    const { frame } = world.pte(forker, 0);
    const { frames } = world.kernel;
    // Said before anything is pinned: only then does fork look for pins.
    mmOf(forker).flagBits |= MMF_HAS_PINNED;
    const take = function* (): Task<boolean> {
      const begun = yield* sequence().tryBegin();
      if (begun === null || world.page(forker, 0) !== 'Xwd') throw new Error('fork has not begun');
      yield frames.refPoint(frame);
      frames.tryPin(frame);
      if (!looksAgain || !(yield* sequence().retry(begun))) return true;
      frames.unpin(frame);
      return false;
    };
    director.start(reader, take());
    director.untilPoint(reader, (point) => point === frames.refPoint(frame));
    director.start(forker, sysFork(forker, 'child'));
    director.finish(forker);
    expect(world.page(forker, 0)).toBe('Ad2');
    expect([director.finish(reader), frames.maybeDmaPinned(frame)]).toEqual([kept, kept]);
  });
});
