/**
 * A thread reads memory of its own process through /proc/self/mem, while another one stores to the page after a fork. The store
 * copies the page and, with the lock of the page table held, waits until each CPU that runs the process has flushed its TLB. V2
 * spins for that very lock with interrupts off, and so neither comes to its end. Run it with `--design v2 --policy random --seed N`;
 * `--lockdep` tells of it in every run. No other design has interrupts off where it waits; arm64 interrupts nobody for a flush.
 * @see Rik van Riel, "[PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock", 24 June 2026; Linux mm/memory.c, `wp_page_copy`;
 * kernel/smp.c, `smp_call_function_many_cond`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const ROUNDS = 12;

export default defineScenario({
  title: 'A thread reads memory of its own process beside a store that copies the page',
  cpus: 3,
  placement: { target: 0, reader: 1, child: 2 },
  timeline: false,
  programs: {
    *target(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, 0n));
      const self = u.pid;
      yield* u.must(
        u.cloneVm(function* (t, shared) {
          const mem = yield* t.must(t.procMemOpen(self));
          let reads = 0;
          while (shared.get('over') !== true) {
            yield* t.must(t.procMemRead(mem, page, 8));
            shared.set('reads', ++reads);
          }
        }, 'reader'),
      );
      for (let round = 1; round <= ROUNDS; round++) {
        yield* u.must(
          u.fork(function* (_, shared) {
            yield* shared.wait('stored', (done) => Number(done) >= round);
          }, 'child'),
        );
        yield* u.must(u.store(page, BigInt(round)));
        share.set('stored', round);
        yield* u.must(u.wait());
      }
      share.set('over', true);
      yield* u.must(u.wait());
    },
  },
  finally: {
    'every store was made': (world) => world.share.get('stored') === ROUNDS,
  },
  report: ({ remoteAccess, share }) => [
    {
      heading: `Reads of memory of one’s own: ${remoteAccess.design}: ${remoteAccess.title}`,
      table: {
        columns: ['what', { title: 'times', align: 'right' }],
        rows: [
          ['stores that copied the page', ROUNDS],
          ['reads', Number(share.get('reads'))],
        ],
      },
    },
  ],
});
