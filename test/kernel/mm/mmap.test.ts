/** What mmap answers, and in which order it looks. @see Linux mm/mmap.c, `ksys_mmap_pgoff`, `do_mmap` */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import {
  MAP_ANONYMOUS,
  MAP_DROPPABLE,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_SHARED_VALIDATE,
  MAP_STACK,
  MAP_SYNC,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { smapsEntries } from '../../../src/kernel/mm/smaps.ts';
import { CAP_IPC_LOCK, CAP_SYS_RAWIO } from '../../../src/kernel/process/credentials.ts';
import {
  FIXED,
  finish,
  MMAP_BASE_PAGE,
  map,
  PRIVATE,
  RW,
  ranges,
  TASK_SIZE_PAGES,
  vmaWorld,
} from './support.ts';

const AT = 0x1000_0000_0000n;
const PAGE = Number(AT >> 12n);
const SHARED = MAP_SHARED | MAP_ANONYMOUS;

/** The address in hex, or the errno's name. */
function call(
  world: ReturnType<typeof vmaWorld>,
  address: bigint,
  length: bigint,
  prot: number,
  flags: number,
  offset = 0n,
): string {
  const result = finish(sysMmap(world.task, address, length, prot, flags, null, offset));
  return result < 0n ? errnoName(Number(result)) : `0x${result.toString(16)}`;
}

describe('mmap refuses', () => {
  it.each([
    // address, length, flags, offset, errno, why
    [AT, 0n, FIXED, 0n, 'EINVAL', 'no length'],
    [AT + 0x800n, 0n, FIXED, 0n, 'EINVAL', 'no length, looked at before the address'],
    [AT, 0n, MAP_PRIVATE, 0n, 'EBADF', 'no file, looked at before the length'],
    [AT, 0x1000n, MAP_PRIVATE, 0x800n, 'EINVAL', 'an offset inside a page, looked at before the file'],
    [AT, 0x1000n, FIXED, 0x800n, 'EINVAL', 'an offset inside a page, of anonymous memory too'],
    [AT, 0x1000n, MAP_DROPPABLE | MAP_FIXED, 0n, 'EBADF', 'droppable memory of a file that is not there'],
    [AT, 0xffff_ffff_ffff_f001n, FIXED, 0n, 'ENOMEM', 'a length that rounds up to nothing'],
    [AT, 0xffff_ffff_ffff_f000n, FIXED, 0n, 'ENOMEM', 'a length beyond user space'],
    [0x7fff_ffff_f000n, 0x1_0000n, FIXED, 0n, 'ENOMEM', 'a range that leaves user space'],
    [0x7fff_ffff_f800n, 0x1_0000n, FIXED, 0n, 'ENOMEM', 'the same, looked at before the alignment'],
    [AT + 0x800n, 0x1000n, FIXED, 0n, 'EINVAL', 'a fixed address inside a page'],
    [AT, 0x1000n, MAP_ANONYMOUS | MAP_FIXED, 0n, 'EINVAL', 'neither private nor shared'],
    [
      AT,
      0x1000n,
      MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_FIXED,
      0n,
      'EINVAL',
      'validated sharing of no file',
    ],
    [AT, 0x1000n, SHARED | MAP_FIXED | MAP_GROWSDOWN, 0n, 'EINVAL', 'a shared stack'],
    [AT, 0x1000n, MAP_DROPPABLE | MAP_ANONYMOUS | MAP_LOCKED, 0n, 'EINVAL', 'droppable locked memory'],
    [AT, 0x1000n, MAP_DROPPABLE | MAP_ANONYMOUS | MAP_GROWSDOWN, 0n, 'EINVAL', 'a droppable stack'],
  ])('0x%x + 0x%x, flags 0x%x, offset 0x%x: %s, %s', (address, length, flags, offset, errno) => {
    const world = vmaWorld();
    expect(call(world, address, length, RW, flags, offset)).toBe(errno);
    expect(ranges(world.mm)).toEqual([]);
  });

  it('a mapping more than vm.max_map_count allows, and one after that', () => {
    const world = vmaWorld({ maxMapCount: 2 });
    // The check is made with the count before: one more than the limit exists in the end (do_mmap).
    for (const i of [0, 2, 4]) expect(map(world, PAGE + i, 1)).toBe(AT + BigInt(i) * 0x1000n);
    expect(call(world, AT + 0x6000n, 0x1000n, RW, FIXED)).toBe('ENOMEM');
    expect(call(world, AT + 0x800n, 0x1000n, RW, FIXED)).toBe('ENOMEM');
  });

  it('addresses below mmap_min_addr without CAP_SYS_RAWIO; a hint there is raised', () => {
    const without = vmaWorld({}, [CAP_SYS_RAWIO]);
    expect(call(without, 0xf000n, 0x1000n, RW, FIXED)).toBe('EPERM');
    expect(call(without, 0x1000n, 0x1000n, RW, PRIVATE)).toBe('0x10000');
    expect(call(vmaWorld(), 0xf000n, 0x1000n, RW, FIXED)).toBe('0xf000');
  });

  it('to lock more than RLIMIT_MEMLOCK: EAGAIN, EPERM when the limit is 0; root may', () => {
    const flags = FIXED | MAP_LOCKED;
    const world = vmaWorld({}, [CAP_IPC_LOCK]);
    world.task.rlimits = { ...world.task.rlimits, memlock: { soft: 0x1000, hard: 0x1000 } };
    expect(call(world, AT, 0x2000n, RW, flags)).toBe('EAGAIN');
    world.task.rlimits = { ...world.task.rlimits, memlock: { soft: 0, hard: 0 } };
    expect(call(world, AT, 0x1000n, RW, flags)).toBe('EPERM');
  });

  it('a fixed place that is taken, if it must not replace', () => {
    const world = vmaWorld();
    map(world, PAGE + 4, 1);
    const flags = PRIVATE | MAP_FIXED_NOREPLACE;
    expect(call(world, AT + 0x4000n, 0x1000n, RW, flags)).toBe('EEXIST');
    expect(call(world, AT + 0x3000n, 0x2000n, RW, flags)).toBe('EEXIST');
    expect(call(world, AT + 0x5000n, 0x1000n, RW, flags)).toBe(`0x${(AT + 0x5000n).toString(16)}`);
  });
});

describe('mmap and the limits of a process', () => {
  it('splits what a refused MAP_FIXED would have replaced, and leaves it [d060]', () => {
    const world = vmaWorld();
    map(world, PAGE, 4);
    world.task.rlimits = { ...world.task.rlimits, addressSpace: { soft: 0x1000, hard: Infinity } };
    expect(call(world, AT, 0x1000n, PROT_READ, FIXED)).toBe('ENOMEM');
    expect(ranges(world.mm)).toEqual([
      [PAGE, PAGE + 1],
      [PAGE + 1, PAGE + 4],
    ]);
    expect([...world.mm.vmas].every((vma) => !vma.detached)).toBe(true);
    expect(world.mm.mapCount).toBe(2);
  });

  it.each([
    ['private writable memory', RW, FIXED, 'ENOMEM'],
    ['private read-only memory', PROT_READ, FIXED, '0x100000000000'],
    ['shared writable memory', RW, SHARED | MAP_FIXED, '0x100000000000'],
    ['a stack', RW, FIXED | MAP_GROWSDOWN, '0x100000000000'],
  ])('counts %s against RLIMIT_DATA or not [d064]', (_what, prot, flags, expected) => {
    const world = vmaWorld();
    world.task.rlimits = { ...world.task.rlimits, data: { soft: 0x1000, hard: Infinity } };
    expect(call(world, AT, 0x2000n, prot, flags)).toBe(expected);
  });

  it('refuses more private writable memory than there is, unless nothing is reserved', () => {
    const world = vmaWorld();
    expect(call(world, AT, 32n << 20n, RW, FIXED)).toBe('ENOMEM');
    expect(call(world, AT, 32n << 20n, RW, FIXED | MAP_NORESERVE)).toBe('0x100000000000');
  });

  it('charges promised memory and gives the charge back', () => {
    const world = vmaWorld();
    map(world, PAGE, 8);
    expect(world.kernel.committedPages).toBe(8);
    map(world, PAGE + 2, 4);
    expect(world.kernel.committedPages).toBe(8);
    map(world, PAGE + 2, 4, PROT_READ);
    expect(world.kernel.committedPages).toBe(4);
    expect([world.mm.totalVm, world.mm.dataVm]).toEqual([8, 4]);
  });

  it('does not overcommit at all when told so', () => {
    const world = vmaWorld({ overcommitMemory: 2 });
    expect(call(world, AT, 7n << 20n, RW, FIXED)).toBe('0x100000000000');
    expect(call(world, AT * 2n, 7n << 20n, RW, FIXED | MAP_NORESERVE)).toBe('ENOMEM');
  });
});

describe('mmap places', () => {
  const top = MMAP_BASE_PAGE;

  it('the first mapping at the top, the next one below', () => {
    const world = vmaWorld();
    for (const prot of [RW, PROT_READ]) call(world, 0n, 0x2000n, prot, PRIVATE);
    expect(ranges(world.mm)).toEqual([
      [top - 4, top - 2],
      [top - 2, top],
    ]);
  });

  it.each([
    ['free', 0x100n, 0x1000n, 0x100n],
    ['free, inside a page: rounded down', 0x100n, 0x1800n, 0x100n],
  ])('at a hint that is %s', (_what, page, _offset, expected) => {
    const world = vmaWorld();
    expect(call(world, (page << 12n) + 0x7ffn, 0x1000n, RW, PRIVATE)).toBe(
      `0x${(expected << 12n).toString(16)}`,
    );
  });

  it('elsewhere when the hint is taken, or leaves user space', () => {
    const world = vmaWorld();
    map(world, PAGE, 2);
    expect(call(world, AT + 0x1000n, 0x1000n, RW, PRIVATE)).toBe(`0x${((top - 1) * 4096).toString(16)}`);
    const end = BigInt(TASK_SIZE_PAGES) << 12n;
    expect(call(world, end - 0x1000n, 0x2000n, PROT_READ, PRIVATE)).toBe(
      `0x${((top - 3) * 4096).toString(16)}`,
    );
  });

  it('nothing within 256 pages below a stack, but for MAP_FIXED [d070]', () => {
    const world = vmaWorld();
    map(world, PAGE + 1000, 2, RW, FIXED | MAP_GROWSDOWN);
    const hint = (page: number) => call(world, BigInt(PAGE + page) << 12n, 0x1000n, PROT_READ, PRIVATE);
    expect(hint(999)).toBe(`0x${((top - 1) * 4096).toString(16)}`);
    expect(hint(1000 - 256)).toBe(`0x${((top - 2) * 4096).toString(16)}`);
    expect(hint(1000 - 257)).toBe(`0x${((PAGE + 743) * 4096).toString(16)}`);
    expect(map(world, PAGE + 999, 1)).toBe(BigInt(PAGE + 999) << 12n);
  });

  it('keeps the guard gap of a stack at the top as well', () => {
    const world = vmaWorld();
    map(world, top - 2, 2, RW, FIXED | MAP_GROWSDOWN);
    expect(call(world, 0n, 0x3000n, RW, PRIVATE)).toBe(`0x${((top - 2 - 256 - 3) * 4096).toString(16)}`);
  });

  it('private multiples of 2 MiB aligned to them, shared ones not', () => {
    const world = vmaWorld();
    map(world, top - 1, 1, PROT_NONE);
    expect(BigInt(call(world, 0n, 2n << 20n, RW, PRIVATE)) % (2n << 20n)).toBe(0n);
    expect(call(world, 0n, 0x1000n, RW, PRIVATE)).toBe(`0x${((top - 2) * 4096).toString(16)}`);
    const other = vmaWorld();
    map(other, top - 1, 1, PROT_NONE);
    expect(call(other, 0n, 2n << 20n, RW, SHARED)).toBe(`0x${((top - 513) * 4096).toString(16)}`);
  });

  it('above a third of user space, upwards, when nothing is free below the base', () => {
    const world = vmaWorld();
    map(world, 1, top - 1, PROT_NONE, FIXED | MAP_NORESERVE);
    const found = Number(BigInt(call(world, 0n, 0x1000n, RW, PRIVATE)) >> 12n);
    expect(found).toBe(Math.floor(TASK_SIZE_PAGES / 3));
  });
});

describe('mmap gives', () => {
  it.each([
    ['private rw', RW, PRIVATE, 'rw-p', 'anon', 'rd wr mr mw me ac'],
    ['private r: nothing to account', PROT_READ, PRIVATE, 'r--p', 'anon', 'rd mr mw me'],
    ['PROT_NONE', PROT_NONE, PRIVATE, '---p', 'anon', 'mr mw me'],
    ['private wx', PROT_WRITE | PROT_EXEC, PRIVATE, '-wxp', 'anon', 'wr ex mr mw me ac'],
    ['unknown PROT bits: ignored', RW | 0x80, PRIVATE, 'rw-p', 'anon', 'rd wr mr mw me ac'],
    ['shared', RW, SHARED, 'rw-s', 'shmem', 'rd wr sh mr mw me ms'],
    ['shared, MAP_SYNC is ignored', RW, SHARED | MAP_SYNC, 'rw-s', 'shmem', 'rd wr sh mr mw me ms sf'],
    ['MAP_STACK: no huge pages', RW, PRIVATE | MAP_STACK, 'rw-p', 'anon', 'rd wr mr mw me ac nh'],
    ['MAP_NORESERVE', RW, PRIVATE | MAP_NORESERVE, 'rw-p', 'anon', 'rd wr mr mw me nr'],
    ['MAP_GROWSDOWN', RW, PRIVATE | MAP_GROWSDOWN, 'rw-p', 'anon', 'rd wr mr mw me gd ac'],
    ['MAP_DROPPABLE', RW, MAP_DROPPABLE | MAP_ANONYMOUS, 'rw-p', 'anon', 'rd wr mr mw me nr wf dd dp'],
  ])(
    '%s as %s, flags 0x%x: %s %s, VmFlags %s [d050, d074, d098]',
    (_what, prot, flags, permissions, kind, vmFlags) => {
      const world = vmaWorld();
      call(world, 0n, 0x1000n, prot, flags);
      expect(smapsEntries(world.mm)).toMatchObject([{ permissions, kind, vmFlags, offset: 0n, rss: 0 }]);
    },
  );

  it('each shared mapping an object of its own, whose parts join again', () => {
    const world = vmaWorld();
    map(world, PAGE, 2, RW, SHARED | MAP_FIXED);
    map(world, PAGE + 2, 2, RW, SHARED | MAP_FIXED);
    expect(ranges(world.mm)).toHaveLength(2);
    const [first, second] = [...world.mm.vmas];
    expect(first?.file?.mapping).not.toBe(second?.file?.mapping);
    expect(first?.file?.mapping.sizePages).toBe(2);
  });

  it('no huge page where none was set aside', () => {
    const world = vmaWorld();
    expect(call(world, AT, 0x20_0000n, RW, FIXED | MAP_HUGETLB)).toBe('ENOMEM');
    expect(world.mm.mapCount).toBe(0);
  });
});
