/**
 * Double free: `free` looks at the object through the pointer it was given. The first one changes the tag of the memory,
 * so that the second one fails there, before it can put the memory on the free list twice; also when the memory belongs to
 * somebody else by then.
 */
import { defineScenario, type Outcome, type Task } from 'tablewalk';
import { enableTagChecks, TaggingAllocator } from './lib/allocator.ts';
import { EXCLUDING } from './lib/policies.ts';
import { StepLog, stepTable, wasStopped } from './lib/step-log.ts';

const SIZE = 32;
const TWICE = 'free again';
const OTHERS = 'free again, when another owns the memory';

export default defineScenario({
  title: 'double free',
  description: 'freeing changes the tag, so that the same pointer cannot free again',
  arch: 'arm64',
  programs: {
    *program(u, share) {
      yield* enableTagChecks(u, 'sync');
      const heap = new TaggingAllocator(u, EXCLUDING, 2, SIZE);
      yield* heap.open();
      const log = new StepLog(u);
      function* free(what: string, pointer: bigint): Task<Outcome<bigint>> {
        // LDG before the call, which changes the tag.
        const memory = yield* u.must(u.ldg(pointer));
        const outcome = yield* heap.free(pointer);
        log.add(what, pointer, outcome, memory);
        return outcome;
      }
      const object = yield* heap.allocate(SIZE);
      yield* free('free', object);
      yield* free(TWICE, object);
      const other = yield* heap.allocate(SIZE);
      yield* free(OTHERS, object);
      const next = yield* heap.allocate(SIZE);
      share.set('two owners of one memory', other === next);
      return log.rows;
    },
  },
  finally: {
    'the second free was stopped': (world) => wasStopped(world.value('program'), TWICE),
    'so was freeing what belongs to another': (world) => wasStopped(world.value('program'), OTHERS),
    'no memory has two owners': (world) => world.share.get('two owners of one memory') === false,
  },
  report: (world) => [
    { heading: 'What does the second free of an object meet?', table: stepTable(world.value('program')) },
  ],
});
