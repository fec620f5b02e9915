/** A core dump and mmap_lock; and of which files the first page is looked at. */
import { describe, expect, it } from 'vitest';
import { type CoreDump, coreDump } from '../../../src/kernel/consumers/core-dump.ts';
import { fileWrite, memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { MAP_FIXED, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { Director } from '../support/director.ts';
import { BASE, PAGE, World } from '../support/world.ts';

describe('a core dump', () => {
  it('does not hold mmap_lock while a page is written out, and holds it over holes', () => {
    const director = new Director();
    const world = new World(1, director.policy);
    director.loop = world.system.loop;
    const task = world.process('dying');
    world.map(task, 0, 4, PROT_READ | PROT_WRITE);
    world.store(task, BASE + 3n * PAGE, [9]);
    const { mmapLock } = task.mm as MmStruct;
    let acquired = 0;
    let held = false;
    director.start(task, coreDump(task));
    while (task.pendingPoint()?.operation !== 'copy_from_user_page') {
      director.step(task);
      if (!held && mmapLock.isHeldBy(task)) acquired++;
      held = mmapLock.isHeldBy(task);
    }
    expect(mmapLock.isLocked()).toBe(false);
    // For the list of mappings, and once for the three holes and the page.
    expect(acquired).toBe(2);
    const dump = director.finish(task) as CoreDump;
    expect(dump.pages.map(({ page, bytes }) => [page, bytes[0]])).toEqual([[Number(BASE >> 12n) + 3, 9]]);
    expect(mmapLock.isLocked()).toBe(false);
  });

  it.each([
    ['that may be read', PROT_READ, 1],
    ['that may not', PROT_NONE, 0],
  ])('has the ELF header of an executable file in a mapping %s', (_name, prot, pages) => {
    const world = new World();
    const task = world.process('dying');
    const file = memfdCreate(world.kernel, 'program');
    world.run(task, fileWrite(task, file, 0, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46)));
    expect(file.mapping.executable).toBe(true);
    world.run(task, sysMmap(task, BASE, PAGE, prot, MAP_PRIVATE | MAP_FIXED, file, 0n));
    const dump = world.run(task, coreDump(task)) as CoreDump;
    expect([dump.segments.map(({ dumpPages }) => dumpPages), dump.pages.length]).toEqual([[pages], pages]);
  });
});
