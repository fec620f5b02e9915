import { describe, expect, it } from 'vitest';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';
import { AddressSpace } from '../../../src/kernel/frame/address-space.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { FrameTable, GUP_PIN_COUNTING_BIAS } from '../../../src/kernel/frame/frame-table.ts';

const FIRST = 0x100;

function table(options: { frames?: number; poisonFreed?: boolean } = {}) {
  const memory = new PhysicalMemory();
  const frameCount = options.frames ?? 64;
  memory.addRegion(BigInt(FIRST) << 12n, BigInt(frameCount) << 12n);
  const poisonFreed = options.poisonFreed ?? false;
  return { memory, frames: new FrameTable({ memory, firstFrame: FIRST, frameCount, poisonFreed }) };
}

describe('references', () => {
  it('frees a frame in the step in which its last reference goes', () => {
    const { frames } = table();
    const before = frames.freeFrames;
    const frame = frames.allocate();
    frames.get(frame);
    expect(frames.put(frame)).toBe(false);
    expect(frames.freeFrames).toBe(before - 1);
    expect(frames.put(frame)).toBe(true);
    expect(frames.freeFrames).toBe(before);
    expect(frames.refcount(frame)).toBe(0);
  });

  it('gives no new reference to a free frame', () => {
    const { frames } = table();
    const frame = frames.allocate();
    expect(frames.tryGet(frame)).toBe(true);
    frames.put(frame);
    frames.put(frame);
    expect(frames.tryGet(frame)).toBe(false);
    expect(() => frames.get(frame)).toThrow(/free frame/);
  });

  it('forgets flags, mapping and order of a freed frame', () => {
    const { frames } = table();
    const frame = frames.allocate();
    frames.setFlags(frame, FrameFlag.Anon | FrameFlag.Dirty);
    frames.setMapping(frame, new AddressSpace('file', 4096, true), 7);
    frames.put(frame);
    const again = frames.allocate();
    expect(again).toBe(frame);
    expect({ flags: frames.flags(again), mapping: frames.mapping(again) }).toEqual({
      flags: 0,
      mapping: null,
    });
  });
});

/** Mappings made and taken away by mms, and whether the folio may be shared then. */
const MAPPINGS = [
  ['its own mappings only', [['a', 3]], false],
  [
    'those of two',
    [
      ['a', 1],
      ['b', 1],
    ],
    true,
  ],
  [
    'one again after the other has unmapped',
    [
      ['a', 2],
      ['b', 1],
      ['b', -1],
    ],
    false,
  ],
  [
    'a third that no slot counts, after the second has gone',
    [
      ['a', 1],
      ['b', 1],
      ['c', 1],
      ['b', -1],
    ],
    true,
  ],
  [
    'the third alone, when the last slot is empty',
    [
      ['a', 1],
      ['b', 1],
      ['c', 1],
      ['a', -1],
      ['b', -1],
    ],
    true,
  ],
  [
    'nobody',
    [
      ['a', 1],
      ['b', 1],
      ['a', -1],
      ['b', -1],
    ],
    false,
  ],
] as const;

describe('a large folio', () => {
  it('counts references at its head, map counts per frame', () => {
    const { frames } = table();
    const head = frames.allocate(2);
    expect(frames.head(head + 3)).toBe(head);
    expect(frames.order(head + 2)).toBe(2);
    frames.get(head + 1);
    expect(frames.refcount(head + 3)).toBe(2);
    const mm = {};
    frames.addMap(head + 1, mm);
    expect([frames.mapcount(head), frames.mapcount(head + 1)]).toEqual([0, 1]);
    frames.addEntireMap(head, mm);
    expect([frames.mapcount(head), frames.mapcount(head + 1)]).toEqual([1, 2]);
    expect([frames.folioMapcount(head + 3), frames.maybeMappedShared(head)]).toEqual([2, false]);
    frames.removeEntireMap(head, mm);
    frames.removeMap(head + 1, mm);
    expect(frames.put(head + 3)).toBe(false);
    expect(frames.put(head)).toBe(true);
  });

  it.each(MAPPINGS)('knows whether it may be mapped by more than one mm: %s', (_, steps, shared) => {
    const { frames } = table();
    const head = frames.allocate(3);
    const mms = { a: {}, b: {}, c: {} };
    let next = 0;
    const mapped = { a: [] as number[], b: [] as number[], c: [] as number[] };
    for (const [name, count] of steps) {
      for (let i = 0; i < count; i++) {
        frames.addMap(head + next, mms[name]);
        mapped[name].push(head + next++);
      }
      for (let i = count; i < 0; i++) frames.removeMap(mapped[name].pop() ?? -1, mms[name]);
    }
    expect(frames.large(head).maybeMappedShared).toBe(shared);
  });

  it('keeps its flags for all of its frames, and those of a page for that page', () => {
    const { frames } = table();
    const head = frames.allocate(2);
    frames.setFlags(head + 3, FrameFlag.Dirty | FrameFlag.AnonExclusive);
    expect(frames.hasFlag(head + 1, FrameFlag.Dirty)).toBe(true);
    expect([head, head + 3].map((at) => frames.hasFlag(at, FrameFlag.AnonExclusive))).toEqual([false, true]);
    frames.clearFlags(head + 2, FrameFlag.Dirty | FrameFlag.AnonExclusive);
    expect([head, head + 3].map((at) => frames.hasFlag(at, FrameFlag.Dirty))).toEqual([false, false]);
    expect(frames.hasFlag(head + 3, FrameFlag.AnonExclusive)).toBe(true);
  });

  it('numbers its pages one after the other', () => {
    const { frames } = table();
    const head = frames.allocate(1);
    frames.setMapping(head, new AddressSpace('file', 8192, true), 40);
    expect([frames.index(head), frames.index(head + 1)]).toEqual([40, 41]);
  });
});

