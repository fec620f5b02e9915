/**
 * Use after free: the allocator gives freed memory another tag, so that a pointer that was kept fails at once, and goes
 * on failing when somebody else owns the memory. It may pass again when the memory has been freed a second time: its
 * third tag is only known to differ from the second. detection-rate.ts counts how often.
 */
import { defineScenario } from 'tablewalk';
import { enableTagChecks, TaggingAllocator, tagOf } from './lib/allocator.ts';
import { EXCLUDING } from './lib/policies.ts';
import { StepLog, stepTable, wasStopped } from './lib/step-log.ts';

const SIZE = 32;
const FREED = 'the kept pointer, after free';
const REUSED = 'the kept pointer, when another owns the memory';

export default defineScenario({
  title: 'use after free',
  description: 'a pointer that was kept has the tag that the memory had',
  arch: 'arm64',
  programs: {
    *program(u) {
      yield* enableTagChecks(u, 'sync');
      const heap = new TaggingAllocator(u, EXCLUDING, 1, SIZE);
      yield* heap.open();
      const log = new StepLog(u);
      const kept = yield* heap.allocate(SIZE);
      yield* log.store('its owner', kept, 1n);
      yield* heap.free(kept);
      yield* log.load(FREED, kept);
      const other = yield* heap.allocate(SIZE);
      yield* log.store('the new owner', other, 2n);
      yield* log.load(REUSED, kept);
      let owner = other;
      let generations = 1;
      // Until the memory happens to have its first tag again.
      while (tagOf(owner) !== tagOf(kept)) {
        yield* heap.free(owner);
        owner = yield* heap.allocate(SIZE);
        generations++;
      }
      yield* log.load(`the kept pointer, ${generations} owners later: found no more`, kept);
      return log.rows;
    },
  },
  finally: {
    'the kept pointer fails after free': (world) => wasStopped(world.value('program'), FREED),
    'and when another owns the memory': (world) => wasStopped(world.value('program'), REUSED),
  },
  report: (world) => [
    { heading: 'How long does a pointer to freed memory fail?', table: stepTable(world.value('program')) },
  ],
});
