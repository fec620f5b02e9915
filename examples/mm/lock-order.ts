/**
 * A kernel with a bug: the first write to anonymous memory needs mmap_lock for the VMA's anon_vma, and this kernel waits for
 * it while it holds the VMA's own lock. Linux only tries there, as a writer that has mmap_lock may wait for this VMA's
 * readers. One fault shows it, though nothing deadlocks: `lockdep` tells of the order alone.
 * With `--seeds 1-100` a run is found in which both sides really wait for each other.
 */
import { defineScenario, noLockOrderViolation } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'a fault waits for mmap_lock under a VMA lock',
  cpus: 2,
  lockdep: true,
  kernelBugs: ['mmap-lock-under-vma-lock'],
  placement: { faulter: 0, writer: 1 },
  programs: {
    *faulter(u) {
      const memory = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          // In virtual time the fault is over by then; the random policy does not look at the time.
          yield* t.compute(1000);
          yield* t.must(t.mprotect(memory + BigInt(PAGE), PAGE, 'r'));
        }, 'writer'),
      );
      yield* u.must(u.store(memory, 1n));
      yield* u.must(u.wait(thread));
    },
  },
  finally: { 'no order of locks could deadlock': noLockOrderViolation },
});
