/**
 * Can the lockless walk of gup-fast be used in the tables of another process? The target gives a page back while it is read, and
 * the allocator hands the frame to a process that writes its own data into it. The walk takes a reference and looks at pmd
 * and pte again before it copies, as gup-fast does (v5); one that does neither (n3) copies a stranger's data.
 * `tablewalk explore examples/questions/page-reused.ts --design v5`; table-given-back.ts and table-collapsed.ts ask the same of tables.
 * @see David Hildenbrand and Rik van Riel, 26 June 2026, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock"; Linux mm/gup.c,
 * `gup_fast_pte_range`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const OWN = 0x0111n;
const FOREIGN = 0xbad_bad_badn;

export default defineScenario({
  title: 'a read of a page that is given back and becomes another process’s',
  cpus: 3,
  placement: { target: 0, stranger: 1, reader: 2 },
  timeline: false,
  programs: {
    *target(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, OWN));
      share.set('page', page);
      yield* share.wait('opened');
      yield* u.must(u.madvise(page, PAGE, 'DONTNEED'));
      share.set('given back', true);
    },
    *stranger(u, share) {
      const memory = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      // Its tables are there: what it takes next is a page.
      yield* u.must(u.store(memory, FOREIGN));
      yield* share.wait('given back');
      yield* u.must(u.store(memory + BigInt(PAGE), FOREIGN));
    },
    *reader(u, share) {
      const page = yield* share.waitWord('page');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      share.set('opened', true);
      const bytes = yield* u.must(u.procMemRead(mem, page, 8));
      return new DataView(bytes.buffer).getBigUint64(0, true);
    },
  },
  finally: {
    'the read gave the old value or zeros': (world) => [0n, OWN].includes(world.value('reader') as bigint),
  },
});
