/**
 * A reader walks a mapping of a file while another process collapses the file's small pages into a huge one. The collapse
 * takes the pte table out of the reader's target without any lock of that address space or of its VMAs. The small pages
 * are freed and become another process's, and the file changes through the huge page. A walk that takes the table's lock
 * finds the table gone and looks again, one without locks must look at the pmd again; who does neither (n3) goes on in a
 * detached table. For that the reader must be held up for long, as a virtual CPU may be: by default n3 gets away with it, and
 * `--design n3 --policy stalling --seeds 1-100` catches it.
 * @see Linux mm/khugepaged.c, `retract_page_tables`; mm/gup.c, `gup_fast_pte_range`; Rik van Riel, 25 June 2026, "Re: [PATCH v2 2/3]
 * mm/pagewalk: let folio_walk_start() run under the per-VMA lock"
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const HUGE = 2 ** 21;
const MAPPING = 0x4000_0000n;
const OLD = 0x01dn;
const NEW = 0x0eeen;
const FOREIGN = 0xbad_bad_badn;

type Seen = Record<'old' | 'new' | 'stale' | 'foreign', number>;

export default defineScenario({
  title: 'S3: a read while the pte table of a file mapping is taken away',
  cpus: 3,
  placement: { target: 0, reader: 0, collapser: 1, stranger: 2 },
  timeline: false,
  programs: {
    *target(u, share) {
      const file = yield* u.must(u.memfdCreate('data'));
      yield* u.must(u.ftruncate(file, HUGE));
      yield* u.must(
        u.mmap({ address: MAPPING, bytes: HUGE, prot: 'rw', shared: true, fixed: true, fd: file }),
      );
      for (let page = 0; page < 4; page++) yield* u.must(u.store(MAPPING + BigInt(page * PAGE), OLD));
      share.set('file', file);
      yield* share.wait('read');
    },
    *collapser(u, share) {
      const theirs = Number(yield* share.waitWord('file'));
      const file = yield* u.must(u.pidfdGetfd(u.pidOf('target'), theirs));
      yield* u.must(
        u.mmap({ address: MAPPING, bytes: HUGE, prot: 'rw', shared: true, fixed: true, fd: file }),
      );
      yield* u.must(u.load(MAPPING));
      yield* share.wait('reading');
      // EAGAIN while a reader has a reference to one of the small pages.
      for (let done = false; !done; ) done = (yield* u.madvise(MAPPING, HUGE, 'COLLAPSE')).ok;
      for (let page = 0; page < 4; page++) yield* u.must(u.store(MAPPING + BigInt(page * PAGE), NEW));
      share.set('changed', true);
    },
    *stranger(u, share) {
      const memory = yield* u.must(u.mmap({ bytes: 64 * PAGE, prot: 'rw' }));
      yield* share.wait('changed');
      for (let page = 0; page < 64; page++) yield* u.must(u.store(memory + BigInt(page * PAGE), FOREIGN));
      share.set('reused', true);
    },
    *reader(u, share) {
      const target = u.pidOf('target');
      yield* share.waitWord('file');
      const mem = yield* u.must(u.procMemOpen(target));
      const seen: Seen = { old: 0, new: 0, stale: 0, foreign: 0 };
      for (let rest = 3; rest > 0; rest -= share.get('reused') === true ? 1 : 0) {
        share.set('reading', true);
        const begunAfter = share.get('changed') === true;
        const bytes = yield* u.must(u.procMemRead(mem, MAPPING + BigInt(PAGE), 8));
        const word = new DataView(bytes.buffer).getBigUint64(0, true);
        if (word === NEW) seen.new++;
        else if (word !== OLD) seen.foreign++;
        else if (begunAfter) seen.stale++;
        else seen.old++;
      }
      share.set('read', true);
      return seen;
    },
  },
  finally: {
    'no read gave a page that is not the file any more': (world) =>
      (world.value('reader') as Seen).stale === 0,
    'no read gave memory of another process': (world) => (world.value('reader') as Seen).foreign === 0,
    'the target maps the huge page': (world) => {
      const page = world.process('target')?.pageAt(MAPPING);
      return page?.huge === true && page.frame % (HUGE / PAGE) === 0;
    },
    'the target sees what was written through it': (world) => world.process('target')?.word(MAPPING) === NEW,
  },
  report: (world) => {
    const seen = world.value('reader') as Seen;
    return [
      {
        heading: `What did reads find beside the collapse? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
        table: {
          columns: ['value', { title: 'reads', align: 'right' }],
          rows: [
            ['of the small page, before the file changed', seen.old],
            ['of the huge page', seen.new],
            ['of the small page, after that', seen.stale],
            ["a stranger's", seen.foreign],
          ],
        },
        notes: Object.entries(world.remoteAccess.fallbacks).map(
          ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
        ),
      },
    ];
  },
});
