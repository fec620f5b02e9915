/**
 * get_user_pages and its `vmas`, second form: nothing is freed, and the lock is held.
 *
 * What happened: see vmas-after-unlock.ts. A driver that keeps the VMA of a page and takes mmap_lock again before it looks at it
 * is no better off. In between the mapping may have been split: the pointer is still one to a live VMA of the process, of which
 * every field may be read, but that one begins behind the page. What the driver checks then are somebody else’s rights.
 *
 * Here: a driver pins a page of a read-only mapping, and looks a moment later whether the page may be written. A thread makes the
 * other page of the mapping writable, which splits it.
 *
 * Source: Lorenzo Stoakes, "[PATCH v4 0/6] remove the vmas parameter from GUP APIs", 18 April 2023; merged for 6.5.
 * Switch: vmas-after-split. The driver believes the VMA that it was given before; otherwise it looks it up under the lock.
 * Expected: a VMA is used after the lock under which it was found, or the driver believes a page writable that is not.
 *
 *   tablewalk explore examples/bugs/vmas-after-split.ts
 *   tablewalk explore examples/bugs/vmas-after-split.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const VM_WRITE = 2;

export default defineScenario({
  title: 'vmas[i] is looked at under a later hold of mmap_lock: a split has given the page to another VMA',
  kernelBugs: ['vmas-after-split'],
  cpus: 2,
  placement: { driver: 0, protector: 1 },
  programs: {
    *driver(u, share) {
      const start = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'r' }));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(t.mprotect(start + BigInt(PAGE), PAGE, 'rw'));
        }, 'protector'),
      );
      const pins = yield* u.must(u.legacyPinUserPages({ address: start, pages: 1 }));
      const vma = yield* u.must(u.legacyVmaAgain(pins.fd, 0));
      share.set('believed writable', (vma.flags & VM_WRITE) !== 0);
      yield* u.must(u.wait(thread));
    },
  },
  finally: {
    'a page that may not be written is not believed to be': (world) =>
      world.share.get('believed writable') === false || 'the driver believes the page writable',
  },
});
