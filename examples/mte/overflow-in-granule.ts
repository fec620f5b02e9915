/**
 * An overflow that tags cannot see: tags are for 16 bytes, so the 8 bytes behind an object of 24 bytes have the object's
 * own tag. What is written there hurts nobody else, since an allocator gives those bytes to no one. The 9th byte is in the
 * next granule.
 */
import { defineScenario } from 'tablewalk';
import { enableTagChecks, rounded, TaggingAllocator } from './lib/allocator.ts';
import { EXCLUDING } from './lib/policies.ts';
import { StepLog, stepTable, wasStopped } from './lib/step-log.ts';

const SIZE = 24;
const BESIDE = 'byte 24: one beyond the object, in its last granule';
const LAST = 'byte 31: the last one of that granule';
const BEYOND = 'byte 32: the next object';

export default defineScenario({
  title: 'an overflow by one byte, inside a granule',
  description: 'the bytes between the end of an object and the end of its last granule have its tag',
  arch: 'arm64',
  programs: {
    *program(u) {
      yield* enableTagChecks(u, 'sync');
      const heap = new TaggingAllocator(u, EXCLUDING, 2, rounded(SIZE));
      yield* heap.open();
      const first = yield* heap.allocate(SIZE);
      yield* heap.allocate(SIZE);
      const log = new StepLog(u);
      yield* log.store('byte 23: the last one of the object', first + 23n, 1n);
      yield* log.store(BESIDE, first + 24n, 0xbdn);
      yield* log.store(LAST, first + 31n, 0xbdn);
      yield* log.store(BEYOND, first + 32n, 0xbdn);
      return log.rows;
    },
  },
  finally: {
    'what stays inside the granule is not detected': (world) =>
      !wasStopped(world.value('program'), BESIDE) && !wasStopped(world.value('program'), LAST),
    'what leaves it is': (world) => wasStopped(world.value('program'), BEYOND),
  },
  report: (world) => [
    {
      heading: `How far beyond an object of ${SIZE} bytes can one write?`,
      table: stepTable(world.value('program')),
      notes: [`Its ${rounded(SIZE) - SIZE} bytes of rounding are not protected, and belong to nobody.`],
    },
  ],
});
