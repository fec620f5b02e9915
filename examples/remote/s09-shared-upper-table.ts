/**
 * A reader holds the lock of one small mapping while its target unmaps everything else that the same upper tables lead to: a
 * neighbour below the same pte table, and a large one below the same pmd table. munmap frees a table only if the whole of
 * what it covers is unmapped, so the tables above the reader's mapping stay; those of the large one go.
 * @see Lorenzo Stoakes, 25 June 2026, "Re: [PATCH v2 2/3] mm/pagewalk: let folio_walk_start() run under the per-VMA lock"; Linux
 * mm/memory.c, `free_pgtables`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const SPAN = 2 ** 21;
/** The first page of what one pmd table covers. */
const KEPT = 0x4000_0000n;
const NEIGHBOUR = KEPT + BigInt(8 * PAGE);
const LARGE = KEPT + BigInt(SPAN);
const SPANS = 6;
const ROUNDS = 4;
const VALUE = 0x5afe_5afen;

export default defineScenario({
  title: 'S9: a read while the rest of what its page tables cover is unmapped',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      yield* u.must(u.mmap({ address: KEPT, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(KEPT, VALUE));
      share.set('mapped', true);
      for (let round = 1; round <= ROUNDS; round++) {
        // Other rights than the first mapping's, so that it stays one of its own.
        yield* u.must(
          u.mmap({ address: NEIGHBOUR, bytes: 4 * PAGE, prot: 'rwx', fixed: true, populate: true }),
        );
        yield* u.must(u.mmap({ address: LARGE, bytes: SPANS * SPAN, prot: 'rw', fixed: true }));
        for (let span = 0; span < SPANS; span++) yield* u.must(u.store(LARGE + BigInt(span * SPAN), 1n));
        share.set('filled', round);
        yield* share.wait('seen', (seen) => Number(seen) >= round);
        // One call, over holes as well: all but the page that is read.
        yield* u.must(u.munmap(KEPT + BigInt(PAGE), (SPANS + 1) * SPAN - PAGE));
        share.set('freed', round);
      }
      share.set('over', true);
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      let reads = 0;
      for (; share.get('over') !== true; reads++) {
        share.set('seen', Number(share.get('filled') ?? 0));
        const bytes = yield* u.must(u.procMemRead(mem, KEPT, 8));
        const word = new DataView(bytes.buffer).getBigUint64(0, true);
        yield* u.check(word === VALUE, `the read gave 0x${word.toString(16)}`);
      }
      return reads;
    },
  },
  always: {
    'the page that is read stays mapped': (world) =>
      world.share.get('mapped') !== true ||
      world.share.get('over') === true ||
      world.process('target')?.word(KEPT) === VALUE,
  },
  finally: {
    'of the rest nothing is mapped': (world) => world.process('target')?.vmas().length === 1,
    'the tables of the large mapping are freed': (world) => world.counter('page-tables') < 2 * SPANS,
  },
  report: (world) => [
    {
      heading: `Did the tables above the page survive? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: ['what', { title: 'count', align: 'right' }],
        rows: [
          ['calls of munmap for the rest of the tables', ROUNDS],
          ['reads of the page meanwhile, all with its value', Number(world.value('reader'))],
          [`page tables at the end; ${SPANS} more below the large mapping`, world.counter('page-tables')],
        ],
      },
      notes: Object.entries(world.remoteAccess.fallbacks).map(
        ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
      ),
    },
  ],
});
