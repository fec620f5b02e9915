/**
 * A copy on write that other CPUs can write to while one still reads the old page.
 *
 * What happened: up to Linux 2.6.18 the fault that copies a page wrote the new entry over the old one and flushed TLBs then. For
 * a moment two CPUs of one process saw two pages at one address: what one wrote to the copy the other did not find in the page
 * that its TLB still had. It was noticed with code that is changed while another thread runs it. Since then the entry is cleared
 * and flushed first, and only then shows the copy.
 *
 * Here: three threads share a page that is the zero page so far. The first one writes to it, and its fault copies; the second
 * writes to the copy; the third has read the page before, and reads it again when the second says that it has written.
 *
 * Source: Suresh Siddha, "mm: fix a race condition under SMC + COW", September 2006 (2.6.19); mm/memory.c, do_wp_page, today
 * wp_page_copy, by ptep_clear_flush.
 * Switch: wp-page-copy-late-flush. The flush comes after the new entry.
 * Expected: an entry is replaced while TLBs have the old one, or the third thread does not read what was written.
 *
 *   tablewalk explore examples/bugs/wp-page-copy-late-flush.ts
 *   tablewalk explore examples/bugs/wp-page-copy-late-flush.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'a copy on write is mapped before the old page is flushed: a write is not seen',
  kernelBugs: ['wp-page-copy-late-flush'],
  cpus: 3,
  placement: { first: 0, second: 1, third: 2 },
  programs: {
    *first(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* shared.wait('read');
          yield* t.must(t.store(page + 8n, 1));
          shared.set('written', true);
        }, 'second'),
      );
      const third = yield* u.must(
        u.cloneVm(function* (t, shared) {
          // From here on its CPU has the zero page in its TLB.
          yield* t.must(t.load(page));
          shared.set('read', true);
          yield* shared.wait('written');
          return yield* t.must(t.load(page + 8n));
        }, 'third'),
      );
      yield* share.wait('read');
      yield* u.must(u.store(page, 1));
      yield* u.must(u.wait(third));
    },
  },
  finally: {
    'what one thread has written the others read': (world) =>
      world.value('third') === 1n || `the third thread read ${world.value('third')}`,
  },
});
