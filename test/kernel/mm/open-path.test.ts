/** @see Linux fs/open.c; drivers/char/mem.c, `mmap_zero` */
import { beforeEach, describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import { fput, type MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { fileRead, fileWrite } from '../../../src/kernel/mm/memfd.ts';
import { MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import {
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  openPath,
  unlinkPath,
} from '../../../src/kernel/mm/open-path.ts';
import { smapsEntries } from '../../../src/kernel/mm/smaps.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { addressOf, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

let world: ProcessWorld;
let task: TaskStruct;

beforeEach(() => {
  world = new ProcessWorld();
  task = world.process();
});

const tryOpen = (path: string, flags: number): MappedFile | string => {
  const file = world.run(task, openPath(task, path, flags));
  return typeof file === 'number' ? errnoName(file) : file;
};
const open = (path: string, flags: number): MappedFile => tryOpen(path, flags) as MappedFile;
const close = (file: MappedFile): void => world.run(task, fput(world.kernel.frames, file));
const map = (page: number, prot: number, flags: number, file: MappedFile, offset = 0n): string => {
  const call = sysMmap(task, addressOf(page), 0x2000n, prot, flags | MAP_FIXED, file, offset);
  const result = world.run(task, call);
  return result < 0n ? errnoName(Number(result)) : 'ok';
};

describe('opening a file by name', () => {
  it.each([
    ['ENOENT', '/tmp/a', O_RDWR],
    ['EEXIST', '/tmp/there', O_RDWR | O_CREAT | O_EXCL],
    ['EINVAL', '/tmp/there', O_RDWR | O_WRONLY],
    ['EACCES', '/proc/self/maps', O_RDWR],
  ])('answers %s to %s with flags 0o%o', (errno, path, flags) => {
    open('/tmp/there', O_RDWR | O_CREAT);
    expect(tryOpen(path, flags)).toBe(errno);
  });

  it('gives the same object to all who open it, which outlives them', () => {
    const file = open('/tmp/a', O_RDWR | O_CREAT);
    world.run(task, fileWrite(task, file, 0, Uint8Array.of(1, 2, 3)));
    close(file);
    const again = open('/tmp/a', O_RDONLY);
    const bytes = new Uint8Array(3);
    expect(world.run(task, fileRead(task, again, 0, bytes))).toBe(3);
    expect([[...bytes], errnoName(world.run(task, fileTruncate(task, again, 0n)))]).toEqual([
      [1, 2, 3],
      'EINVAL',
    ]);
    const emptied = open('/tmp/a', O_RDWR | O_TRUNC);
    expect([emptied.mapping === again.mapping, emptied.mapping.sizeBytes]).toEqual([true, 0]);
  });

  it('goes on after its name is taken away, until the last mapping is gone', () => {
    const free = world.kernel.frames.freeFrames;
    const file = open('/tmp/a', O_RDWR | O_CREAT);
    world.run(task, fileWrite(task, file, 0, new Uint8Array(0x2000).fill(4)));
    expect(map(0, RW, MAP_SHARED, file)).toBe('ok');
    close(file);
    expect(world.run(task, unlinkPath(task, '/tmp/a'))).toBe(0);
    expect([tryOpen('/tmp/a', O_RDWR), errnoName(world.run(task, unlinkPath(task, '/tmp/a')))]).toEqual([
      'ENOENT',
      'ENOENT',
    ]);
    expect([world.load(task, 1), file.mapping.pageCount]).toEqual([4, 2]);
    world.run(task, sysMunmap(task, addressOf(0), 0x2000n));
    expect([file.mapping.pageCount, world.kernel.frames.freeFrames]).toEqual([0, free]);
  });

  it('shows the path in smaps', () => {
    const file = open('/init', O_RDONLY | O_CREAT);
    expect(map(0, PROT_READ, MAP_PRIVATE, file)).toBe('ok');
    expect(smapsEntries(mmOf(task))).toMatchObject([
      { kind: '/init', permissions: 'r--p', vmFlags: 'rd mr mw me' },
    ]);
  });
});

describe('/dev/zero', () => {
  it('maps privately as anonymous memory, with the file behind it in name only', () => {
    const file = open('/dev/zero', O_RDWR);
    expect(map(0, RW, MAP_PRIVATE, file)).toBe('ok');
    expect([world.load(task, 0), world.page(task, 0)]).toEqual([0, 'Z']);
    expect([world.store(task, 0, 3), world.page(task, 0)]).toEqual([null, 'Xwd']);
    expect(smapsEntries(mmOf(task))).toMatchObject([{ kind: 'shmem', permissions: 'rw-p' }]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('maps for sharing as an object of its own each time', () => {
    const file = open('/dev/zero', O_RDWR);
    expect([map(0, RW, MAP_SHARED, file), map(4, RW, MAP_SHARED, file)]).toEqual(['ok', 'ok']);
    const child = world.fork(task);
    world.store(task, 0, 3);
    expect([world.load(child, 0), world.load(task, 4)]).toEqual([3, 0]);
    expect(world.inconsistencies()).toEqual([]);
  });
});

describe('a file that cannot be mapped', () => {
  it('answers ENODEV to mmap, after the rights are looked at', () => {
    const file = open('/proc/self/maps', O_RDONLY);
    expect([map(0, PROT_READ, MAP_PRIVATE, file), map(0, RW, MAP_SHARED, file)]).toEqual([
      'ENODEV',
      'EACCES',
    ]);
  });
});
