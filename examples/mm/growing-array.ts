/**
 * realloc without a copy: an array that doubles by mremap keeps its frames, wherever it goes. MREMAP_DONTUNMAP leaves the old
 * mapping behind, empty: with a userfaultfd that is how a garbage collector moves a heap away under a running program.
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const DOUBLINGS = 5;

export default defineScenario({
  title: 'an array grows by mremap, and moves',
  programs: {
    *grower(u, share) {
      let pages = 1;
      let array = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(u.store(array, 0x5eedn));
      share.set('first', array);
      for (let i = 0; i < DOUBLINGS; i++) {
        array = yield* u.must(
          u.mremap({ address: array, bytes: pages * PAGE, newBytes: 2 * pages * PAGE, mayMove: true }),
        );
        pages *= 2;
        yield* u.must(u.store(array + BigInt((pages - 1) * PAGE), BigInt(i)));
      }
      const bytes = pages * PAGE;
      const moved = yield* u.must(
        u.mremap({ address: array, bytes, newBytes: bytes, mayMove: true, dontUnmap: true }),
      );
      share.set('array', moved);
      share.set('left behind', array);
      yield* u.check((yield* u.must(u.load(moved))) === 0x5eedn, 'the content did not move along');
      yield* u.check((yield* u.must(u.load(array))) === 0n, 'the old place has kept a page');
      return pages;
    },
  },
  finally: {
    'no page was copied: as many faults as pages that were touched': (world) =>
      world.process('grower')?.minFlt === 1 + DOUBLINGS + 1,
    'the old mapping is there, and shows the zero page': (world) => {
      const old = world.share.getWord('left behind') ?? 0n;
      const grower = world.process('grower');
      return grower?.vmaAt(old) !== undefined && grower.pageAt(old)?.zero === true;
    },
    'the content is at the new place': (world) =>
      world.process('grower')?.word(world.share.getWord('array') ?? 0n) === 0x5eedn,
  },
});
