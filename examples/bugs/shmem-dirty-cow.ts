/**
 * Dirty COW of shared memory, CVE-2022-2590. After Dirty COW a forced write marked itself (FOLL_COW) once a fault had copied the page,
 * and then went through an entry without write permission if that was dirty: only a copy could be, it was thought. Since Linux 5.16
 * UFFDIO_CONTINUE maps the page of the file itself with a dirty entry, in a private read-only mapping too. A thread that drops the
 * copy and maps the file's page so in its place made the write go to the file.
 * @see Linux commit 5535be309971, "mm/gup: fix FOLL_FORCE COW security issue and remove FOLL_COW" (2022)
 *
 *     tablewalk explore examples/bugs/shmem-dirty-cow.ts             the write goes to the page cache
 *     tablewalk explore examples/bugs/shmem-dirty-cow.ts --no-bugs   nothing is found
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const ORIGINAL = 0x0f11en;
const FORCED = 0x0f0_cedn;

const words = (value: bigint): Uint8Array => new Uint8Array(new BigUint64Array([value]).buffer);

export default defineScenario({
  title: 'a forced write beside MADV_DONTNEED and UFFDIO_CONTINUE',
  cpus: 2,
  kernelBugs: ['shmem-dirty-cow'],
  placement: { writer: 0, attacker: 1 },
  programs: {
    *writer(u, share) {
      const file = yield* u.must(u.memfdCreate('setuid-root'));
      yield* u.must(u.pwrite(file, words(ORIGINAL), 0));
      const address = yield* u.must(u.mmap({ bytes: PAGE, prot: 'r', fd: file }));
      const mem = yield* u.must(u.procMemOpen(u.pidOf('writer')));
      const uffd = yield* u.must(u.userfaultfd({ features: ['MINOR_SHMEM'] }));
      yield* u.must(uffd.register({ address, bytes: PAGE, minor: true }));
      // The page of the file, so that the write below finds something to copy.
      yield* u.must(uffd.continue({ address, bytes: PAGE }));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(t.madvise(address, PAGE, 'DONTNEED'));
          // EEXIST where the write was quicker and has its copy there again.
          yield* t.attempt(t.uffd(uffd.fd).continue({ address, bytes: PAGE }));
        }, 'attacker'),
      );
      // EIO where it finds nothing: a remote access does not wait for a userfaultfd.
      yield* u.attempt(u.procMemWrite(mem, address, words(FORCED)));
      yield* u.must(u.wait(thread));
      const inFile = yield* u.must(u.pread(file, 8));
      share.set('file', new DataView(inFile.buffer).getBigUint64(0, true));
    },
  },
  finally: { 'the file is as it was': (world) => world.share.get('file') === ORIGINAL },
});
