import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BuddyAllocator, MAX_PAGE_ORDER, NO_FRAME } from '../../../src/kernel/frame/buddy.ts';

describe('the buddy allocator', () => {
  it('splits a large block and hands out its lower half first', () => {
    const buddy = new BuddyAllocator(0, 1024);
    expect(buddy.allocate(0)).toBe(0);
    expect(buddy.freeBlocks()).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    expect(buddy.allocate(0)).toBe(1);
    expect(buddy.allocate(3)).toBe(8);
  });

  it('hands out the block freed last', () => {
    const buddy = new BuddyAllocator(0, 64);
    const frames = [0, 1, 2, 3].map(() => buddy.allocate(0));
    expect(frames).toEqual([0, 1, 2, 3]);
    buddy.free(0, 0);
    buddy.free(2, 0);
    expect([buddy.allocate(0), buddy.allocate(0)]).toEqual([2, 0]);
  });

  it('joins buddies up to the largest block', () => {
    const buddy = new BuddyAllocator(0, 2048);
    const frames = Array.from({ length: 1024 }, () => buddy.allocate(0));
    for (const frame of frames) buddy.free(frame, 0);
    expect(buddy.freeBlocks()).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    expect(buddy.freeFrames).toBe(2048);
  });

  it('says NO_FRAME when nothing is large enough, though smaller blocks are free', () => {
    const buddy = new BuddyAllocator(0, 4);
    buddy.allocate(0);
    expect(buddy.allocate(2)).toBe(NO_FRAME);
    expect(buddy.allocate(1)).toBe(2);
    expect(buddy.allocate(0)).toBe(1);
    expect(buddy.allocate(0)).toBe(NO_FRAME);
  });

  it('aligns blocks to frame numbers, not to the start of its range', () => {
    const buddy = new BuddyAllocator(0x103, 64);
    expect(buddy.allocate(3) % 8).toBe(0);
    expect(buddy.allocate(4) % 16).toBe(0);
  });

  it.each([
    ['twice', 0, 0],
    ['as a part of a free block', 1, 0],
    ['outside the range', 4096, 0],
    ['with an alignment it cannot have', 1, 1],
  ])('throws when a block is freed %s', (_how, frame, order) => {
    const buddy = new BuddyAllocator(0, 64);
    buddy.free(buddy.allocate(5), 5);
    expect(() => buddy.free(frame, order)).toThrow();
  });
});

describe('the buddy allocator of any range', () => {
  it('costs nothing for memory that is not used', () => {
    const buddy = new BuddyAllocator(0x10_0000, 0x7fff_ffff);
    expect(buddy.allocate(0)).toBe(0x10_0000);
    expect(buddy.untouchedFrames).toBe(0x7fff_ffff - 1024);
  });

  it('owns every frame once, free or allocated, whatever is asked of it', () => {
    const command = fc.oneof(
      fc.record({ allocate: fc.integer({ min: 0, max: MAX_PAGE_ORDER }) }),
      fc.record({ free: fc.nat() }),
    );
    const run = fc.property(
      fc.integer({ min: 0, max: 3000 }),
      fc.integer({ min: 1, max: 5000 }),
      fc.array(command, { maxLength: 120 }),
      (first, count, commands) => {
        const buddy = new BuddyAllocator(first, count);
        const held: Block[] = [];
        for (const step of commands) {
          if ('allocate' in step) take(buddy, held, step.allocate);
          else giveBack(buddy, held, step.free);
          checkOwnership(buddy, held);
        }
        for (const { frame, order } of held) buddy.free(frame, order);
        checkJoined(buddy);
      },
    );
    fc.assert(run, { numRuns: 60 });
  });
});

interface Block {
  readonly frame: number;
  readonly order: number;
}

function giveBack(buddy: BuddyAllocator, held: Block[], which: number): void {
  const [block] = held.splice(which % Math.max(held.length, 1), 1);
  if (block !== undefined) buddy.free(block.frame, block.order);
}

function take(buddy: BuddyAllocator, held: Block[], order: number): void {
  const frame = buddy.allocate(order);
  if (frame === NO_FRAME) return;
  expect(frame % 2 ** order).toBe(0);
  for (const other of held) {
    const apart = frame + 2 ** order <= other.frame || other.frame + 2 ** other.order <= frame;
    expect(apart).toBe(true);
  }
  held.push({ frame, order });
}

function checkOwnership(buddy: BuddyAllocator, held: readonly Block[]): void {
  const owned = held.reduce((sum, { order }) => sum + 2 ** order, 0);
  expect(buddy.freeFrames + owned).toBe(buddy.frameCount);
  const listed = buddy.freeBlocks().reduce((sum, blocks, order) => sum + blocks * 2 ** order, 0);
  expect(listed + buddy.untouchedFrames).toBe(buddy.freeFrames);
  for (const { frame, order } of held) {
    expect(buddy.isFree(frame)).toBe(false);
    expect(buddy.isFree(frame + 2 ** order - 1)).toBe(false);
  }
}

/** With everything free again no two buddies are apart: as many blocks as aligned blocks fit. */
function checkJoined(buddy: BuddyAllocator): void {
  const expected = new Array<number>(MAX_PAGE_ORDER + 1).fill(0);
  let frame = buddy.firstFrame;
  const end = buddy.firstFrame + buddy.frameCount - buddy.untouchedFrames;
  while (frame < end) {
    let order = 0;
    while (order < MAX_PAGE_ORDER && frame % 2 ** (order + 1) === 0 && frame + 2 ** (order + 1) <= end)
      order++;
    expected[order] = (expected[order] as number) + 1;
    frame += 2 ** order;
  }
  expect(buddy.freeBlocks()).toEqual(expected);
}
