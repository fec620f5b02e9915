/**
 * An mm that is gone when somebody wants to wake a writer in it (Linux 6.15).
 *
 * What happened: since 6.15 a VMA that is freed may become another process' VMA at once, while a fault that found it without a
 * lock still counts itself as a reader of it. The fault then sees whose it is and counts itself off; if it was the last one it
 * wakes a writer that waits for the readers, in the mm of that process. But once it was counted off nothing kept that mm: the
 * process could unmap its memory, exit, and free the mm before the wake-up. Found by Jann Horn in 2025.
 *
 * Here: a fault of one thread beside munmap of another; a second process gets the VMA that was freed, changes it, and exits.
 *
 * Source: commit 9bbffee67ffd ("mm: fix a UAF when vma->mm is freed after vma->vm_refcnt got dropped"), 2025, vma_start_read.
 * Switch: vma-refcount-put-mm. No reference on the other mm is taken before the VMA's count is given back.
 * Expected: a VMA is given back whose mm nothing keeps (unpinned-mm); the harm, that the mm is used when it is freed, takes
 * four switches at the right moments.
 *
 *   tablewalk explore examples/bugs/vma-refcount-put-mm.ts
 *   tablewalk explore examples/bugs/vma-refcount-put-mm.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
/** Each of them waits until nobody reads the VMA. */
const CHANGES = ['DONTFORK', 'DOFORK', 'DONTFORK', 'DOFORK', 'DONTFORK', 'DOFORK', 'DONTFORK'] as const;

export default defineScenario({
  title: 'a fault counts itself off a VMA that has become another process’, which exits',
  kernelBugs: ['vma-refcount-put-mm'],
  cpus: 3,
  placement: { unmapper: 0, toucher: 1, other: 2, 'short-lived': 2 },
  programs: {
    *unmapper(u, share) {
      // Without rights: each access is a fault, and puts no page there.
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'none' }));
      yield* share.wait('child');
      const toucher = yield* u.must(
        u.cloneVm(function* (t, shared) {
          shared.set('ready', true);
          for (let times = 0; times < 8; times++) {
            const seen = yield* t.attempt(t.load(page));
            if (!seen.ok && 'code' in seen && seen.code === 'SEGV_MAPERR') break;
          }
        }, 'toucher'),
      );
      yield* share.wait('ready');
      yield* u.must(u.munmap(page, PAGE));
      share.set('unmapped', true);
      yield* u.must(u.wait(toucher));
    },
    *other(u) {
      const child = yield* u.must(
        u.fork(function* (c, shared) {
          shared.set('child', true);
          yield* shared.wait('unmapped');
          const at = yield* c.must(c.mmap({ bytes: PAGE, prot: 'rw' }));
          for (const advice of CHANGES) yield* c.must(c.madvise(at, PAGE, advice));
        }, 'short-lived'),
      );
      yield* u.must(u.wait(child));
    },
  },
});
