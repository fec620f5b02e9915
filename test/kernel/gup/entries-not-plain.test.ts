/** What the slow path makes of entries that hold more than a page: protected by a userfaultfd, in swap. mm/gup.c. */
import { describe, expect, it } from 'vitest';
import { FOLL_FORCE, FOLL_WRITE, NO_PAGE } from '../../../src/kernel/gup/foll-flags.ts';
import { getDumpPage } from '../../../src/kernel/gup/get-dump-page.ts';
import { MADV_PAGEOUT } from '../../../src/kernel/mm/madvise/advice.ts';
import { PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { accessRemoteVm } from '../../../src/kernel/remote/access-remote-vm.ts';
import { advise } from '../mm/madvise/support.ts';
import { addressOf, BASE_PAGE, mmOf } from '../mm/process-world.ts';
import { swapOut, swapWorld } from '../mm/swap-world.ts';
import { bytesOf, RW, UffdWorld, WP } from '../mm/userfaultfd/uffd-world.ts';

describe('FOLL_FORCE and a page that a userfaultfd protects', () => {
  /** A page of its own in a mapping that is read-only now, registered for write protection; page 0 is protected. */
  function scene() {
    const world = new UffdWorld();
    const { owner, manager } = world;
    world.map(owner, 0, 2, RW);
    for (const page of [0, 1]) world.store(owner, page, 3);
    world.register(0, 2, WP);
    expect(world.protect(0, 1)).toBe(0);
    expect(world.run(owner, sysMprotect(owner, addressOf(0), bytesOf(2), PROT_READ))).toBe(0);
    const poke = (page: number) => {
      const bytes = Uint8Array.of(9);
      const flags = FOLL_FORCE | FOLL_WRITE;
      return world.run(manager, accessRemoteVm(manager, mmOf(owner), addressOf(page), bytes, 1, flags));
    };
    return { world, owner, poke };
  }

  it('does not write past the protection, and tells nobody, as nobody waits', () => {
    const { world, owner, poke } = scene();
    expect([poke(0), world.load(owner, 0), world.event()]).toEqual([0, 3, '-']);
    world.expectConsistent();
  });

  it('writes where the mapping is registered and the page not protected, or not any more', () => {
    const { world, owner, poke } = scene();
    expect([poke(1), world.load(owner, 1)]).toEqual([1, 9]);
    expect(world.protect(0, 1, 0n)).toBe(0);
    expect([poke(0), world.load(owner, 0)]).toEqual([1, 9]);
    world.expectConsistent();
  });
});

describe('FOLL_DUMP', () => {
  it('brings a page back from swap, and takes what was never touched for a hole', () => {
    const world = swapWorld();
    const task = world.process();
    world.map(task, 0, 3, RW);
    world.store(task, 0, 7);
    expect(swapOut(world, task, 0)).toBe(true);
    const { frames, machine } = world.kernel;
    const frame = world.run(task, getDumpPage(task, BASE_PAGE, { held: false }));
    expect(frame).toBeGreaterThanOrEqual(0);
    const byte = new Uint8Array(1);
    machine.memory.readBytes(frame, 0, byte);
    expect([byte[0], world.pte(task, 0).frame]).toEqual([7, frame]);
    frames.put(frame);
    expect(world.run(task, getDumpPage(task, BASE_PAGE + 1, { held: false }))).toBe(NO_PAGE);
    expect(world.page(task, 1)).toBe('-');
    expect(world.inconsistencies()).toEqual([]);
  });

  it('does so for several pages that are all in swap', () => {
    const world = swapWorld();
    const task = world.process();
    world.map(task, 0, 4, RW);
    for (let page = 0; page < 4; page++) world.store(task, page, 10 + page);
    expect(advise(world, task, 0, 4, MADV_PAGEOUT)).toBe('ok');
    expect(world.page(task, 3)).toMatch(/^S/);
    for (let page = 0; page < 4; page++) {
      const frame = world.run(task, getDumpPage(task, BASE_PAGE + page, { held: false }));
      expect(frame).toBe(world.pte(task, page).frame);
      world.kernel.frames.put(frame);
      expect(world.load(task, page)).toBe(10 + page);
    }
    expect(world.inconsistencies()).toEqual([]);
  });
});
