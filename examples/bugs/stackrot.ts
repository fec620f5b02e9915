/**
 * StackRot (CVE-2023-3269): a stack grows while somebody else walks over the VMAs.
 *
 * What happened: since Linux 6.1 the VMAs are in a maple tree. A page fault below a stack still made it grow under mmap_lock
 * held for reading. Mostly that changed a number in a node; but where the stack came to touch the mapping below, the entry for
 * the gap between them went, and the node was replaced, the old one freed by RCU. Others who held mmap_lock for reading relied
 * on it to keep the tree as it was, and were in no section of RCU: they went on in a node that was freed. Found by Ruihan Li in
 * June 2023; since 6.5 (and in 6.1.37, 6.3.11, 6.4.1) stacks grow under mmap_lock held for writing.
 *
 * Here: a thread reads /proc/self/smaps, which walks over the VMAs under mmap_lock; another one touches the page between its
 * stack and a mapping without rights below, for which no guard gap is kept.
 *
 * Source: CVE-2023-3269; commit 8d7071af8907 ("mm: always expand the stack with the mmap write lock held").
 * Switch: stackrot. Linux 6.1 to 6.3 had no locks of VMAs: `perVmaLocks` is off.
 * Expected: the tree is changed without mmap_lock for writing; without that check, a reader uses a freed node of the tree.
 *
 *   tablewalk explore examples/bugs/stackrot.ts
 *   tablewalk explore examples/bugs/stackrot.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const BELOW = 0x10_0000n;
const GAP = BELOW + BigInt(PAGE);
const STACK = GAP + BigInt(PAGE);

export default defineScenario({
  title: 'a stack grows up to the mapping below it while another thread reads smaps',
  kernelBugs: ['stackrot'],
  perVmaLocks: false,
  cpus: 2,
  placement: { 'with a stack': 0, reader: 1 },
  programs: {
    *'with a stack'(u) {
      yield* u.must(u.mmap({ address: BELOW, bytes: PAGE, prot: 'none', fixed: true }));
      yield* u.must(u.mmap({ address: STACK, bytes: PAGE, prot: 'rw', fixed: true, growsDown: true }));
      yield* u.must(u.store(STACK, 1));
      const reader = yield* u.must(
        u.cloneVm(function* (t) {
          const mappings = yield* t.must(t.procSmaps(t.pid));
          return mappings.length;
        }, 'reader'),
      );
      yield* u.must(u.store(GAP, 2));
      yield* u.must(u.wait(reader));
    },
  },
  finally: { 'the reader sees both mappings': (world) => world.value('reader') === 2 },
});
