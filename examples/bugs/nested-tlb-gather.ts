/**
 * Two threads discard the same page, and one of them still reads it.
 *
 * What happened: until Linux 4.13 MADV_DONTNEED flushed TLBs for the entries that it had cleared itself, at its end. Since it
 * needs mmap_lock for reading only, two may run side by side: the first clears the entry, the second finds none, has nothing
 * to flush, and comes back to its program, whose CPU still has the page in its TLB. The page is not freed before the first
 * flushes, so nobody else’s data is seen; but what should read as zeros does not (and with MADV_FREE a write could be lost).
 * Since 4.14 an mm counts who is at it (tlb_flush_pending), and whoever ends while another is at it flushes all.
 *
 * Source: commit 99baac21e458 ("mm: fix MADV_[FREE|DONTNEED] TLB flush miss problem"), Minchan Kim, August 2017; mm/memory.c,
 * arch_tlb_finish_mmu, today mm/mmu_gather.c, tlb_finish_mmu.
 * Switch: nested-tlb-gather. The end of a gather does not look whether another is under way.
 * Expected: a translation outlives a flush that should have ended it, or the thread reads what it has discarded.
 *
 *   tablewalk explore examples/bugs/nested-tlb-gather.ts
 *   tablewalk explore examples/bugs/nested-tlb-gather.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'a gather that ends while another is under way does not flush: a discarded page is read',
  kernelBugs: ['nested-tlb-gather'],
  cpus: 2,
  placement: { first: 0, second: 1 },
  programs: {
    *first(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, 1));
      const second = yield* u.must(
        u.cloneVm(function* (t, shared) {
          // From here on its CPU has the page in its TLB.
          yield* t.must(t.load(page));
          shared.set('read', true);
          yield* t.must(t.madvise(page, PAGE, 'DONTNEED'));
          return yield* t.must(t.load(page));
        }, 'second'),
      );
      yield* share.wait('read');
      yield* u.must(u.madvise(page, PAGE, 'DONTNEED'));
      yield* u.must(u.wait(second));
    },
  },
  finally: {
    'who has discarded a page reads zeros': (world) =>
      world.value('second') === 0n || `it read ${world.value('second')}`,
  },
});
