/**
 * A heap overflow by one granule: a program writes 32 bytes to an object of 32 bytes, and then one more. The next object
 * has another tag, so that the tag check stops the first byte that is not the program's, and nothing is overwritten.
 */
import { defineScenario } from 'tablewalk';
import { enableTagChecks, GRANULE, TaggingAllocator } from './lib/allocator.ts';
import { EXCLUDING } from './lib/policies.ts';
import { StepLog, stepTable, wasStopped } from './lib/step-log.ts';

const SIZE = 2 * GRANULE;
const OVERFLOW = 'byte 32 of the first object: the first byte of the second';

export default defineScenario({
  title: 'a heap overflow by one granule',
  description: 'neighbours with different tags stop an overflow at the first byte',
  arch: 'arm64',
  programs: {
    *program(u, share) {
      yield* enableTagChecks(u, 'sync');
      const heap = new TaggingAllocator(u, EXCLUDING, 2, SIZE);
      yield* heap.open();
      const first = yield* heap.allocate(SIZE);
      const second = yield* heap.allocate(SIZE);
      yield* u.must(u.store(second, 0x600dn, 1));
      const log = new StepLog(u);
      yield* log.store('byte 0 of the first object', first, 1n);
      yield* log.store('byte 31 of the first object', first + 31n, 1n);
      yield* log.store(OVERFLOW, first + 32n, 0xbdn);
      yield* log.load('byte 0 of the second object, by its owner', second);
      share.set('second object', yield* u.must(u.load(second, 1)));
      return log.rows;
    },
  },
  finally: {
    'the overflow was stopped at its first byte': (world) => wasStopped(world.value('program'), OVERFLOW),
    'the second object is as it was': (world) => world.share.get('second object') === 0x0dn,
  },
  report: (world) => [
    { heading: 'What does an overflow by one granule meet?', table: stepTable(world.value('program')) },
  ],
});
