/** A page on its way to another frame: what others see of it meanwhile, and where it is afterwards. @see Linux mm/migrate.c */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import type { Task } from '../../../src/base/task.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { folioLock, folioSetLocked, folioUnlock } from '../../../src/kernel/mm/fault/folio-lock.ts';
import { sysMincore } from '../../../src/kernel/mm/mincore.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { pageRuns } from '../../../src/kernel/mm/pagemap.ts';
import { folioAddLru } from '../../../src/kernel/mm/reclaim/lru.ts';
import { TlbFlushBatch } from '../../../src/kernel/mm/reclaim/tlb-batch.ts';
import { removeMigrationPtes } from '../../../src/kernel/mm/remove-migration-ptes.ts';
import { tryToMigrate } from '../../../src/kernel/mm/try-to-migrate.ts';
import { copyHighpage } from '../../../src/kernel/mm/user-highpage.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { userLoad } from '../../../src/userland/calls/access.ts';
import { bytes } from './madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const PAGE = 3;

class Migration {
  readonly world = new ProcessWorld({ cpus: 2, kernel: { lockdep: true, perVmaLocks: true } });
  readonly task = this.world.process();
  readonly mover = this.world.process('mover', 1);
  readonly from: number;

  constructor() {
    this.world.map(this.task, 0, 8, RW);
    this.world.store(this.task, PAGE, 42);
    this.from = this.world.pte(this.task, PAGE).frame;
  }

  /** Every pte of the page is a migration entry; the page is locked. */
  begin(): void {
    const { mover, from } = this;
    const { frames } = this.world.kernel;
    frames.get(from);
    function* body(): Task<void> {
      yield* folioLock(mover, from);
      const batch = new TlbFlushBatch();
      yield* tryToMigrate(mover, from, batch);
      yield* batch.flush(mover);
    }
    this.world.run(mover, body());
  }

  /** To a new frame, with everything that belongs to the page. */
  *finish(): Task<number> {
    const { mover, from } = this;
    const { kernel } = this.world;
    const { frames } = kernel;
    const to = frames.allocate();
    folioSetLocked(mover, to);
    copyHighpage(kernel, from, to);
    frames.setFlags(to, frames.flags(from) & ~(FrameFlag.Lru | FrameFlag.Tagged));
    frames.setMapping(to, frames.mapping(from), frames.index(from));
    folioAddLru(frames, to);
    yield* removeMigrationPtes(mover, from, to);
    yield* folioUnlock(mover, to);
    yield* folioUnlock(mover, from);
    frames.put(to);
    frames.put(from);
    return to;
  }

  runs(task: TaskStruct): string[] {
    return pageRuns(mmOf(task), BASE_PAGE, BASE_PAGE + 8).map(({ flags }) => flags);
  }

  expectSound(): void {
    expect(this.world.inconsistencies()).toEqual([]);
    expect(this.world.kernel.lockdep?.reports).toEqual([]);
  }
}

describe('while a page is moved', () => {
  it('its pte says swap to pagemap, is in memory for mincore, and counts as resident; then it is back, elsewhere', () => {
    const scene = new Migration();
    const { world, task, from } = scene;
    scene.begin();
    expect(world.kernel.frames.mapcount(from)).toBe(0);
    expect(world.kernel.frames.refcount(from)).toBe(1);
    expect(scene.runs(task)).toEqual(['S']);
    expect(mmOf(task).residentPages).toBe(1);
    const vector = new Uint8Array(8);
    expect(world.run(task, sysMincore(task, addressOf(0), bytes(8), vector))).toBe(0);
    expect([...vector]).toEqual([0, 0, 0, 1, 0, 0, 0, 0]);
    const to = world.run(scene.mover, scene.finish());
    expect(world.pte(task, PAGE).frame).toBe(to);
    expect(world.page(task, PAGE)).toBe('Xwd');
    expect(world.load(task, PAGE)).toBe(42);
    expect(world.kernel.frames.refcount(from)).toBe(0);
    scene.expectSound();
  });

  it('a fault waits until it is over', () => {
    const scene = new Migration();
    const { world, task, mover } = scene;
    scene.begin();
    const byte = new Uint8Array(1);
    world.system.loop.start(task, userLoad(task, addressOf(PAGE), byte));
    world.system.loop.run();
    expect(byte[0]).toBe(0);
    world.system.loop.start(mover, scene.finish());
    expect(world.system.loop.run().kind).toBe('finished');
    expect(byte[0]).toBe(42);
    scene.expectSound();
  });

  it('fork shares it: exclusive and writable in neither', () => {
    const scene = new Migration();
    const { world, task } = scene;
    scene.begin();
    const child = world.fork(task);
    world.run(scene.mover, scene.finish());
    for (const each of [task, child]) expect(world.page(each, PAGE)).toMatch(/^Ad2$/);
    world.store(child, PAGE, 7);
    expect([world.load(task, PAGE), world.load(child, PAGE)]).toEqual([42, 7]);
    scene.expectSound();
  });
});

describe('what changes while a page is moved', () => {
  it('mprotect takes the right to write, which the next write gets back without a copy', () => {
    const scene = new Migration();
    const { world, task } = scene;
    scene.begin();
    world.run(task, sysMprotect(task, addressOf(0), bytes(8), PROT_READ));
    world.run(task, sysMprotect(task, addressOf(0), bytes(8), RW));
    const to = world.run(scene.mover, scene.finish());
    expect(world.page(task, PAGE)).toBe('Xd');
    expect(world.store(task, PAGE, 7)).toBeNull();
    expect(world.pte(task, PAGE).frame).toBe(to);
    expect(world.pte(task, PAGE).flags & EntryFlag.Write).not.toBe(0);
    scene.expectSound();
  });

  it.each([
    ['munmap', (task: TaskStruct): Task<unknown> => sysMunmap(task, addressOf(0), bytes(8))],
    ['exit', (task: TaskStruct): Task<unknown> => doExit(task, 0)],
  ])('%s takes its entry away, and the page goes when the move is over', (_, leave) => {
    const scene = new Migration();
    const { world, task, from } = scene;
    scene.begin();
    world.run(task, leave(task));
    const to = world.run(scene.mover, scene.finish());
    expect([from, to].map((frame) => world.kernel.frames.refcount(frame))).toEqual([0, 0]);
    scene.expectSound();
  });
});
