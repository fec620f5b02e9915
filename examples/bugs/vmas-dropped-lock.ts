/**
 * get_user_pages and its `vmas`, third form: the caller does nothing wrong.
 *
 * What happened: a call that may drop mmap_lock (`locked` is not NULL) fills a slot of `vmas`, meets a page that must be waited
 * for, drops the lock, and goes on when the page is there. Slots of before the drop may be anything by then. So such calls were
 * refused `vmas`: by a BUG once, by is_valid_gup_args later. The check was all there was, and could go only with the parameter.
 *
 * Here: a driver pins two pages of another process, which serves faults of the second one by userfaultfd. While GUP waits for it
 * without the lock, a thread of the process may unmap the first page.
 *
 * Source: Lorenzo Stoakes, "[PATCH v4 0/6] remove the vmas parameter from GUP APIs", 18 April 2023; Linux v6.4 mm/gup.c,
 * is_valid_gup_args, __get_user_pages_locked.
 * Switch: vmas-dropped-lock. The check is left out, and the driver looks at what it was given.
 * Expected: a VMA is used after its lock is gone, or the driver believes one that has nothing to do with its page.
 *
 *   tablewalk explore examples/bugs/vmas-dropped-lock.ts
 *   tablewalk explore examples/bugs/vmas-dropped-lock.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'vmas of a call that drops mmap_lock: a slot of before the drop is looked at',
  kernelBugs: ['vmas-dropped-lock'],
  cpus: 3,
  placement: { server: 0, unmapper: 1, driver: 2 },
  programs: {
    *server(u, share) {
      const start = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      const second = start + BigInt(PAGE);
      yield* u.must(u.store(start, 1));
      const uffd = yield* u.must(u.userfaultfd());
      yield* u.must(uffd.register({ address: second, bytes: PAGE, missing: true }));
      yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* shared.wait('start');
          yield* t.must(t.munmap(start, PAGE));
        }, 'unmapper'),
      );
      share.set('start', start);
      yield* share.wait('started');
      // Whether anybody waits or not, the page is there now.
      yield* u.must(uffd.copy({ address: second, bytes: PAGE, from: new Uint8Array(PAGE) }));
    },
    *driver(u, share) {
      const address = yield* share.waitWord('start');
      share.set('started', true);
      const args = { pid: u.pidOf('server'), address, pages: 2, write: true, mayUnlock: true };
      const pins = yield* u.legacyPinUserPages(args);
      for (const { address: page, reads } of pins.ok ? pins.value.vmas : []) {
        const right = reads.start !== null && reads.end !== null && reads.start <= page && page < reads.end;
        if (!right) share.set('believed', `the VMA of ${page.toString(16)} is ${reads.name}`);
      }
    },
  },
  finally: {
    'the VMA of a page is one around it': (world) =>
      world.share.get('believed') === undefined || `${world.share.get('believed')}`,
  },
});
