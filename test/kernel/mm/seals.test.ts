/** @see Linux mm/memfd.c, `memfd_add_seals`; mm/mmap.c, `do_mmap`; mm/shmem.c */
import { beforeEach, describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fileFallocate,
} from '../../../src/kernel/mm/fallocate.ts';
import { sysPwrite } from '../../../src/kernel/mm/file-user-io.ts';
import { fileTruncate } from '../../../src/kernel/mm/ftruncate.ts';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { fileWrite, memfdCreate, openAgain } from '../../../src/kernel/mm/memfd.ts';
import { MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL } from '../../../src/kernel/mm/memfd-flags.ts';
import { MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { openPath } from '../../../src/kernel/mm/open-path.ts';
import {
  F_SEAL_EXEC,
  F_SEAL_FUTURE_WRITE,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  fcntlAddSeals,
  fcntlGetSeals,
} from '../../../src/kernel/mm/seals.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { addressOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

let world: ProcessWorld;
let task: TaskStruct;
let file: MappedFile;

beforeEach(() => {
  world = new ProcessWorld();
  task = world.process();
  file = memfdCreate(world.kernel, 'f', MFD_ALLOW_SEALING);
  world.run(task, fileTruncate(task, file, 0x2000n));
});

const answer = (result: number | bigint): string => (result < 0 ? errnoName(Number(result)) : 'ok');
const seal = (seals: number, of = file): string => answer(world.run(task, fcntlAddSeals(task, of, seals)));
const map = (page: number, prot: number, flags: number, of = file): string =>
  answer(world.run(task, sysMmap(task, addressOf(page), 0x1000n, prot, flags | MAP_FIXED, of, 0n)));

describe('sealing', () => {
  it.each<readonly [string, number, () => MappedFile]>([
    ['EPERM', F_SEAL_GROW, () => memfdCreate(world.kernel, 'plain')],
    ['EPERM', F_SEAL_GROW, () => openAgain(file, true, false)],
    ['EPERM', 0x100, () => openAgain(file, true, false)],
    ['EINVAL', 0x100, () => file],
    ['ok', F_SEAL_GROW, () => memfdCreate(world.kernel, 'noexec', MFD_NOEXEC_SEAL)],
  ])('answers %s to seals 0x%x', (errno, seals, of) => {
    expect(seal(seals, of())).toBe(errno);
  });

  it('answers EINVAL to a file that is no memory, and tells no seals of it', () => {
    const zero = world.run(task, openPath(task, '/dev/zero', 2)) as MappedFile;
    expect([seal(F_SEAL_GROW, zero), errnoName(fcntlGetSeals(zero))]).toEqual(['EINVAL', 'EINVAL']);
  });

  it('adds up, until F_SEAL_SEAL ends it', () => {
    expect([seal(F_SEAL_GROW), seal(F_SEAL_SHRINK | F_SEAL_SEAL), seal(F_SEAL_WRITE)]).toEqual([
      'ok',
      'ok',
      'EPERM',
    ]);
    expect(fcntlGetSeals(file)).toBe(F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  });

  it('against execution of what may be executed seals against every change', () => {
    const noExec = memfdCreate(world.kernel, 'noexec', MFD_NOEXEC_SEAL);
    expect(fcntlGetSeals(noExec)).toBe(F_SEAL_EXEC);
    seal(F_SEAL_EXEC);
    const all = F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    expect(fcntlGetSeals(file)).toBe(all);
  });
});

describe('sealing against writing', () => {
  it.each<readonly [string, string, () => unknown]>([
    ['EBUSY', 'a writable shared mapping', () => map(0, RW, MAP_SHARED)],
    ['EBUSY', 'a read-only one that may become writable', () => map(0, PROT_READ, MAP_SHARED)],
    [
      'ok',
      'one of a file open for reading',
      () => map(0, PROT_READ, MAP_SHARED, openAgain(file, true, false)),
    ],
    ['ok', 'a private one', () => map(0, RW, MAP_PRIVATE)],
    [
      'EBUSY',
      'one that a child has',
      () => {
        map(0, RW, MAP_SHARED);
        world.fork(task);
        world.run(task, sysMunmap(task, addressOf(0), 0x1000n));
      },
    ],
    [
      'EBUSY',
      'half of one that was split',
      () => {
        map(0, RW, MAP_SHARED);
        map(1, RW, MAP_SHARED);
        world.run(task, sysMunmap(task, addressOf(0), 0x1000n));
      },
    ],
    [
      'EBUSY',
      'a page that somebody has a reference on',
      () => {
        world.run(task, fileWrite(task, file, 0, Uint8Array.of(1)));
        world.kernel.frames.tryPin(file.mapping.frameAt(0));
      },
    ],
  ])('answers %s beside %s', (errno, _what, act) => {
    act();
    expect(seal(F_SEAL_WRITE)).toBe(errno);
    expect(seal(F_SEAL_FUTURE_WRITE)).toBe('ok');
  });

  it('works once the last such mapping is gone', () => {
    map(0, RW, MAP_SHARED);
    expect(seal(F_SEAL_WRITE)).toBe('EBUSY');
    world.run(task, sysMunmap(task, addressOf(0), 0x1000n));
    expect(seal(F_SEAL_WRITE)).toBe('ok');
  });
});

describe('a file sealed', () => {
  const truncate = (pages: number): string =>
    answer(world.run(task, fileTruncate(task, file, BigInt(pages) << 12n)));
  const write = (at: number): string => answer(world.run(task, fileWrite(task, file, at, Uint8Array.of(1))));
  const punch = (): string =>
    answer(world.run(task, fileFallocate(task, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0n, 1n)));
  const reserve = (mode: number, pages: number): string =>
    answer(world.run(task, fileFallocate(task, file, mode, 0n, BigInt(pages) << 12n)));

  it.each<readonly [string, number, string[]]>([
    // cut, keep the size, grow; write within, beyond; hole; reserve within, beyond
    ['against nothing', 0, ['ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok']],
    ['against shrinking', F_SEAL_SHRINK, ['EPERM', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok']],
    ['against growing', F_SEAL_GROW, ['ok', 'ok', 'EPERM', 'ok', 'EPERM', 'ok', 'ok', 'EPERM']],
    ['against writing', F_SEAL_WRITE, ['ok', 'ok', 'ok', 'EPERM', 'EPERM', 'EPERM', 'ok', 'ok']],
    [
      'against future writing',
      F_SEAL_FUTURE_WRITE,
      ['ok', 'ok', 'ok', 'EPERM', 'EPERM', 'EPERM', 'ok', 'ok'],
    ],
  ])('%s refuses what it should', (_what, seals, expected) => {
    if (seals !== 0) seal(seals);
    const size = (): void => {
      file.mapping.sizeBytes = 0x2000;
    };
    const got = [
      () => truncate(1),
      () => truncate(2),
      () => truncate(3),
      () => write(0),
      () => write(0x2000),
      punch,
      () => reserve(0, 2),
      () => reserve(FALLOC_FL_KEEP_SIZE, 3),
    ].map((act) => {
      size();
      return act();
    });
    expect(got).toEqual(expected);
  });
});

describe('a file that is sealed', () => {
  it('against writing has no writable shared mappings any more, and existing ones only of the future kind', () => {
    map(0, RW, MAP_SHARED);
    expect(seal(F_SEAL_FUTURE_WRITE)).toBe('ok');
    expect(world.store(task, 0, 5)).toBeNull();
    expect([map(1, RW, MAP_SHARED), map(1, PROT_READ, MAP_SHARED), map(2, RW, MAP_PRIVATE)]).toEqual([
      'EPERM',
      'ok',
      'ok',
    ]);
    expect(answer(world.run(task, sysMprotect(task, addressOf(1), 0x1000n, RW)))).toBe('EACCES');
    // What is mapped for writing may be protected and unprotected.
    expect(answer(world.run(task, sysMprotect(task, addressOf(0), 0x1000n, PROT_READ)))).toBe('ok');
    expect(answer(world.run(task, sysMprotect(task, addressOf(0), 0x1000n, RW)))).toBe('ok');
    expect(world.store(task, 2, 6)).toBeNull();
    expect([world.load(task, 0), world.load(task, 1), world.load(task, 2)]).toEqual([5, 5, 6]);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('against growing lets a write go up to the end of the last page that fits', () => {
    seal(F_SEAL_GROW);
    map(0, RW, MAP_PRIVATE);
    map(1, RW, MAP_PRIVATE);
    world.store(task, 0, 3);
    world.store(task, 1, 4);
    const call = sysPwrite(task, file, addressOf(0), 0x2000n, 0x1000n);
    expect(world.run(task, call)).toBe(0x1000);
    expect(file.mapping.sizeBytes).toBe(0x2000);
  });
});
