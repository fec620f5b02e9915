/**
 * The reuse of an anon_vma, CVE-2022-42703. A child of fork may take over the anon_vma of an ancestor that nobody uses any more. Up to
 * Linux 5.19 one number, `degree`, counted its child anon_vmas and the VMAs that use it, and less than 2 was taken for "a child at
 * most". Here that of the third process falls to 0: it unmaps the memory, and its child had taken over the second's. So both halves
 * of a mapping, forked once more, get this same anon_vma, though they are chained to different ones of the fifth beside it. With
 * equal rights they become one VMA, chained to what its lower half was. From the page of the upper half no way leads to the VMA that
 * maps it, and in Linux its anon_vma is freed before it: reclaim, or migration, used it then.
 * @see Jann Horn, "Exploiting CVE-2022-42703 - Bringing back the stack attack", Project Zero (2022); Linux commit 2555283eb40d
 *
 *     tablewalk explore examples/bugs/anon-vma-reuse.ts             a page whose mapping is not found
 *     tablewalk explore examples/bugs/anon-vma-reuse.ts --no-bugs   nothing is found
 */
import { defineScenario, type Share, type User } from 'tablewalk';

const PAGE = 4096;
const MEMORY = 0x1000_0000n;
const UPPER = MEMORY + BigInt(PAGE);

function* second(u: User, share: Share) {
  yield* u.must(u.fork(third, 'third'));
  yield* u.must(u.munmap(MEMORY, 2 * PAGE));
  share.set('second has left', true);
}

function* third(u: User, share: Share) {
  yield* share.wait('second has left');
  yield* u.must(u.fork(fourth, 'fourth'));
  yield* u.must(u.mprotect(UPPER, PAGE, 'r'));
  share.set('third has two mappings', true);
  yield* share.wait('fifth is there');
  yield* u.must(u.munmap(MEMORY, 2 * PAGE));
  share.set('third has left', true);
}

/** Took over the anon_vma of the second. Its child takes over nothing: all have two mappings that use them. */
function* fourth(u: User, share: Share) {
  yield* u.must(u.mprotect(UPPER, PAGE, 'r'));
  yield* share.wait('third has two mappings');
  yield* u.must(u.fork(fifth, 'fifth'));
}

/** Its own copy of the upper page belongs to the anon_vma of its upper half. */
function* fifth(u: User, share: Share) {
  share.set('fifth is there', true);
  yield* u.must(u.mprotect(UPPER, PAGE, 'rw'));
  yield* u.must(u.store(UPPER, 5n));
  yield* share.wait('third has left');
  yield* u.must(u.fork(sixth, 'sixth'));
  yield* u.must(u.munmap(MEMORY, 2 * PAGE));
  share.set('fifth has left', true);
}

function* sixth(u: User, share: Share) {
  yield* u.must(u.mprotect(MEMORY, 2 * PAGE, 'r'));
  yield* share.wait('fifth has left');
  yield* u.must(u.madvise(UPPER, PAGE, 'PAGEOUT'));
  share.set('page in memory', (yield* u.must(u.mincore(UPPER, PAGE)))[0] === 1);
}

export default defineScenario({
  title: 'two halves of a mapping come to share an anon_vma',
  swap: '1MiB',
  kernelBugs: ['anon-vma-reuse'],
  programs: {
    *first(u) {
      yield* u.must(u.mmap({ address: MEMORY, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(MEMORY, 1n));
      yield* u.must(u.fork(second, 'second'));
    },
  },
  finally: { 'the page was paged out': (world) => world.share.get('page in memory') === false },
});
