/**
 * Dirty COW, CVE-2016-5195. A forced write (FOLL_FORCE, here through /proc/self/mem) to a private mapping that is read-only first
 * makes a fault copy the page. The entry of the copy is still read-only, so Linux up to 4.8 looked for the page a second time
 * without FOLL_WRITE, sure that it would find the copy. A thread that gives the copy back in between (MADV_DONTNEED) made it
 * find the page of the file: anybody could write to files that he may only read.
 * @see Linux commit 19be0eaffa3a, "mm: remove gup_flags FOLL_WRITE games from __get_user_pages()" (2016)
 *
 *     tablewalk explore examples/bugs/dirty-cow.ts             the write goes to the page cache
 *     tablewalk explore examples/bugs/dirty-cow.ts --no-bugs   nothing is found
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const ORIGINAL = 0x0f11en;
const FORCED = 0x0f0_cedn;

const words = (value: bigint): Uint8Array => new Uint8Array(new BigUint64Array([value]).buffer);

export default defineScenario({
  title: 'a forced write to a read-only private mapping beside MADV_DONTNEED',
  cpus: 2,
  kernelBugs: ['dirty-cow'],
  placement: { writer: 0, discarder: 1 },
  programs: {
    *writer(u, share) {
      const file = yield* u.must(u.memfdCreate('passwd'));
      yield* u.must(u.pwrite(file, words(ORIGINAL), 0));
      const mapping = yield* u.must(u.mmap({ bytes: PAGE, prot: 'r', fd: file }));
      const mem = yield* u.must(u.procMemOpen(u.pidOf('writer')));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(t.madvise(mapping, PAGE, 'DONTNEED'));
        }, 'discarder'),
      );
      yield* u.must(u.procMemWrite(mem, mapping, words(FORCED)));
      yield* u.must(u.wait(thread));
      const inFile = yield* u.must(u.pread(file, 8));
      share.set('file', new DataView(inFile.buffer).getBigUint64(0, true));
    },
  },
  finally: { 'the file is as it was': (world) => world.share.get('file') === ORIGINAL },
});
