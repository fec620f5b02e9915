/**
 * A pointer to a variable of a function that has returned. On return the frame gets the tag of the stack pointer, 0, which
 * no variable has: the pointer fails. When another function uses the same stack, its frame has a random tag of its own:
 * the pointer fails unless the tags are equal, one time in 15. Neighbouring variables have tags one after the other.
 */
import { defineScenario } from 'tablewalk';
import { enableTagChecks, GRANULE } from './lib/allocator.ts';
import { StepLog, stepTable, wasStopped } from './lib/step-log.ts';
import { TaggedStack } from './lib/tagged-stack.ts';

const VARIABLES = 3;
const NEXT = 'beyond its end: the next variable';
const RETURNED = 'the kept pointer, after the return';
const OTHER = 'the kept pointer, while another function runs';

export default defineScenario({
  title: 'a variable of a function that has returned',
  description:
    'stack frames with tags: between variables, after the return, and when the stack is used again',
  arch: 'arm64',
  programs: {
    *program(u) {
      yield* enableTagChecks(u, 'sync');
      const stack = new TaggedStack(u, 4096);
      yield* stack.open();
      const log = new StepLog(u);
      const [kept = 0n] = yield* stack.enter(VARIABLES);
      yield* log.store('a variable, in its function', kept, 1n);
      yield* log.store(NEXT, kept + BigInt(GRANULE), 0xbdn);
      yield* stack.leave(VARIABLES);
      yield* log.load(RETURNED, kept);
      const [own = 0n] = yield* stack.enter(VARIABLES);
      yield* log.store("the other function's variable there", own, 2n);
      yield* log.load(OTHER, kept);
      yield* stack.leave(VARIABLES);
      return log.rows;
    },
  },
  finally: {
    'an overflow into the next variable is stopped': (world) => wasStopped(world.value('program'), NEXT),
    'the kept pointer fails after the return': (world) => wasStopped(world.value('program'), RETURNED),
  },
  report: (world) => [
    {
      heading: 'What is left of a variable when its function has returned?',
      table: stepTable(world.value('program')),
      notes: ['While another function runs it is a matter of luck: see detection-rate.ts.'],
    },
  ],
});
