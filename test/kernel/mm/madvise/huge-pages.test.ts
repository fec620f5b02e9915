/** Advices for huge pages. @see Linux mm/huge_memory.c, `madvise_free_huge_pmd` */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_GUARD_INSTALL,
  MADV_HUGEPAGE,
} from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMincore } from '../../../../src/kernel/mm/mincore.ts';
import { sysMlock } from '../../../../src/kernel/mm/mlock.ts';
import { MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { rootTable } from '../../../../src/kernel/mm/page-table-alloc.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from '../process-world.ts';
import { advise, bytes, pages } from './support.ts';

/** The first page of the arena at a 2 MiB boundary. */
const HUGE = 8;
const RW = PROT_READ | PROT_WRITE;

/** One huge page, written. */
function scene() {
  const world = new ProcessWorld({ kernel: { perVmaLocks: true }, memoryBytes: 0x200_0000 });
  const task = world.process();
  world.map(task, HUGE, 512, RW, MAP_PRIVATE);
  advise(world, task, HUGE, 512, MADV_HUGEPAGE);
  world.store(task, HUGE, 7);
  expect(pages(task)).toEqual(['8+512 PXH']);
  const { pageTables } = world.kernel;
  pageTables.pmdKind(rootTable(mmOf(task)), BASE_PAGE + HUGE);
  return { world, task, head: pageTables.frame(pageTables.lastLevel - 1) };
}

function pmdFlags({ world, task }: Pick<ReturnType<typeof scene>, 'world' | 'task'>): number {
  const { pageTables } = world.kernel;
  pageTables.pmdKind(rootTable(mmOf(task)), BASE_PAGE + HUGE);
  return pageTables.flags(pageTables.lastLevel - 1);
}

describe('a huge page', () => {
  it('is freed lazily as a whole by MADV_FREE of all of it', () => {
    const all = scene();
    const { world, task, head } = all;
    expect(advise(world, task, HUGE, 512, MADV_FREE)).toBe('ok');
    expect(pages(task)).toEqual(['8+512 PXH']);
    expect(world.kernel.frames.hasFlag(head, FrameFlag.SwapBacked)).toBe(false);
    expect(pmdFlags(all) & (EntryFlag.Dirty | EntryFlag.Young)).toBe(0);
    expect(world.load(task, HUGE)).toBe(7);
  });

  it('that another process maps too is left alone by MADV_FREE, whole or in part', () => {
    const all = scene();
    const { world, task, head } = all;
    world.fork(task);
    for (const count of [512, 2]) expect(advise(world, task, HUGE, count, MADV_FREE)).toBe('ok');
    expect(world.kernel.frames.hasFlag(head, FrameFlag.SwapBacked)).toBe(true);
    expect(pmdFlags(all) & EntryFlag.Huge).not.toBe(0);
  });

  it('becomes old, and nothing else, by MADV_COLD', () => {
    const all = scene();
    expect(pmdFlags(all) & EntryFlag.Young).not.toBe(0);
    expect(advise(all.world, all.task, HUGE, 512, MADV_COLD)).toBe('ok');
    expect(pmdFlags(all) & (EntryFlag.Young | EntryFlag.Dirty)).toBe(EntryFlag.Dirty);
  });

  it.each([
    ['DONTNEED', MADV_DONTNEED, ['10+510 PXH']],
    ['GUARD_INSTALL', MADV_GUARD_INSTALL, ['8+2 SG', '10+510 PXH']],
  ] as const)('loses only the pages that MADV_%s names', (_name, advice, expected) => {
    const { world, task } = scene();
    expect(advise(world, task, HUGE, 2, advice)).toBe('ok');
    expect(pages(task)).toEqual(expected);
  });

  it('is resident to mincore on every page, and stays one when it is locked', () => {
    const { world, task } = scene();
    const vector = new Uint8Array(512);
    expect(world.run(task, sysMincore(task, addressOf(HUGE), bytes(512), vector))).toBe(0);
    expect(vector.every((byte) => byte === 1)).toBe(true);
    expect(world.run(task, sysMlock(task, addressOf(HUGE), bytes(512)))).toBe(0);
    expect(pages(task)).toEqual(['8+512 PXH']);
  });
});
