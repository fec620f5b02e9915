/**
 * An mm that is gone when somebody wants to wake a writer in it (Linux 6.15).
 *
 * What happened: since 6.15 a VMA that is freed may become another process' VMA at once, while a fault that found it without a
 * lock still counts itself as a reader of it. The fault then sees whose it is and counts itself off; if it was the last one it
 * wakes a writer that waits for the readers, in the mm of that process. But once it was counted off nothing kept that mm: the
 * process could unmap its memory, exit, and free the mm before the wake-up. Found by Jann Horn in 2025.
 *
 * Here: a fault of one thread beside munmap of another, which then forks: the child gets the VMA that was freed, and exits.
 *
 * Source: commit 9bbffee67ffd ("mm: fix a UAF when vma->mm is freed after vma->vm_refcnt got dropped"), 2025, vma_start_read.
 * Switch: vma-refcount-put-mm. No reference on the other mm is taken before the VMA's count is given back.
 * Expected: what belongs to an mm is used when the mm is freed.
 *
 *   tablewalk explore examples/bugs/vma-refcount-put-mm.ts
 *   tablewalk explore examples/bugs/vma-refcount-put-mm.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'a fault counts itself off a VMA that has become a child’s, which exits',
  kernelBugs: ['vma-refcount-put-mm'],
  cpus: 2,
  placement: { parent: 0, child: 0, toucher: 1 },
  programs: {
    *parent(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.mmap({ bytes: PAGE, prot: 'r' }));
      const toucher = yield* u.must(
        u.cloneVm(function* (t, shared) {
          shared.set('ready', true);
          yield* t.attempt(t.load(page));
        }, 'toucher'),
      );
      yield* share.wait('ready');
      yield* u.must(u.munmap(page, PAGE));
      const child = yield* u.must(u.fork(function* () {}, 'child'));
      yield* u.must(u.wait(child));
      yield* u.must(u.wait(toucher));
    },
  },
});
