/**
 * get_user_pages and its `vmas`, first form: the VMAs are looked at when mmap_lock is free.
 *
 * What happened: up to Linux 6.4 get_user_pages could give the VMA of each page beside the page. A page came with a reference, a
 * VMA without: the pointer was good until the lock was let go, and nothing said so. VMAs come from a cache that hands the one
 * given back last out first (and since 6.15 at once, by type), so a pointer kept too long is one to freed memory, or to a VMA
 * of somebody else. Lorenzo Stoakes took the parameter away in 2023, before anybody was known to have been bitten.
 *
 * Here: a driver pins two pages of two mappings and looks what VMAs they are in; a thread unmaps the second one, and maps
 * something else.
 *
 * Source: Lorenzo Stoakes, "[PATCH v4 0/6] remove the vmas parameter from GUP APIs", 18 April 2023; merged for 6.5.
 * Switch: vmas-after-unlock. The driver lets mmap_lock go before it looks at the VMAs, not after.
 * Expected: a VMA is used after its lock is gone, or the driver believes one that has nothing to do with its page.
 *
 *   tablewalk explore examples/bugs/vmas-after-unlock.ts
 *   tablewalk explore examples/bugs/vmas-after-unlock.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'vmas[i] is looked at after mmap_lock was let go',
  kernelBugs: ['vmas-after-unlock'],
  cpus: 2,
  placement: { driver: 0, unmapper: 1 },
  programs: {
    *driver(u, share) {
      const start = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      const second = start + BigInt(PAGE);
      // Another protection makes the second page a VMA of its own.
      yield* u.must(u.mprotect(second, PAGE, 'r'));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(t.munmap(second, PAGE));
        }, 'unmapper'),
      );
      const pins = yield* u.legacyPinUserPages({ address: start, pages: 2 });
      yield* u.must(u.wait(thread));
      if (!pins.ok) return;
      for (const { address, reads } of pins.value.vmas) {
        const right =
          reads.start !== null && reads.end !== null && reads.start <= address && address < reads.end;
        if (!right) share.set('believed', `the VMA of ${address.toString(16)} is ${reads.name}`);
      }
    },
  },
  finally: {
    'the VMA of a page is one around it': (world) =>
      world.share.get('believed') === undefined || `${world.share.get('believed')}`,
  },
});
