/** Breakpoints of a file in the programs that map it: what is written where, with which locks, and what is left of it. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { BreakpointOutcome, handleBreakpoint } from '../../../src/kernel/consumers/uprobes/hit.ts';
import { uprobeRegister, uprobeUnregister } from '../../../src/kernel/consumers/uprobes/register.ts';
import type { Uprobe, UprobeConsumer } from '../../../src/kernel/consumers/uprobes/uprobe.ts';
import { EINVAL, EIO, ENOTSUPP } from '../../../src/kernel/errno.ts';
import { MADV_DONTNEED } from '../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../src/kernel/mm/madvise/madvise.ts';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { fileWrite, memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import { MMF_HAS_UPROBES } from '../../../src/kernel/mm/mm.ts';
import {
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { Director } from '../support/director.ts';
import { BASE, PAGE, World } from '../support/world.ts';

const RX = PROT_READ | PROT_EXEC;
const CODE = Array.from({ length: 64 }, (_, at) => at + 1);

let world: World;
let target: TaskStruct;
let tracer: TaskStruct;
let file: MappedFile;
let frames: number;

beforeEach(() => {
  world = new World();
  target = world.process('target');
  tracer = world.process('tracer');
  file = memfdCreate(world.kernel, 'code');
  world.run(tracer, fileWrite(tracer, file, 0, Uint8Array.from(CODE)));
  world.run(tracer, fileWrite(tracer, file, 0x1000, Uint8Array.from(CODE)));
  frames = world.kernel.frames.freeFrames;
});

function map(task: TaskStruct, prot = RX, flags = MAP_PRIVATE, at = BASE, pages = 2n, offset = 0n): void {
  const mapped = world.run(task, sysMmap(task, at, pages * PAGE, prot, flags | MAP_FIXED, file, offset));
  if (mapped !== at) throw new Error(`mmap gave ${mapped}`);
}

function* forked(task: TaskStruct): Task<number> {
  const child = yield* sysFork(task, 'child');
  return typeof child === 'number' ? child : 0;
}

const listener = (hits: string[], filter?: UprobeConsumer['filter']): UprobeConsumer => ({
  handler: (task) => {
    hits.push(task.name);
    return 0;
  },
  ...(filter === undefined ? {} : { filter }),
});

function register(offset: number, consumer: UprobeConsumer = listener([]), refCtr = 0): Uprobe {
  const uprobe = world.run(tracer, uprobeRegister(tracer, file.mapping, offset, refCtr, consumer));
  if (typeof uprobe === 'number') throw new Error(`register gave ${uprobe}`);
  return uprobe;
}

const breakpoint = (): number[] => [...world.kernel.arch.probes.breakpoint];
const bytesAt = (address: bigint): number[] => world.load(target, address, breakpoint().length);

describe('a breakpoint', () => {
  it('is written into a copy of the page, which the file does not see', () => {
    map(target);
    register(0x10);
    expect(bytesAt(BASE + 0x10n)).toEqual(breakpoint());
    expect(world.state(target, BASE)).toBe('X');
    const page = new Uint8Array(64);
    world.kernel.machine.memory.readBytes(file.mapping.frameAt(0), 0, page);
    expect([...page]).toEqual(CODE);
    expect((target.mm?.flagBits ?? 0) & MMF_HAS_UPROBES).not.toBe(0);
  });

  it('goes with the whole copy when the page is as in the file again', () => {
    map(target);
    const consumer = listener([]);
    const uprobe = register(0x10, consumer);
    world.run(tracer, uprobeUnregister(tracer, uprobe, consumer));
    expect(world.state(target, BASE)).toBe('-');
    expect(world.load(target, BASE, 64)).toEqual(CODE);
    expect(world.state(target, BASE)).toBe('F');
    expect(target.mm?.rss[1]).toBe(0);
  });

  it('goes alone when something else in the page has changed', () => {
    map(target, PROT_READ | PROT_WRITE | PROT_EXEC);
    world.store(target, BASE + 0x20n, [99]);
    world.protect(target, BASE, 2, RX);
    const consumer = listener([]);
    const uprobe = register(0x10, consumer);
    world.run(tracer, uprobeUnregister(tracer, uprobe, consumer));
    expect(world.state(target, BASE)).toBe('X');
    expect(bytesAt(BASE + 0x10n)).toEqual(CODE.slice(0x10, 0x10 + breakpoint().length));
    expect(world.load(target, BASE + 0x20n, 1)).toEqual([99]);
  });

  it.each([
    ['a shared mapping', RX, MAP_SHARED, false],
    ['a writable mapping', RX | PROT_WRITE, MAP_PRIVATE, false],
    ['a mapping that is not executable now', PROT_READ, MAP_PRIVATE, true],
    ['a mapping that nobody may touch', 0, MAP_PRIVATE, true],
  ])('in %s: prot %i, flags %i, set: %s', (_, prot, flags, set) => {
    map(target, prot, flags);
    register(0x10);
    const frame = world.frameAt(target, BASE);
    const page = new Uint8Array(1);
    if (frame >= 0) world.kernel.machine.memory.readBytes(frame, 0x10, page);
    expect(frame >= 0 && page[0] === breakpoint()[0]).toBe(set);
  });
});

describe('a breakpoint in more than one place', () => {
  it('stands in mappings of every process, wherever they have the offset', () => {
    const other = world.process('other');
    map(target);
    map(other, RX, MAP_PRIVATE, BASE + 0x10_0000n, 1n, 0x1000n);
    register(0x1010);
    expect(bytesAt(BASE + 0x1010n)).toEqual(breakpoint());
    expect(world.load(other, BASE + 0x10_0010n, 1)).toEqual([breakpoint()[0]]);
  });

  it('stands only where its consumer wants it', () => {
    const other = world.process('other');
    map(target);
    map(other);
    register(
      0x10,
      listener([], (mm) => mm === target.mm),
    );
    expect(bytesAt(BASE + 0x10n)).toEqual(breakpoint());
    expect(world.load(other, BASE + 0x10n, 1)).toEqual([CODE[0x10]]);
  });

  it('is in a mapping that comes later, and in the half of one that was split', () => {
    register(0x1010);
    map(target);
    expect(bytesAt(BASE + 0x1010n)).toEqual(breakpoint());
    world.run(target, sysMunmap(target, BASE, PAGE));
    expect(bytesAt(BASE + 0x1010n)).toEqual(breakpoint());
  });
});

describe('a breakpoint whose page others have too', () => {
  it('goes from both where fork has shared the page: each gets its own first', () => {
    map(target);
    const consumer = listener([]);
    const uprobe = register(0x10, consumer);
    const child = world.fork(target, 'child');
    expect(world.state(child, BASE)).toBe('m2');
    world.run(tracer, uprobeUnregister(tracer, uprobe, consumer));
    for (const task of [target, child]) {
      expect(world.state(task, BASE)).toBe('-');
      expect(world.load(task, BASE + 0x10n, 1)).toEqual([CODE[0x10]]);
    }
  });

  it('stays where somebody has a reference to the page: only the bytes change', () => {
    map(target);
    const consumer = listener([]);
    const uprobe = register(0x10, consumer);
    const frame = world.frameAt(target, BASE);
    world.kernel.frames.get(frame);
    world.run(tracer, uprobeUnregister(tracer, uprobe, consumer));
    expect(world.frameAt(target, BASE)).toBe(frame);
    expect(world.load(target, BASE, 64)).toEqual(CODE);
    world.kernel.frames.put(frame);
  });

  it('comes to a child with the page', () => {
    map(target);
    register(0x10);
    const child = world.fork(target, 'child');
    expect(world.load(child, BASE + 0x10n, 1)).toEqual([breakpoint()[0]]);
    expect((child.mm?.flagBits ?? 0) & MMF_HAS_UPROBES).not.toBe(0);
  });
});

describe('a breakpoint with two consumers', () => {
  it('stays for a second consumer, and goes with the last', () => {
    map(target);
    const [one, other] = [listener([]), listener([])];
    const uprobe = register(0x10, one);
    expect(register(0x10, other)).toBe(uprobe);
    world.run(tracer, uprobeUnregister(tracer, uprobe, one));
    expect(bytesAt(BASE + 0x10n)).toEqual(breakpoint());
    world.run(tracer, uprobeUnregister(tracer, uprobe, other));
    expect(bytesAt(BASE + 0x10n)).toEqual(CODE.slice(0x10, 0x10 + breakpoint().length));
    expect(uprobe.refcount).toBe(0);
  });

  it('leaves no frame and no reference behind', () => {
    map(target);
    const consumer = listener([]);
    const uprobe = register(0x10, consumer);
    world.run(tracer, uprobeUnregister(tracer, uprobe, consumer));
    world.run(target, sysMunmap(target, BASE, 2n * PAGE));
    expect(world.kernel.frames.freeFrames).toBe(frames);
    expect(world.kernel.frames.refcount(file.mapping.frameAt(0))).toBe(1);
  });
});

describe('uprobe_register refuses', () => {
  it.each([
    ['a place beyond the file', 0x4000, 0, -EINVAL],
    ['an odd reference counter', 0, 3, -EINVAL],
  ])('%s: offset %i, counter %i', (_, offset, refCtr, error) => {
    const call = uprobeRegister(tracer, file.mapping, offset, refCtr, listener([]));
    expect(world.run(tracer, call)).toBe(error);
  });

  it('the end of the file, once somebody maps it', () => {
    map(target);
    const offset = file.mapping.sizeBytes;
    const call = uprobeRegister(tracer, file.mapping, offset, 0, listener([]));
    expect(world.run(tracer, call)).toBe(-EIO);
  });

  it('a breakpoint of the program itself', () => {
    world.run(tracer, fileWrite(tracer, file, 0x10, Uint8Array.from(breakpoint())));
    map(target);
    const call = uprobeRegister(tracer, file.mapping, 0x10, 0, listener([]));
    expect(world.run(tracer, call)).toBe(-ENOTSUPP);
  });

  it('another reference counter for the same place', () => {
    register(0x10, listener([]), 0x20);
    const call = uprobeRegister(tracer, file.mapping, 0x10, 0x22, listener([]));
    expect(world.run(tracer, call)).toBe(-EINVAL);
  });
});

describe('the reference counter', () => {
  const DATA = BASE + 0x20_0000n;
  const counter = (): number[] => world.load(target, DATA + 0x30n, 2);

  it('goes up with the breakpoint and down with it', () => {
    world.run(tracer, fileWrite(tracer, file, 0x1030, Uint8Array.of(0, 0)));
    map(target);
    map(target, PROT_READ | PROT_WRITE, MAP_PRIVATE, DATA, 1n, 0x1000n);
    const consumer = listener([]);
    const uprobe = register(0x10, consumer, 0x1030);
    expect(counter()).toEqual([1, 0]);
    world.run(tracer, uprobeUnregister(tracer, uprobe, consumer));
    expect(counter()).toEqual([0, 0]);
  });

  it('goes up when the program maps it, if that is later', () => {
    world.run(tracer, fileWrite(tracer, file, 0x1030, Uint8Array.of(0, 0)));
    map(target);
    register(0x10, listener([]), 0x1030);
    map(target, PROT_READ | PROT_WRITE, MAP_PRIVATE, DATA, 1n, 0x1000n);
    expect(counter()).toEqual([1, 0]);
  });

  it('does not go below zero: the breakpoint stays', () => {
    map(target);
    map(target, PROT_READ | PROT_WRITE, MAP_PRIVATE, DATA, 1n, 0x1000n);
    world.store(target, DATA + 0x30n, [0, 0]);
    const consumer = listener([]);
    const uprobe = register(0x10, consumer, 0x1030);
    world.store(target, DATA + 0x30n, [0, 0]);
    world.run(tracer, uprobeUnregister(tracer, uprobe, consumer));
    expect(bytesAt(BASE + 0x10n)).toEqual(breakpoint());
    expect(counter()).toEqual([0, 0]);
  });
});

describe('a task that runs into it', () => {
  it('is told of to every consumer, the newest first', () => {
    map(target);
    const hits: string[] = [];
    register(0x10, { handler: () => hits.push('first') && 0 });
    register(0x10, { handler: () => hits.push('second') && 0 });
    expect(world.run(target, handleBreakpoint(target, BASE + 0x10n))).toBe(BreakpointOutcome.Stepped);
    expect(hits).toEqual(['second', 'first']);
  });

  it('gets a signal where the breakpoint is its own', () => {
    map(target, RX | PROT_WRITE);
    world.store(target, BASE + 0x20n, breakpoint());
    expect(world.run(target, handleBreakpoint(target, BASE + 0x20n))).toBe(BreakpointOutcome.Trap);
  });

  it('tries again where it is gone', () => {
    map(target);
    expect(world.run(target, handleBreakpoint(target, BASE + 0x10n))).toBe(BreakpointOutcome.Restart);
    expect(world.run(target, handleBreakpoint(target, BASE + 0x40_0000n))).toBe(BreakpointOutcome.Restart);
  });

  it('loses it where every handler wants it gone', () => {
    map(target);
    register(0x10, { handler: () => 1, filter: (mm) => mm === target.mm });
    const child = world.fork(target, 'child');
    expect(world.run(child, handleBreakpoint(child, BASE + 0x10n))).toBe(BreakpointOutcome.Stepped);
    expect(world.load(child, BASE + 0x10n, 1)).toEqual([CODE[0x10]]);
    expect(bytesAt(BASE + 0x10n)).toEqual(breakpoint());
  });
});

describe('a breakpoint and the rest of the system', () => {
  /** Runs `removal` until it has its page, then `meanwhile`, then both to their ends. */
  function between(meanwhile: () => Task<number>): void {
    const director = new Director();
    world = new World(2, director.policy);
    director.loop = world.system.loop;
    target = world.process('target', 1);
    tracer = world.process('tracer', 0);
    file = memfdCreate(world.kernel, 'code');
    world.run(tracer, fileWrite(tracer, file, 0, Uint8Array.from(CODE)));
    map(target, RX, MAP_PRIVATE, BASE, 1n);
    const consumer = listener([]);
    const uprobe = register(0x10, consumer);
    const frame = world.frameAt(target, BASE);
    director.start(tracer, uprobeUnregister(tracer, uprobe, consumer));
    // The reference of GUP, before the second walk.
    const before = world.kernel.frames.refcount(frame);
    while (world.kernel.frames.refcount(frame) === before) director.step(tracer);
    director.start(target, meanwhile());
    director.finishAll(target, tracer);
  }

  it('is gone where the page was dropped before the second walk', () => {
    between(() => sysMadvise(target, BASE, PAGE, MADV_DONTNEED));
    expect(world.load(target, BASE, 64)).toEqual(CODE);
    expect(world.state(target, BASE)).toBe('F');
  });

  it('waits for fork, and fork for it', () => {
    between(() => forked(target));
    expect(world.load(target, BASE, 64)).toEqual(CODE);
    const child = [...world.kernel.tasks.values()].find(({ name }) => name === 'child');
    expect(child === undefined ? [] : world.load(child, BASE, 64)).toEqual(CODE);
  });
});
