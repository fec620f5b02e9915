/**
 * A fault that looks at a VMA before it has the VMA's lock, and believes it afterwards (Linux 6.4).
 *
 * What happened: a fault under the lock of one VMA must not look for an anon_vma that the VMA could share with a neighbour,
 * since neighbours can go away without mmap_lock. So lock_vma_under_rcu() refused VMAs without an anon_vma; but it asked before
 * it had taken the lock. mremap with MREMAP_DONTUNMAP could take the anon_vma away in between. The fault then went to
 * the neighbours after all, and another call could unmap the neighbour, and free its anon_vma, under its eyes.
 * Found by Jann Horn in July 2023.
 *
 * Here: a thread touches a page of a mapping, another one moves the pages of that mapping away and unmaps its neighbour.
 *
 * Source: commit 657b5146955e ("mm: lock_vma_under_rcu() must check vma->anon_vma under vma lock"), 2023.
 * Switch: lock-vma-anon-vma-check. Faults under a VMA's lock rely on the early look, and take no mmap_lock for the anon_vma.
 * Expected: a field of a VMA is read without its lock; without that check, a fault uses an anon_vma that is freed.
 *
 *   tablewalk explore examples/bugs/lock-vma-anon-vma-check.ts
 *   tablewalk explore examples/bugs/lock-vma-anon-vma-check.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;

export default defineScenario({
  title: 'a fault beside mremap, which takes the anon_vma away, and munmap of the neighbour',
  kernelBugs: ['lock-vma-anon-vma-check'],
  cpus: 2,
  placement: { mover: 0, toucher: 1 },
  programs: {
    *mover(u, share) {
      const mapping = yield* u.must(u.mmap({ bytes: 3 * PAGE, prot: 'rw' }));
      const neighbour = mapping + BigInt(2 * PAGE);
      // While the two differ in a flag each gets an anon_vma of its own; they stay two VMAs after that.
      yield* u.must(u.madvise(neighbour, PAGE, 'DONTFORK'));
      yield* u.must(u.store(mapping, 1));
      yield* u.must(u.store(neighbour, 2));
      yield* u.must(u.madvise(neighbour, PAGE, 'DOFORK'));
      const toucher = yield* u.must(
        u.cloneVm(function* (t, shared) {
          shared.set('ready', true);
          yield* t.must(t.store(mapping + BigInt(PAGE), 3));
        }, 'toucher'),
      );
      yield* share.wait('ready');
      const move = { address: mapping, bytes: 2 * PAGE, newBytes: 2 * PAGE, mayMove: true, dontUnmap: true };
      yield* u.must(u.mremap(move));
      yield* u.must(u.munmap(neighbour, PAGE));
      yield* u.must(u.wait(toucher));
    },
  },
});
