/** A process with transparent huge pages, and what the tests of them look at. */
import { expect } from 'vitest';
import type { KernelConfig } from '../../../../src/kernel/kernel.ts';
import { MADV_HUGEPAGE } from '../../../../src/kernel/mm/madvise/advice.ts';
import { MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { PmdKind } from '../../../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../../../src/kernel/mm/page-table-alloc.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { advise } from '../madvise/support.ts';
import { BASE_PAGE, mmOf, ProcessWorld, type ProcessWorldOptions } from '../process-world.ts';

export const RW = PROT_READ | PROT_WRITE;
/** Pages of a huge page. */
export const HUGE = 512;
/** The first page of the arena at a 2 MiB boundary. */
export const FIRST = 8;

export interface HugeScene {
  readonly world: ProcessWorld;
  readonly task: TaskStruct;
  /** Free frames before there was a process. */
  readonly freeAtStart: number;
}

export interface SceneOptions extends ProcessWorldOptions {
  /** Huge pages that the VMA has room for. */
  readonly count?: number;
  readonly advised?: boolean;
}

/** A VMA of `count` huge pages, with MADV_HUGEPAGE, nothing in it yet. */
export function hugeScene({ count = 1, advised = true, kernel, ...options }: SceneOptions = {}): HugeScene {
  const config: Partial<KernelConfig> = { perVmaLocks: true, lockdep: true, ...kernel };
  const world = new ProcessWorld({ memoryBytes: 0x200_0000, ...options, kernel: config });
  const freeAtStart = world.kernel.frames.freeFrames;
  const task = world.process();
  world.map(task, FIRST, count * HUGE, RW, MAP_PRIVATE);
  if (advised) expect(advise(world, task, FIRST, count * HUGE, MADV_HUGEPAGE)).toBe('ok');
  return { world, task, freeAtStart };
}

/** Every count and translation agrees, no lock order was broken, and live entries were changed as arm64 asks for. */
export function expectSound({ world }: HugeScene): void {
  expect(world.inconsistencies()).toEqual([]);
  expect(world.kernel.lockdep?.reports).toEqual([]);
  expect(world.system.breakBeforeMake?.violations ?? []).toEqual([]);
}

/** Exit gives everything back. */
export function expectNothingLeft(scene: HugeScene, ...tasks: readonly TaskStruct[]): void {
  const { world, task } = scene;
  for (const each of [task, ...tasks]) world.run(each, doExit(each, 0));
  const { frames } = world.kernel;
  expect(world.inconsistencies()).toEqual([]);
  expect(frames.deferredSplit.size).toBe(0);
  const active = new Set(world.kernel.activeMm.map(({ mm }) => mm));
  const roots = [...active].filter((mm) => mm !== null && mm.pgd >= 0).length;
  const hugeZero = frames.hugeZeroFrame === -1 ? 0 : HUGE;
  expect(frames.freeFrames).toBe(scene.freeAtStart - roots - hugeZero);
}

export function pmdKindAt({ world, task }: HugeScene, page: number): PmdKind {
  return world.kernel.pageTables.pmdKind(rootTable(mmOf(task)), BASE_PAGE + page);
}

/** First frame of the huge page that the pmd of `page` maps. */
export function hugeFrame(scene: HugeScene, page: number): number {
  expect(pmdKindAt(scene, page)).toBe(PmdKind.Huge);
  const { pageTables } = scene.world.kernel;
  return pageTables.frame(pageTables.lastLevel - 1);
}
