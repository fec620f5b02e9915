/**
 * gup-fast against fork, 2020. fork copies a page at once if it may be pinned, so that a device goes on with the page of the parent.
 * Otherwise parent and child share it, read-only. Between this look and the write protection gup-fast, which takes no lock, still
 * finds a writable entry, takes its pin, and finds the entry unchanged. The page is shared then, the parent's next write copies
 * it, and the device goes on with a page that the parent has no more. Since Linux 5.11 a counter (write_protect_seq) tells gup-fast that
 * fork was at work.
 * @see Linux commit 57efa1fe5957, "mm/gup: prevent gup_fast from racing with COW during fork" (2020)
 *
 *     tablewalk explore examples/bugs/gup-fast-fork.ts             a pinned page becomes shared
 *     tablewalk explore examples/bugs/gup-fast-fork.ts --no-bugs   nothing is found
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const PAGES = 4;
const BY_DEVICE = 0xd3_71cen;

export default defineScenario({
  title: 'a page pinned by gup-fast while fork makes it shared',
  cpus: 2,
  kernelBugs: ['gup-fast-fork'],
  placement: { driver: 0, forker: 1 },
  programs: {
    *driver(u, share) {
      const memory = yield* u.must(u.mmap({ bytes: PAGES * PAGE, prot: 'rw' }));
      const pages = Array.from({ length: PAGES }, (_, i) => memory + BigInt(i * PAGE));
      for (const page of pages) yield* u.must(u.store(page, 1n));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(
            t.fork(function* (_c, shared) {
              yield* shared.wait('over');
            }, 'child'),
          );
        }, 'forker'),
      );
      // Fork goes upwards: what lies behind it would make gup-fast wait for its end.
      const pins: [bigint, number][] = [];
      for (const address of pages.toReversed()) {
        const flags = ['FOLL_WRITE'];
        const pinned = yield* u.must(u.gup({ entry: 'pin_user_pages_fast', address, pages: 1, flags }));
        pins.push([address, pinned.fd]);
      }
      yield* u.must(u.wait(thread));
      const word = new Uint8Array(new BigUint64Array([BY_DEVICE]).buffer);
      for (const [address, fd] of pins) {
        yield* u.must(u.store(address, 2n));
        yield* u.must(u.gupWrite(fd, 0, 0, word));
        if ((yield* u.must(u.load(address))) !== BY_DEVICE) share.set('lost', true);
      }
      share.set('over', true);
    },
  },
  finally: { 'the program sees what the device writes': (world) => world.share.get('lost') !== true },
});
