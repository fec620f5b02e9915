/**
 * The same loop with the lock of the VMA in place of mmap_lock: a deadlock of two.
 *
 * What happened: the first repair of the deadlock of bpf-iterator-mmap-lock.ts, in January 2026, took the lock of one VMA for
 * each turn of the loop. While the body of the loop waits for mmap_lock in bpf_copy_from_user_task, a writer that holds
 * mmap_lock may wait for the readers of that very VMA: the order is mmap_lock first, and nobody may wait for it with the
 * lock of a VMA. Review found it. The loop gives the program a copy of the VMA now, and holds nothing.
 *
 * Here: a process unmaps memory while a program of another one looks at its mappings.
 *
 * Source: Puranjay Mohan, "bpf: Fix mmap_lock deadlock in VMA iterators using per-VMA locks", 6 January 2026.
 * Switch: bpf-iterator-holds-vma-lock.
 * Expected: somebody waits for mmap_lock with the lock of a VMA (lock-order); without that check, a deadlock with the writer.
 *
 *   tablewalk explore examples/bugs/bpf-iterator-vma-lock.ts
 *   tablewalk explore examples/bugs/bpf-iterator-vma-lock.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'a BPF program reads at the beginning of each mapping while the process unmaps it',
  kernelBugs: ['bpf-iterator-holds-vma-lock'],
  cpus: 2,
  placement: { target: 0, program: 1 },
  programs: {
    *target(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, 0x77, 1));
      share.set('ready', true);
      yield* u.must(u.munmap(page, PAGE));
    },
    *program(u, share) {
      yield* share.wait('ready');
      const seen = yield* u.must(u.bpfIterTaskVma(u.pidOf('target'), 1));
      // Unmapped before, or between the look and the read.
      return seen.every(({ data }) => data === null || data[0] === 0x77 || data[0] === 0);
    },
  },
  finally: { 'the program reads what was there': (world) => world.value('program') === true },
});
