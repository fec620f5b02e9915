/**
 * A reader beside MADV_DONTNEED: the target gives a page back, and the allocator hands the very frame to a process that
 * fills it with its own data. Whoever reads takes a reference to the page while the entry is locked, or looks at the entry
 * again afterwards, and copies only then: so a read gives the old content or zeros. A walk that does neither (n3) reads
 * the stranger's data, where it is held up for long between entry and copy: `--design n3 --policy stalling --seeds 1-50`.
 * @see Linux mm/madvise.c, `madvise_dontneed_single_vma`; mm/pagewalk.c, `folio_walk_start`; mm/gup.c, `gup_fast_pte_range`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const ROUNDS = 8;
const OWN = 0x0111n;
const FOREIGN = 0xbad_bad_badn;

type Seen = Record<'own' | 'zero' | 'foreign', number>;

export default defineScenario({
  title: 'S5: a read of a page that is given back and becomes another process’s',
  cpus: 3,
  placement: { target: 0, stranger: 1, reader: 2 },
  timeline: false,
  programs: {
    *target(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, OWN));
      share.set('page', page);
      for (let round = 1; round <= ROUNDS; round++) {
        yield* share.wait('reads', (reads) => Number(reads) >= 2 * round);
        yield* u.compute(11 * round);
        yield* u.must(u.madvise(page, PAGE, 'DONTNEED'));
        share.set('given back', round);
        yield* share.wait('reused', (done) => Number(done) >= round);
        yield* u.must(u.store(page, OWN));
      }
      share.set('over', true);
    },
    *stranger(u, share) {
      const memory = yield* u.must(u.mmap({ bytes: ROUNDS * PAGE, prot: 'rw' }));
      // Its tables are there: what it takes next is a page.
      yield* u.must(u.load(memory));
      for (let round = 1; round <= ROUNDS; round++) {
        yield* share.wait('given back', (done) => Number(done) >= round);
        yield* u.must(u.store(memory + BigInt((round - 1) * PAGE), FOREIGN));
        share.set('reused', round);
      }
    },
    *reader(u, share) {
      const page = yield* share.waitWord('page');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      const seen: Seen = { own: 0, zero: 0, foreign: 0 };
      for (let reads = 1; share.get('over') !== true; reads++) {
        share.set('reads', reads);
        const bytes = yield* u.must(u.procMemRead(mem, page, 8));
        const word = new DataView(bytes.buffer).getBigUint64(0, true);
        if (word === OWN) seen.own++;
        else if (word === 0n) seen.zero++;
        else seen.foreign++;
      }
      return seen;
    },
  },
  finally: {
    'no read gave memory of another process': (world) => (world.value('reader') as Seen).foreign === 0,
    'the stranger still has its own data': (world) => world.share.get('reused') === ROUNDS,
  },
  report: (world) => {
    const { own, zero, foreign } = world.value('reader') as Seen;
    return [
      {
        heading: `What did reads find? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
        table: {
          columns: ['content', { title: 'reads', align: 'right' }],
          rows: [
            ["the target's", own],
            ['zeros, after MADV_DONTNEED', zero],
            ["the stranger's", foreign],
          ],
        },
        notes: Object.entries(world.remoteAccess.fallbacks).map(
          ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
        ),
      },
    ];
  },
});
