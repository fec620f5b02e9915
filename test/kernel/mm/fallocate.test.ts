/** @see Linux fs/open.c, `vfs_fallocate`; mm/shmem.c, `shmem_fallocate` */
import { beforeEach, describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_UNSHARE_RANGE,
  FALLOC_FL_ZERO_RANGE,
  fileFallocate,
} from '../../../src/kernel/mm/fallocate.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { fileRead, fileWrite, memfdCreate, openAgain } from '../../../src/kernel/mm/memfd.ts';
import { MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { folioEverWritten } from '../../../src/kernel/mm/shmem-get-folio.ts';
import { SIGKILL } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { addressOf, ProcessWorld } from './process-world.ts';

const KEEP = FALLOC_FL_KEEP_SIZE;
const PUNCH = FALLOC_FL_PUNCH_HOLE | KEEP;

let world: ProcessWorld;
let task: TaskStruct;
let file: MappedFile;

beforeEach(() => {
  world = new ProcessWorld();
  task = world.process();
  file = memfdCreate(world.kernel, 'f');
});

function allocate(mode: number, offset: bigint, length: bigint, of = file): string {
  const result = world.run(task, fileFallocate(task, of, mode, offset, length));
  return result === 0 ? 'ok' : errnoName(result);
}

function read(offset: number, length: number): number[] {
  const bytes = new Uint8Array(length);
  const done = world.run(task, fileRead(task, file, offset, bytes));
  return [...bytes.subarray(0, done)];
}

const fill = (offset: number, length: number, value: number): number =>
  world.run(task, fileWrite(task, file, offset, new Uint8Array(length).fill(value)));

function map(page: number, pages: number, flags: number): void {
  const address = addressOf(page);
  const length = BigInt(pages) << 12n;
  const call = sysMmap(task, address, length, PROT_READ | PROT_WRITE, flags | MAP_FIXED, file, 0n);
  expect(world.run(task, call)).toBe(address);
}

const uptodate = (index: number): boolean =>
  world.kernel.frames.hasFlag(file.mapping.frameAt(index), FrameFlag.Uptodate);

describe('fallocate answers', () => {
  it.each<readonly [string, number, bigint, bigint, boolean, string]>([
    ['EINVAL', 0, -1n, 0x1000n, true, 'a negative offset'],
    ['EINVAL', 0, 0n, 0n, true, 'no length'],
    ['EINVAL', 0, 0n, -0x1000n, true, 'a negative length'],
    ['EINVAL', 0x1000, 0n, 0n, false, 'no length, before anything else'],
    ['EOPNOTSUPP', 0x1000, 0n, 0x1000n, false, 'an unknown mode, before how the file is open'],
    ['EOPNOTSUPP', FALLOC_FL_PUNCH_HOLE, 0n, 0x1000n, true, 'a hole that changes the size'],
    ['EOPNOTSUPP', FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | KEEP, 0n, 1n, true, 'two modes'],
    ['EOPNOTSUPP', FALLOC_FL_COLLAPSE_RANGE | KEEP, 0n, 1n, false, 'one that must change the size'],
    ['EBADF', FALLOC_FL_ZERO_RANGE, 0n, 0x1000n, false, 'a mode of other file systems, open for reading'],
    ['EOPNOTSUPP', FALLOC_FL_ZERO_RANGE, 0n, 0x1000n, true, 'a mode of other file systems'],
    ['EOPNOTSUPP', FALLOC_FL_UNSHARE_RANGE, 0n, 0x1000n, true, 'another one'],
    ['EBADF', 0, 0n, 0x1000n, false, 'a file open for reading'],
    ['EFBIG', 0, 2n ** 62n, 2n ** 62n, true, 'more than a file can be'],
  ])('%s to mode 0x%x at %i, %i bytes, writable %s: %s', (errno, mode, offset, length, writable) => {
    expect(allocate(mode, offset, length, openAgain(file, true, writable))).toBe(errno);
    expect([file.mapping.pageCount, file.mapping.sizeBytes]).toEqual([0, 0]);
  });
});

describe('reserved pages', () => {
  it.each([
    [0, 0x2800],
    [KEEP, 0x100],
  ])('of mode %i are there for every part of the range; the size is then 0x%x', (mode, size) => {
    world.run(task, fileTruncate(task, file, 0x100n));
    expect(allocate(mode, 0x800n, 0x2000n)).toBe('ok');
    expect([file.mapping.indexes(), file.mapping.sizeBytes]).toEqual([[0, 1, 2], size]);
  });

  it('never make a file smaller', () => {
    world.run(task, fileTruncate(task, file, 0x5000n));
    expect([allocate(0, 0n, 0x1000n), file.mapping.sizeBytes]).toEqual(['ok', 0x5000]);
  });

  it('hold nothing: they read as zeros and stay so, are not mapped around a fault, and count as written', () => {
    expect(allocate(0, 0n, 0x3000n)).toBe('ok');
    expect([uptodate(1), read(0x1000, 2), uptodate(1)]).toEqual([false, [0, 0], false]);
    map(0, 3, MAP_SHARED);
    expect(world.load(task, 1)).toBe(0);
    expect([0, 1, 2].map((page) => world.page(task, page)[0])).toEqual(['-', 'F', '-']);
    expect([uptodate(0), uptodate(1)]).toEqual([false, true]);
    expect([0, 1, 2].map((index) => folioEverWritten(world.kernel, file.mapping.frameAt(index)))).toEqual([
      true,
      true,
      true,
    ]);
  });

  it('are filled by a second reservation', () => {
    allocate(0, 0n, 0x1000n);
    expect(uptodate(0)).toBe(false);
    allocate(0, 0n, 0x1000n);
    expect(uptodate(0)).toBe(true);
  });

  it('have zeros around what is written to them, whatever the frame held before', () => {
    const { frames, machine } = world.kernel;
    allocate(0, 0n, 0x1000n);
    machine.memory.writeBytes(file.mapping.frameAt(0), 0, new Uint8Array(4096).fill(0xee));
    fill(0x10, 2, 5);
    expect(read(0xe, 6)).toEqual([0, 0, 5, 5, 0, 0]);
    expect(read(0xffe, 2)).toEqual([0, 0]);
    expect(frames.hasFlag(file.mapping.frameAt(0), FrameFlag.Dirty)).toBe(true);
  });

  it('are given back when memory runs out half-way, and so are their frames', () => {
    world = new ProcessWorld({ memoryBytes: 0x40_0000 });
    task = world.process();
    file = memfdCreate(world.kernel, 'f');
    fill(0x2000, 1, 1);
    const free = world.kernel.frames.freeFrames;
    expect(allocate(0, 0n, 0x1000_0000n)).toBe('ENOMEM');
    expect([file.mapping.indexes(), world.kernel.frames.freeFrames]).toEqual([[2], free]);
    expect(file.mapping.iRwsem.isLocked()).toBe(false);
  });

  it('end with EINTR for a task that is killed', () => {
    task.sendSignal({ signal: SIGKILL, code: 0, address: 0n });
    expect([allocate(0, 0n, 0x4000n), file.mapping.pageCount]).toEqual(['EINTR', 0]);
  });
});

describe('a punched hole', () => {
  it.each<readonly [string, bigint, bigint, number[]]>([
    ['whole pages', 0x1000n, 0x2000n, [0, 3]],
    ['parts of two pages and one between', 0x800n, 0x2000n, [0, 2, 3]],
    ['a part of one page', 0x1100n, 0x100n, [0, 1, 2, 3]],
    ['a part up to the end of a page', 0x1100n, 0xf00n, [0, 1, 2, 3]],
    ['beyond the end', 0x8000n, 0x1000n, [0, 1, 2, 3]],
  ])('of %s reads as zeros, and only there', (_what, offset, length, left) => {
    fill(0, 0x4000, 7);
    expect(allocate(PUNCH, offset, length)).toBe('ok');
    const [from, to] = [Number(offset), Number(offset + length)];
    const bytes = read(0, 0x4000);
    expect(bytes.every((byte, at) => byte === (at >= from && at < to ? 0 : 7))).toBe(true);
    expect([file.mapping.indexes(), file.mapping.sizeBytes]).toEqual([left, 0x4000]);
  });

  it('is not in shared mappings any more; private copies stay', () => {
    fill(0, 0x3000, 7);
    map(0, 3, MAP_SHARED);
    map(4, 3, MAP_PRIVATE);
    world.load(task, 0);
    world.load(task, 4);
    world.store(task, 5, 9);
    expect(allocate(PUNCH, 0n, 0x3000n)).toBe('ok');
    expect([0, 1, 2, 4, 5, 6].map((page) => world.page(task, page))).toEqual([
      '-',
      '-',
      '-',
      '-',
      'Xwd',
      '-',
    ]);
    expect([world.load(task, 1), world.load(task, 4), world.load(task, 5)]).toEqual([0, 0, 9]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('keeps faults of its pages out as long as it is being made', () => {
    fill(0, 0x3000, 7);
    const punch = fileFallocate(task, file, PUNCH, 0x800n, 0x2000n);
    const holes = new Set<string>();
    for (let step = punch.next(); step.done !== true; step = punch.next()) {
      const { hole } = file.mapping;
      holes.add(hole === null ? 'none' : `${hole.first}-${hole.end}`);
    }
    expect([...holes]).toEqual(['none', '1-2']);
    expect(file.mapping.hole).toBeNull();
  });
});

describe('a page of a memfd was ever written', () => {
  it.each<readonly [string, boolean, () => void]>([
    ['a read fault of a hole', false, () => world.load(task, 0)],
    ['a shared write fault', true, () => world.store(task, 0, 1)],
    ['a write to the file', true, () => fill(0, 1, 1)],
    ['a partial hole in what was only read', true, () => [world.load(task, 0), allocate(PUNCH, 0n, 1n)]],
  ])('after %s: %s', (_what, written, act) => {
    world.run(task, fileTruncate(task, file, 0x1000n));
    map(0, 1, MAP_SHARED);
    act();
    expect(folioEverWritten(world.kernel, file.mapping.frameAt(0))).toBe(written);
  });
});
