/** @see Linux mm/mmap.c, `do_mmap` (the branch for files); mm/shmem.c, `shmem_setattr` */
import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../../src/arch/registry.ts';
import { errnoName } from '../../../src/kernel/errno.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { fput } from '../../../src/kernel/mm/mapped-file.ts';
import { fileRead, fileWrite, memfdCreate, openAgain } from '../../../src/kernel/mm/memfd.ts';
import {
  LEGACY_MAP_MASK,
  MAP_FIXED,
  MAP_GROWSDOWN,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_SHARED_VALIDATE,
  MAP_SYNC,
  PROT_READ,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { smapsEntries } from '../../../src/kernel/mm/smaps.ts';
import { rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { createSystem } from '../../../src/userland/system.ts';
import { finish, RW, ranges, type VmaWorld, vmaWorld } from './support.ts';

const AT = 0x1000_0000_0000n;
const PAGE = Number(AT >> 12n);

function call(
  world: VmaWorld,
  file: MappedFile,
  flags: number,
  prot = RW,
  at: { readonly page?: number; readonly offset?: bigint; readonly length?: bigint } = {},
): string {
  const { page = 0, offset = 0n, length = 0x2000n } = at;
  const address = AT + BigInt(page) * 0x1000n;
  const result = finish(sysMmap(world.task, address, length, prot, flags | MAP_FIXED, file, offset));
  return result < 0n ? errnoName(Number(result)) : 'ok';
}

const text = (bytes: Uint8Array): string => [...bytes].join(' ');

describe('mmap of a file refuses', () => {
  type Open = (file: MappedFile) => MappedFile;
  const readWrite: Open = (file) => file;
  const readOnly: Open = (file) => openAgain(file, true, false);
  const writeOnly: Open = (file) => openAgain(file, false, true);
  const far = 0xffff_ffff_ffff_f000n;
  it.each<readonly [number, bigint, Open, string, string]>([
    // flags, offset, how it is open, errno, why
    [MAP_PRIVATE, far, readWrite, 'EOVERFLOW', 'an offset beyond any file'],
    [MAP_SHARED_VALIDATE | MAP_SYNC, far, readWrite, 'EOVERFLOW', 'that, looked at before the flags'],
    [
      MAP_SHARED_VALIDATE | MAP_SYNC,
      0n,
      readOnly,
      'EOPNOTSUPP',
      'unknown flags, looked at before the rights',
    ],
    [MAP_SHARED, 0n, readOnly, 'EACCES', 'shared writing of what is open for reading'],
    [MAP_PRIVATE, 0n, writeOnly, 'EACCES', 'what is not open for reading'],
    [MAP_SHARED, 0n, writeOnly, 'EACCES', 'that, shared as well'],
    [MAP_PRIVATE | MAP_GROWSDOWN, 0n, readWrite, 'EINVAL', 'a stack'],
    [MAP_PRIVATE | MAP_GROWSDOWN, 0n, writeOnly, 'EACCES', 'a stack, looked at after the rights'],
    [0, 0n, readWrite, 'EINVAL', 'neither private nor shared'],
  ])('flags 0x%x at 0x%x: %s, %s, %s [d050]', (flags, offset, open, errno) => {
    const world = vmaWorld();
    const file = open(memfdCreate(world.kernel, 'a'));
    expect(call(world, file, flags, RW, { offset })).toBe(errno);
    expect(ranges(world.mm)).toEqual([]);
    expect(file.count).toBe(1);
  });

  it('knows MAP_SYNC as no flag of every file', () => {
    expect(LEGACY_MAP_MASK & MAP_SYNC).toBe(0);
  });

  // @see include/linux/mman.h, LEGACY_MAP_MASK; arch/x86/include/uapi/asm/mman.h, MAP_32BIT and MAP_ABOVE4G
  it.each([
    ['x86_64', 0x40, 'ok'],
    ['x86_64', 0x80, 'ok'],
    ['arm64', 0x40, 'EOPNOTSUPP'],
    ['arm64', 0x80, 'EOPNOTSUPP'],
    ['arm64', 0x4000_0000, 'ok'],
    ['arm64', 1 << 31, 'EOPNOTSUPP'],
    ['x86_64', 1 << 31, 'EOPNOTSUPP'],
  ] as const)('on %s MAP_SHARED_VALIDATE with flag 0x%x: %s', (name, flag, came) => {
    const system = createSystem({ architecture: architectureNamed(name), cpus: 1, memoryBytes: 0x40_0000 });
    const task = system.createProcess('p', 0, rootCredentials());
    const file = memfdCreate(system.kernel, 'a');
    const mapped = (flags: number): string => {
      const result = system.loop.complete(task, sysMmap(task, 0n, 0x1000n, RW, flags | flag, file, 0n));
      return result < 0n ? errnoName(Number(result)) : 'ok';
    };
    expect([mapped(MAP_SHARED_VALIDATE), mapped(MAP_SHARED)]).toEqual([came, 'ok']);
  });
});

describe('mmap of a file gives', () => {
  it.each([
    ['private', MAP_PRIVATE, true, RW, 'rw-p', 'rd wr mr mw me ac'],
    ['private, open for reading', MAP_PRIVATE, false, RW, 'rw-p', 'rd wr mr mw me ac'],
    ['shared', MAP_SHARED, true, RW, 'rw-s', 'rd wr sh mr mw me ms'],
    ['shared, read', MAP_SHARED, true, PROT_READ, 'r--s', 'rd sh mr mw me ms'],
    ['shared, open for reading: never writable', MAP_SHARED, false, PROT_READ, 'r--s', 'rd mr me ms'],
  ])('%s: %s %s %s %s, VmFlags %s [d010, d011]', (_what, flags, writable, prot, permissions, vmFlags) => {
    const world = vmaWorld();
    const file = openAgain(memfdCreate(world.kernel, 'a'), true, writable);
    expect(call(world, file, flags, prot, { offset: 0x3000n })).toBe('ok');
    expect(smapsEntries(world.mm)).toMatchObject([
      { permissions, vmFlags, offset: 0x3000n, kind: 'memfd:a' },
    ]);
  });

  it('one VMA for parts of the same open file whose offsets continue [d089]', () => {
    const world = vmaWorld();
    const file = memfdCreate(world.kernel, 'a');
    call(world, file, MAP_PRIVATE, RW, { page: 0, offset: 0n });
    call(world, file, MAP_PRIVATE, RW, { page: 2, offset: 0x2000n });
    call(world, file, MAP_PRIVATE, RW, { page: 4, offset: 0x5000n });
    call(world, openAgain(file, true, true), MAP_PRIVATE, RW, { page: 6, offset: 0x7000n });
    expect(ranges(world.mm)).toEqual([
      [PAGE, PAGE + 4],
      [PAGE + 4, PAGE + 6],
      [PAGE + 6, PAGE + 8],
    ]);
    expect(file.count).toBe(3);
  });
});

describe('a memfd', () => {
  it('reads what was written, zeros in holes, and no further than its size', () => {
    const { task, kernel } = vmaWorld();
    const file = memfdCreate(kernel, 'a');
    expect(finish(fileTruncate(task, file, 0x3000n))).toBe(0);
    expect(finish(fileWrite(task, file, 0x1ffe, Uint8Array.of(1, 2, 3, 4)))).toBe(4);
    const bytes = new Uint8Array(8);
    expect([finish(fileRead(task, file, 0x1ffc, bytes)), text(bytes)]).toEqual([8, '0 0 1 2 3 4 0 0']);
    expect(finish(fileRead(task, file, 0x2ffc, bytes))).toBe(4);
    expect(finish(fileRead(task, file, 0x9000, bytes))).toBe(0);
    expect(file.mapping.indexes()).toEqual([1, 2]);
  });

  it('loses what lies beyond a smaller size, inside the last page too', () => {
    const { task, kernel } = vmaWorld();
    const file = memfdCreate(kernel, 'a');
    finish(fileWrite(task, file, 0, new Uint8Array(0x3000).fill(7)));
    const before = kernel.frames.freeFrames;
    finish(fileTruncate(task, file, 0x802n));
    finish(fileTruncate(task, file, 0x3000n));
    const bytes = new Uint8Array(4);
    finish(fileRead(task, file, 0x800, bytes));
    expect([text(bytes), file.mapping.indexes()]).toEqual(['7 7 0 0', [0]]);
    expect(kernel.frames.freeFrames).toBe(before + 2);
  });

  it.each([
    ['EINVAL', 'a negative size', 2n ** 63n, true],
    ['EINVAL', 'a file open for reading', 0n, false],
    ['EFBIG', 'a size that cannot be', 2n ** 62n, true],
  ])('answers %s to ftruncate of %s', (errno, _what, length, writable) => {
    const { task, kernel } = vmaWorld();
    const file = openAgain(memfdCreate(kernel, 'a'), true, writable);
    expect(errnoName(finish(fileTruncate(task, file, length)))).toBe(errno);
  });

  it('gives its pages back with the last of its descriptors and mappings', () => {
    const world = vmaWorld();
    const { task, kernel } = world;
    const before = kernel.frames.freeFrames;
    const file = memfdCreate(kernel, 'a');
    finish(fileWrite(task, file, 0, new Uint8Array(0x2000)));
    call(world, file, MAP_SHARED);
    finish(fput(kernel.frames, file));
    expect(file.mapping.pageCount).toBe(2);
    finish(sysMunmap(task, AT, 0x2000n));
    expect([file.mapping.pageCount, kernel.frames.freeFrames]).toEqual([0, before]);
  });
});
