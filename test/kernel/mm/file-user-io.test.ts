/** @see Linux mm/filemap.c, `generic_perform_write`; mm/shmem.c, `shmem_file_read_iter` */
import { beforeEach, describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { sysPread, sysPwrite } from '../../../src/kernel/mm/file-user-io.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { fileRead, fileWrite, memfdCreate, openAgain } from '../../../src/kernel/mm/memfd.ts';
import { PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
let world: World;
let task: TaskStruct;
let file: MappedFile;

beforeEach(() => {
  world = new World();
  task = world.process('p');
  file = memfdCreate(world.kernel, 'f');
});

const show = (result: number): string | number => (result < 0 ? errnoName(result) : result);
const pread = (
  address: bigint,
  length: number | bigint,
  offset: number | bigint,
  of = file,
): string | number =>
  show(world.run(task, sysPread(task, of, address, BigInt(length), BigInt.asUintN(64, BigInt(offset)))));
const pwrite = (
  address: bigint,
  length: number | bigint,
  offset: number | bigint,
  of = file,
): string | number =>
  show(world.run(task, sysPwrite(task, of, address, BigInt(length), BigInt.asUintN(64, BigInt(offset)))));
const contents = (offset: number, length: number): number[] => {
  const bytes = new Uint8Array(length);
  world.run(task, fileRead(task, file, offset, bytes));
  return [...bytes];
};

describe('pread into memory of the process', () => {
  it('stops at the end of the file, and reads holes as zeros without filling them', () => {
    const at = world.map(task, 0, 3, RW);
    world.run(task, fileTruncate(task, file, 0x1800n));
    world.run(task, fileWrite(task, file, 0x1000, Uint8Array.of(7, 8, 9)));
    expect(pread(at, 0x3000, 0)).toBe(0x1800);
    expect(world.load(task, at + 0x0fffn, 4)).toEqual([0, 7, 8, 9]);
    expect(file.mapping.pageCount).toBe(1);
    expect(pread(at, 16, 0x1800)).toBe(0);
  });

  it('gives what was stored before a page that cannot be written, and EFAULT when that is nothing', () => {
    const at = world.map(task, 0, 2, RW);
    world.protect(task, at + 0x1000n, 1, PROT_READ);
    world.run(task, fileTruncate(task, file, 0x2000n));
    expect(pread(at + 0xff0n, 64, 0)).toBe(16);
    expect(pread(at + 0x1000n, 64, 0)).toBe('EFAULT');
  });

  it('counts the faults of its buffer', () => {
    const at = world.map(task, 0, 2, RW);
    world.run(task, fileTruncate(task, file, 0x2000n));
    const before = task.minFlt;
    expect(pread(at, 0x2000, 0)).toBe(0x2000);
    expect(task.minFlt - before).toBe(2);
  });
});

describe('pwrite from memory of the process', () => {
  it('grows the file, and faults in what is not there', () => {
    const at = world.map(task, 0, 2, RW);
    world.store(task, at, [1, 2, 3]);
    const before = task.minFlt;
    expect(pwrite(at, 0x1010, 0x10)).toBe(0x1010);
    // The second page was not there: the zero page is read.
    expect(task.minFlt - before).toBe(1);
    expect(file.mapping.sizeBytes).toBe(0x1020);
    expect(contents(0x0f, 5)).toEqual([0, 1, 2, 3, 0]);
  });

  it('leaves a page and a larger file behind when nothing can be read', () => {
    const at = world.map(task, 0, 1, PROT_NONE);
    expect(pwrite(at, 16, 0x2008)).toBe('EFAULT');
    expect(file.mapping.sizeBytes).toBe(0x2008);
    expect(file.mapping.indexes()).toEqual([2]);
  });

  it('gives what was written before a page that cannot be read', () => {
    const at = world.map(task, 0, 2, RW);
    world.store(task, at + 0xff0n, [5, 6]);
    world.protect(task, at + 0x1000n, 1, PROT_NONE);
    expect(pwrite(at + 0xff0n, 64, 0)).toBe(16);
    expect(contents(0, 2)).toEqual([5, 6]);
    expect(file.mapping.sizeBytes).toBe(16);
  });

  it('writes nothing for no bytes, and makes no page', () => {
    expect(pwrite(world.map(task, 0, 1, RW), 0, 0x5000)).toBe(0);
    expect([file.mapping.pageCount, file.mapping.sizeBytes]).toEqual([0, 0]);
  });
});

describe('both refuse', () => {
  it.each([
    ['a negative offset', 0x1000n, 16, -1, 'EINVAL'],
    ['a length that is negative as ssize_t', 0x1000n, -1n & 0xffff_ffff_ffff_ffffn, 0, 'EINVAL'],
    ['a buffer outside of user space', 0xffff_8000_0000_0000n, 16, 0, 'EFAULT'],
  ] as const)('%s', (_name, address, length, offset, errno) => {
    expect([pread(address, length, offset), pwrite(address, length, offset)]).toEqual([errno, errno]);
  });

  it('a file that is not open for it', () => {
    const at = world.map(task, 0, 1, RW);
    expect(pread(at, 1, 0, openAgain(file, false, true))).toBe('EBADF');
    expect(pwrite(at, 1, 0, openAgain(file, true, false))).toBe('EBADF');
  });

  it('a write beyond the largest file', () => {
    expect(pwrite(world.map(task, 0, 1, RW), 16, 2n ** 52n - 8n)).toBe('EFBIG');
  });
});
