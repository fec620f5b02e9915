/**
 * Another process collapses the pages of a file into a huge page, and takes the pte table out of the reader's target without any
 * lock of that address space. What the reader finds in a table that it still looks at may be memory-safe (RCU) and yet no
 * longer the process's memory: Rik van Riel's objection to RCU alone. A second look at the pmd answers it.
 * `tablewalk explore examples/questions/table-collapsed.ts --design v1`, or another design; n3 has no second look. The reader runs
 * where the target has run, so a flush of the target interrupts it: v2, with interrupts off, waits for ever.
 * @see Rik van Riel, 25 June 2026, "Re: [PATCH v2 2/3] mm/pagewalk: let folio_walk_start() run under the per-VMA lock"; Linux
 * mm/khugepaged.c, `retract_page_tables`, `collapse_file`
 */
import { defineScenario } from 'tablewalk';

const HUGE = 2 ** 21;
const MAPPING = 0x4000_0000n;
const OLD = 0x01dn;
const NEW = 0x0eeen;

export default defineScenario({
  title: 'a read while the pte table of a file mapping is taken away',
  cpus: 2,
  placement: { target: 0, reader: 0, collapser: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      const file = yield* u.must(u.memfdCreate('data'));
      yield* u.must(u.ftruncate(file, HUGE));
      const map = { address: MAPPING, bytes: HUGE, prot: 'rw', shared: true, fixed: true };
      yield* u.must(u.mmap({ ...map, fd: file }));
      yield* u.must(u.store(MAPPING, OLD));
      share.set('file', file);
      yield* share.wait('read');
    },
    *collapser(u, share) {
      const file = yield* u.must(u.pidfdGetfd(u.pidOf('target'), Number(yield* share.waitWord('file'))));
      const map = { address: MAPPING, bytes: HUGE, prot: 'rw', shared: true, fixed: true };
      yield* u.must(u.mmap({ ...map, fd: file }));
      yield* share.wait('opened');
      // EAGAIN while the reader has a reference to a small page.
      if (!(yield* u.madvise(MAPPING, HUGE, 'COLLAPSE')).ok) return;
      yield* u.must(u.store(MAPPING, NEW));
      share.set('changed', true);
    },
    *reader(u, share) {
      yield* share.wait('file');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      share.set('opened', true);
      const changed = share.get('changed') === true;
      const bytes = yield* u.must(u.procMemRead(mem, MAPPING, 8));
      const word = new DataView(bytes.buffer).getBigUint64(0, true);
      share.set('read', true);
      yield* u.check(word === OLD || word === NEW, `memory of nobody: 0x${word.toString(16)}`);
      yield* u.check(!changed || word === NEW, 'a read after the change gave what was there before');
    },
  },
});
