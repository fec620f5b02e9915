/** Which lock each advice takes. @see Linux mm/madvise.c, `get_lock_mode`, `is_vma_lock_sufficient` */
import { describe, expect, it } from 'vitest';
import * as advices from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { VM_UFFD_MISSING } from '../../../../src/kernel/mm/vma-flags.ts';
import { pokeVma } from '../poke-vma.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from '../process-world.ts';
import { answer, bytes, traced } from './support.ts';

const RW = PROT_READ | PROT_WRITE;

const WRITE = ['down_write', 'up_write'];
const READ = ['down_read', 'up_read'];
const VMA = ['vma_start_read', 'vma_end_read'];

interface Setting {
  readonly shared?: boolean;
  readonly guardFlag?: boolean;
  readonly vmaLocks?: boolean;
  /** Pages of the call; the mapping has 4, the first of which was written. */
  readonly pages?: number;
  readonly touched?: boolean;
  readonly registered?: boolean;
}

/** What was done with mmap_lock and with the VMA's lock, in order, each operation named once in a row. */
function locksOf(advice: number, setting: Setting = {}): string[] {
  const { shared = false, guardFlag = true, vmaLocks = true, pages = 2, touched = true } = setting;
  const kernel = { maybeGuardFlag: guardFlag, perVmaLocks: vmaLocks };
  const world = new ProcessWorld({ kernel });
  const task = world.process();
  world.map(task, 0, 4, RW, shared ? MAP_SHARED : MAP_PRIVATE);
  if (touched) world.store(task, 0, 1);
  const mm = mmOf(task);
  const vma = mm.vmas.lookup(BASE_PAGE);
  if (vma === null) throw new Error('the arena is mapped');
  if (setting.registered === true) {
    pokeVma(vma, (area) => {
      area.flags |= VM_UFFD_MISSING;
    });
  }
  const log: string[] = [];
  const call = sysMadvise(task, addressOf(0), bytes(pages), advice);
  world.run(
    task,
    traced(call, log, (object) => object === mm.mmapLock || object === vma),
  );
  const locking = log.filter((operation) => /^(down|up)_|^vma_(start|end)_read$/.test(operation));
  return locking.filter((operation, at) => operation !== locking[at - 1]);
}

const flagAdvices = [
  'NORMAL',
  'RANDOM',
  'SEQUENTIAL',
  'DONTFORK',
  'DOFORK',
  'WIPEONFORK',
  'KEEPONFORK',
  'DONTDUMP',
  'DODUMP',
  'MERGEABLE',
  'UNMERGEABLE',
  'HUGEPAGE',
  'NOHUGEPAGE',
];
const numberOf = (name: string): number =>
  (advices as unknown as Readonly<Record<string, number>>)[`MADV_${name}`] as number;

describe('madvise takes', () => {
  it.each(flagAdvices)('mmap_lock for writing for MADV_%s', (name) => {
    expect(locksOf(numberOf(name))).toEqual(WRITE);
  });

  it.each(['WILLNEED', 'COLD', 'PAGEOUT', 'POPULATE_READ', 'POPULATE_WRITE'])(
    'mmap_lock for reading for MADV_%s',
    (name) => {
      expect(locksOf(numberOf(name))).toEqual(READ);
    },
  );

  it('mmap_lock for reading for MADV_REMOVE, and lets it go while the hole is punched', () => {
    expect(locksOf(advices.MADV_REMOVE, { shared: true })).toEqual([...READ, ...READ]);
  });

  it.each(['DONTNEED', 'DONTNEED_LOCKED', 'FREE', 'GUARD_INSTALL', 'GUARD_REMOVE'])(
    "only the VMA's read lock for MADV_%s inside one VMA",
    (name) => {
      const log = locksOf(numberOf(name));
      expect([log[0], log.at(-1)]).toEqual(VMA);
      expect(log.some((operation) => operation.startsWith('down'))).toBe(false);
    },
  );

  it.each([
    ['the range goes beyond the VMA', advices.MADV_DONTNEED, { pages: 5 }, [...VMA, ...READ]],
    [
      'the VMA is registered with userfaultfd',
      advices.MADV_DONTNEED,
      { registered: true },
      [...VMA, ...READ],
    ],
    ['guards need an anon_vma first', advices.MADV_GUARD_INSTALL, { touched: false }, [...VMA, ...READ]],
    ['the kernel has no VMA locks', advices.MADV_DONTNEED, { vmaLocks: false }, READ],
    ['the kernel has no flag for guards', advices.MADV_GUARD_INSTALL, { guardFlag: false }, READ],
    ['the kernel has no flag for guards', advices.MADV_GUARD_REMOVE, { guardFlag: false }, READ],
  ] as const)('mmap_lock for reading where %s', (_why, advice, setting, expected) => {
    expect(locksOf(advice, setting)).toEqual(expected);
  });

  it('guards of a file need no anon_vma, so that the lock of the VMA does', () => {
    const log = locksOf(advices.MADV_GUARD_INSTALL, { shared: true, touched: false });
    expect(log.some((operation) => operation.startsWith('down'))).toBe(false);
  });

  it("no VMA's lock while somebody waits to write it: mmap_lock instead", () => {
    const world = new ProcessWorld({ kernel: { perVmaLocks: true } });
    const task = world.process();
    world.map(task, 0, 2, RW);
    world.store(task, 0, 1);
    const mm = mmOf(task);
    const vma = mm.vmas.lookup(BASE_PAGE);
    if (vma === null) throw new Error('the arena is mapped');
    vma.vmLockSeq = mm.mmLockSeq;
    const log: string[] = [];
    const call = sysMadvise(task, addressOf(0), bytes(1), advices.MADV_DONTNEED);
    const result = world.run(
      task,
      traced(call, log, (object) => object === mm.mmapLock),
    );
    expect([answer(result), log]).toEqual(['ok', READ]);
  });
});
