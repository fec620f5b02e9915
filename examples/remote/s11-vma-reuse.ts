/**
 * The memory of a VMA that was unmapped is used again at once, for a VMA of another process at the same address (the cache is
 * type-safe under RCU, no more). A reader that found the VMA in the target's tree and then takes a reference must see that
 * it is another's by now: it asks for vm_mm once it has the reference. Else it would lock a stranger's mapping, and
 * read the target's tables under it. `foreign mm` in the table says how often that was seen; the default run does not
 * come by, random runs seldom do.
 * @see Suren Baghdasaryan, "mm: make vma cache SLAB_TYPESAFE_BY_RCU", December 2024; Linux mm/mmap_lock.c, `vma_start_read`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const PLACE = 0x1000_0000n;
const ROUNDS = 10;
const OWN = 0x0111n;
const FOREIGN = 0xbad_bad_badn;

type Seen = Record<'own' | 'zero' | 'hole' | 'foreign', number>;

export default defineScenario({
  title: 'S11: the VMA that a reader has found becomes one of another process',
  cpus: 2,
  placement: { target: 0, stranger: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      for (let round = 1; round <= ROUNDS; round++) {
        yield* u.must(u.mmap({ address: PLACE, bytes: PAGE, prot: 'rw', fixed: true }));
        yield* u.must(u.store(PLACE, OWN));
        share.set('mapped', round);
        yield* share.wait('reads', (reads) => Number(reads) >= round);
        yield* u.must(u.munmap(PLACE, PAGE));
        share.set('unmapped', round);
        yield* share.wait('reused', (done) => Number(done) >= round);
      }
      share.set('over', true);
    },
    *stranger(u, share) {
      for (let round = 1; round <= ROUNDS; round++) {
        yield* share.wait('unmapped', (done) => Number(done) >= round);
        yield* u.must(u.mmap({ address: PLACE, bytes: PAGE, prot: 'rw', fixed: true }));
        yield* u.must(u.store(PLACE, FOREIGN));
        yield* u.must(u.munmap(PLACE, PAGE));
        share.set('reused', round);
      }
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      const seen: Seen = { own: 0, zero: 0, hole: 0, foreign: 0 };
      while (share.get('over') !== true) {
        share.set('reads', Number(share.get('mapped')));
        const result = yield* u.procMemRead(mem, PLACE, 8);
        if (!result.ok) {
          yield* u.check('errno' in result && result.errno === 'EIO', 'a read failed with another error');
          seen.hole++;
          continue;
        }
        const word = new DataView(result.value.buffer).getBigUint64(0, true);
        if (word === OWN) seen.own++;
        else if (word === 0n) seen.zero++;
        else seen.foreign++;
      }
      return seen;
    },
  },
  finally: {
    'no read gave memory of another process': (world) => (world.value('reader') as Seen).foreign === 0,
    'the stranger could unmap its own each time': (world) => world.share.get('reused') === ROUNDS,
  },
  report: (world) => {
    const { own, zero, hole, foreign } = world.value('reader') as Seen;
    const { reasons = {}, miss = 0 } = world.process('target')?.vmaLocks ?? {};
    return [
      {
        heading: `What did reads find? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
        table: {
          columns: ['reads', { title: 'count', align: 'right' }],
          rows: [
            ["the target's content", own],
            ['zeros, before it was written', zero],
            ['no mapping (EIO)', hole],
            ["the stranger's content", foreign],
          ],
        },
      },
      {
        heading: "Why was the VMA's lock not to be had?",
        table: {
          columns: ['reason', { title: 'times', align: 'right' }],
          rows: [
            ...Object.entries(reasons).filter(([reason]) => reason !== 'foreign mm' && reason !== 'detached'),
            ['detached: it had left the tree', miss],
            ['foreign mm', reasons['foreign mm'] ?? 0],
          ],
        },
      },
    ];
  },
});
