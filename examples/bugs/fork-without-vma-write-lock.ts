/**
 * fork that does not lock the parent's VMAs (Linux 6.4).
 *
 * What happened: 6.4 brought page faults under the lock of one VMA, without mmap_lock. fork held mmap_lock for writing while it
 * made the parent's ptes read-only and shared its pages with the child, and flushed TLBs when all was done; but it locked no
 * VMAs. So a fault of another thread could copy a page in the middle of that, while a third thread, with the old translation in
 * its TLB, still wrote to the page: what it wrote after the copy was taken is lost. Programs with threads that fork crashed
 * (Go's build among the first); the change was switched off in 6.4.1 and repaired in 6.4.3.
 *
 * Here: one thread forks, one writes a number again and again and reads it back, one makes the first write of its own to the
 * same page.
 *
 * Source: commit fb49c455323f ("fork: lock VMAs of the parent process when forking"), kernel/fork.c, dup_mmap.
 * Switch: fork-without-vma-write-lock.
 * Expected: ptes are copied from a VMA that is not write-locked; the harm is a number that was stored and is not there.
 *
 *   tablewalk explore examples/bugs/fork-without-vma-write-lock.ts
 *   tablewalk explore examples/bugs/fork-without-vma-write-lock.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'one thread forks while two others write to a page',
  kernelBugs: ['fork-without-vma-write-lock'],
  cpus: 3,
  placement: { forker: 0, writer: 1, neighbour: 2 },
  programs: {
    *forker(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, 0));
      const writer = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* t.must(t.store(page, 1));
          shared.set('ready', true);
          for (let value = 2; value < 12; value++) {
            yield* t.must(t.store(page, value));
            const found = yield* t.must(t.load(page));
            yield* t.check(found === BigInt(value), `${value} was stored, and ${found} is there`);
          }
        }, 'writer'),
      );
      const neighbour = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* shared.wait('ready');
          yield* t.must(t.store(page + 8n, 1));
        }, 'neighbour'),
      );
      yield* share.wait('ready');
      yield* u.must(u.fork(function* () {}, 'child'));
      for (const pid of [writer, neighbour]) yield* u.must(u.wait(pid));
    },
  },
});
