/**
 * gup-fast against the collapse of small pages into a huge one, 2022. Collapse takes the page table out of reach, makes sure that no
 * page has a reference that no entry explains, and copies. gup-fast may have read the pmd before, and finds the entries still as they
 * were: it took a page that had been counted already, and is thrown away after the copy. It only looked at the entry again, not at
 * the pmd above it (commit 70cbc3cc78a9); nor did collapse wait until no CPU walks the table with interrupts off (2ba99c5e0881). On
 * x86-64 the TLB flush is an interrupt, and so waits for the walk by chance; arm64 flushes by broadcast.
 * The device goes on writing to a page that the program has no more.
 * @see Yang Shi, "mm: gup: fix the fast GUP race against THP collapse" (2022); Jann Horn, "mm/khugepaged: fix GUP-fast interaction
 *   by sending IPI" (2022)
 *
 *     tablewalk explore examples/bugs/gup-fast-thp-collapse.ts             a pinned page is mapped no more
 *     tablewalk explore examples/bugs/gup-fast-thp-collapse.ts --no-bugs   nothing is found
 */
import { defineScenario } from 'tablewalk';

const HUGE = 2 * 1024 * 1024;
const BY_DEVICE = 0xd3_71cen;

export default defineScenario({
  title: 'pages pinned by gup-fast while they are collapsed into a huge one',
  arch: 'arm64',
  cpus: 2,
  kernelBugs: ['gup-fast-thp-collapse'],
  placement: { driver: 0, collapser: 1 },
  programs: {
    *driver(u, share) {
      const memory = yield* u.must(u.mmap({ address: 0x4000_0000n, fixed: true, bytes: HUGE, prot: 'rw' }));
      // More than one, so that the first is not copied as soon as it is looked at.
      for (let page = 0n; page < 8n; page++) yield* u.must(u.store(memory + page * 4096n, 1n));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          // EAGAIN where the page is pinned already.
          yield* t.attempt(t.madvise(memory, HUGE, 'COLLAPSE'));
        }, 'collapser'),
      );
      const pinned = yield* u.must(
        u.gup({ entry: 'pin_user_pages_fast', address: memory, pages: 1, flags: ['FOLL_WRITE'] }),
      );
      yield* u.must(u.wait(thread));
      const word = new Uint8Array(new BigUint64Array([BY_DEVICE]).buffer);
      yield* u.must(u.gupWrite(pinned.fd, 0, 0, word));
      share.set('program reads', yield* u.must(u.load(memory)));
    },
  },
  finally: {
    'the program sees what the device writes': (world) => world.share.get('program reads') === BY_DEVICE,
  },
});
