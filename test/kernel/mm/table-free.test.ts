/** Page tables that were taken out stay until nobody can be looking at them. */
import { beforeEach, describe, expect, it } from 'vitest';
import { PointKind, SchedPoint, SharedObject, type Task } from '../../../src/base/task.ts';
import { localIrqRestore, localIrqSave } from '../../../src/kernel/lock/irq.ts';
import { rcuReadLock, rcuReadUnlock } from '../../../src/kernel/lock/rcu.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { pteOffsetMapLock, pteUnmapUnlock, rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { userStore } from '../../../src/userland/calls/access.ts';
import { architectureName } from '../../support/architecture.ts';
import { Director } from '../support/director.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;
const inside = new SchedPoint(PointKind.Read, new SharedObject('walk'), 'walk');

let director: Director;
let world: ProcessWorld;
let walker: TaskStruct;
let unmapper: TaskStruct;

beforeEach(() => {
  director = new Director();
  world = new ProcessWorld({ cpus: 2, policy: director.policy });
  director.loop = world.system.loop;
  walker = world.process('walker', 0);
  unmapper = world.thread(walker, 'unmapper', 1);
  world.map(walker, 0, 4, RW);
  world.store(walker, 0, 1);
});

const tables = (): number => world.kernel.pageTables.count;
const munmap = (): Task<number> => sysMunmap(unmapper, addressOf(0), 0x4000n);

/** Finds the pte table without any lock, and looks at it again later. */
function* walk(enter: () => void, leave: () => void): Task<boolean> {
  const { pageTables } = world.kernel;
  enter();
  const table = pageTables.lookup(rootTable(mmOf(walker)), BASE_PAGE, pageTables.lastLevel);
  yield inside;
  const freed = table?.freed !== false;
  leave();
  return freed;
}

describe('a pte table that munmap takes out', () => {
  it('is freed at once when nobody looks', () => {
    const before = tables();
    world.run(unmapper, munmap());
    expect(tables()).toBe(before - 3);
    expect([mmOf(walker).pgtablesBytes, world.kernel.rcu.gracePeriods]).toEqual([0, 0]);
  });

  it.each([
    ['an RCU section', false, () => rcuReadLock(walker), () => rcuReadUnlock(walker)],
    ['a section with interrupts off', true, () => localIrqSave(walker), () => localIrqRestore(walker)],
  ] as const)('stays while somebody walks in %s', (_name, interruptsOff, enter, leave) => {
    const before = tables();
    director.start(walker, walk(enter, leave));
    director.until(walker, 'walk');
    director.start(unmapper, munmap());
    if (interruptsOff && architectureName === 'x86_64') {
      // The flush itself waits: that CPU takes no interrupt.
      director.until(unmapper, 'csd_lock_wait');
    } else {
      director.finish(unmapper);
      expect([unmapper.result, mmOf(walker).pgtablesBytes]).toEqual([0, 0]);
    }
    expect(tables()).toBe(before);
    expect(director.finish(walker)).toBe(false);
    director.runOn(unmapper);
    expect(tables()).toBe(before - 3);
    expect(world.inconsistencies()).toEqual([]);
  });

  it('is no table any more for whoever waits for its lock', () => {
    const path = function* (): Task<boolean> {
      const table = yield* pteOffsetMapLock(walker, mmOf(walker), BASE_PAGE);
      if (table !== null) yield* pteUnmapUnlock(walker, table);
      return table === null;
    };
    director.start(walker, path());
    director.until(walker, 'spin_lock');
    const before = tables();
    director.start(unmapper, munmap());
    director.finish(unmapper);
    expect(tables()).toBe(before);
    expect(director.finish(walker)).toBe(true);
    expect([walker.rcuReadDepth, tables()]).toEqual([0, before - 3]);
  });
});

describe('a fault that has found a pte table', () => {
  it('keeps it until it has its lock: the table is there, its entries are not', () => {
    const before = tables();
    director.start(walker, userStore(walker, addressOf(0), Uint8Array.of(2)));
    director.finish(walker);
    // A fault under mmap_lock or a VMA lock cannot lose its table to munmap; a collapse could take it. Here: the read.
    director.start(walker, userStore(walker, addressOf(1), Uint8Array.of(2)));
    director.until(walker, 'ptep_get');
    expect(walker.rcuReadDepth).toBe(1);
    director.finish(walker);
    expect([walker.rcuReadDepth, tables()]).toEqual([0, before]);
  });
});