describe('a broken count throws', () => {
  it.each([
    ['a reference dropped that nobody holds', (t: FrameTable, f: number) => [t.put(f), t.put(f)]],
    ['a pin dropped that nobody holds', (t: FrameTable, f: number) => t.unpin(f)],
    ['a frame freed while an entry maps it', (t: FrameTable, f: number) => [t.addMap(f), t.put(f)]],
    ['a frame unmapped more often than mapped', (t: FrameTable, f: number) => t.removeMap(f)],
    ['the zero page freed', (t: FrameTable) => t.put(t.zeroFrame)],
    ['the zero page counted as mapped', (t: FrameTable) => t.addMap(t.zeroFrame)],
    ['a frame that was never handed out', (t: FrameTable) => t.get(FIRST + 0x7000)],
  ] as const)('%s', (_what, breakIt) => {
    const { frames } = table();
    const frame = frames.allocate();
    expect(() => breakIt(frames, frame)).toThrow();
  });
});

describe('pins (mm/gup.c, try_grab_folio; include/linux/mm.h, folio_maybe_dma_pinned)', () => {
  it('weighs 1024 references on a small folio', () => {
    const { frames } = table();
    const frame = frames.allocate();
    expect(frames.tryPin(frame)).toBe(true);
    expect(frames.refcount(frame)).toBe(1 + GUP_PIN_COUNTING_BIAS);
    expect(frames.maybeDmaPinned(frame)).toBe(true);
    expect(frames.unpin(frame)).toBe(false);
    expect(frames.maybeDmaPinned(frame)).toBe(false);
  });

  it('takes 1024 plain references for a pin', () => {
    const { frames } = table();
    const frame = frames.allocate();
    for (let i = 1; i < GUP_PIN_COUNTING_BIAS; i++) frames.get(frame);
    expect(frames.maybeDmaPinned(frame)).toBe(true);
  });

  it('is counted apart on a large folio, so that many references are not taken for pins', () => {
    const { frames } = table();
    const head = frames.allocate(1);
    for (let i = 0; i < 2000; i++) frames.get(head);
    expect(frames.maybeDmaPinned(head)).toBe(false);
    frames.tryPin(head + 1);
    expect([frames.refcount(head), frames.maybeDmaPinned(head)]).toEqual([2002, true]);
    frames.unpin(head);
    expect(frames.maybeDmaPinned(head)).toBe(false);
  });

  it('leaves the zero page alone', () => {
    const { frames } = table();
    const before = frames.refcount(frames.zeroFrame);
    expect(frames.tryPin(frames.zeroFrame)).toBe(true);
    expect(frames.refcount(frames.zeroFrame)).toBe(before);
    expect(frames.unpin(frames.zeroFrame)).toBe(false);
  });

  it('keeps a frame whose other references are gone, and frees it with the pin', () => {
    const { frames } = table();
    const frame = frames.allocate();
    frames.tryPin(frame);
    expect(frames.put(frame)).toBe(false);
    expect(frames.unpin(frame)).toBe(true);
    expect(frames.tryPin(frame)).toBe(false);
  });
});

describe('contents', () => {
  const word = (memory: PhysicalMemory, frame: number) => memory.readWord(BigInt(frame) << 12n);

  it('are zeros in a frame asked for zeroed, whatever was there', () => {
    const { memory, frames } = table({ poisonFreed: true });
    const frame = frames.allocate();
    memory.writeWord(BigInt(frame) << 12n, 0x1234n);
    frames.put(frame);
    expect(frames.allocateZeroed()).toBe(frame);
    expect(word(memory, frame)).toBe(0n);
  });

  it('are poison in a freed frame when asked for', () => {
    const { memory, frames } = table({ poisonFreed: true });
    const frame = frames.allocateZeroed();
    frames.put(frame);
    expect(word(memory, frame)).toBe(0xaaaa_aaaa_aaaa_aaaan);
  });
});

describe('running out', () => {
  it('is a value', () => {
    const { frames } = table({ frames: 4 });
    expect([frames.allocate(), frames.allocate(1)].every((frame) => frame > 0)).toBe(true);
    expect(frames.allocate()).toBe(-1);
    expect(frames.allocateZeroed()).toBe(-1);
    expect(frames.freeFrames).toBe(0);
  });

  it('tells an observer of what is allocated and freed', () => {
    const { frames } = table();
    const seen: string[] = [];
    frames.observer = {
      allocated: (frame, order) => seen.push(`+${frame - FIRST}/${order}`),
      freed: (frame, order) => seen.push(`-${frame - FIRST}/${order}`),
    };
    frames.put(frames.allocate());
    frames.put(frames.allocate(3));
    expect(seen).toEqual(['+1/0', '-1/0', '+8/3', '-8/3']);
  });
});

describe('a page cache', () => {
  it('holds one reference per page and drops it with the page', () => {
    const { frames } = table();
    const space = new AddressSpace('file', 3 * 4096, true);
    const before = frames.freeFrames;
    for (const index of [2, 0, 1]) space.add(frames, index, frames.allocateZeroed());
    expect([space.indexes(), space.pageCount, space.sizePages]).toEqual([[0, 1, 2], 3, 3]);
    expect(frames.mapping(space.frameAt(2))).toBe(space);
    expect(frames.index(space.frameAt(2))).toBe(2);
    space.truncate(frames, 1);
    expect([space.indexes(), frames.freeFrames]).toEqual([[0], before - 1]);
    expect(space.frameAt(1)).toBe(-1);
  });
});
