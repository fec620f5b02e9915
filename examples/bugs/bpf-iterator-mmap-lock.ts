/**
 * A BPF program that stands in its own way: the loop over the mappings of a task held mmap_lock (Linux 6.7 to 7.0).
 *
 * What happened: bpf_iter_task_vma took mmap_lock for reading and kept it while the body of the program's loop ran. In a program
 * that may sleep the body can read memory of the same task by bpf_copy_from_user_task, which takes mmap_lock for reading once
 * more. That goes well until a writer has queued up in between: the second reader waits for the writer, the writer for the
 * first reader, and they are the same. Puranjay Mohan reported and repaired it in 2026: the loop keeps no lock any more.
 *
 * Here: a process maps memory while a program of another one looks at its mappings.
 *
 * Source: Puranjay Mohan, "bpf: Remove mmap_lock from task_vma iterator to prevent deadlock", 2 February 2026.
 * Switch: bpf-iterator-holds-mmap-lock.
 * Expected: a lock is taken again that the task holds (lock-order); without that check, a deadlock with the writer.
 *
 *   tablewalk explore examples/bugs/bpf-iterator-mmap-lock.ts
 *   tablewalk explore examples/bugs/bpf-iterator-mmap-lock.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'a BPF program reads at the beginning of each mapping while the process maps more',
  kernelBugs: ['bpf-iterator-holds-mmap-lock'],
  cpus: 2,
  placement: { target: 0, program: 1 },
  programs: {
    *target(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(page, 0x77, 1));
      share.set('ready', true);
      yield* u.must(u.mmap({ bytes: PAGE, prot: 'r' }));
    },
    *program(u, share) {
      yield* share.wait('ready');
      const seen = yield* u.bpfIterTaskVma(u.pidOf('target'), 1);
      // The lock may be taken: then the old code gives up (EBUSY), which is no bug.
      return !seen.ok || seen.value.some(({ data }) => data?.[0] === 0x77);
    },
  },
  finally: {
    'the program finds the page': (world) => world.value('program') === true,
  },
});
