/**
 * Finds tasks that come to where they may sleep while they must not: with a spinlock held, interrupts off or preemption
 * disabled, or inside an RCU section. Whether they would have slept this time does not matter. Where this check is off the
 * task goes on, as it does in Linux, which only warns.
 */
import type { CheckDefinition } from './check.ts';

const NAME = 'sleep-in-atomic';

export const sleepInAtomic: CheckDefinition = {
  name: NAME,
  rule: 'Who holds a spinlock, has interrupts or preemption off, or is inside an RCU section, comes to nothing that may sleep.',
  source: 'Linux kernel/sched/core.c, `__might_resched`; Documentation/locking/locktypes.rst',
  attach(watch) {
    watch.onLocks({
      sleepsInAtomic: (_task, object, text) => watch.report(NAME, text, [object.name]),
    });
  },
};
