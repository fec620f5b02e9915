/**
 * What a run that came to a stop with tasks waiting is to be called. Where tasks wait for each other in a circle it is a
 * deadlock. Where somebody waits for what nobody holds, or what only tasks hold that are at their end, nobody is left who
 * would wake it: a wake-up was lost, or a lock never released. While somebody spins it is a deadlock too: what he spins for,
 * an interrupt of another CPU as well, is kept from coming by who stands still.
 */
import { RwSemaphore } from '../../kernel/lock/rwsem.ts';
import type { WaitReport } from '../../sched/run-result.ts';
import type { SchedTask } from '../../sched/task.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

export interface StuckFinding {
  readonly name: 'deadlock' | 'lost-wake-up';
  readonly text: string;
  readonly rule: string;
  readonly source: string;
}

export const deadlock: CheckDefinition = {
  name: 'deadlock',
  rule: 'Tasks never wait for each other in a circle.',
  source: 'Linux Documentation/locking/lockdep-design.rst',
  attach: null,
};

export const lostWakeUp: CheckDefinition = {
  name: 'lost-wake-up',
  rule: 'Whoever makes the condition of a waiter true wakes it, and what was taken is released.',
  source: 'Linux include/linux/rcuwait.h; kernel/sched/wait.c; kernel/locking/rwsem.c, rwsem_wake',
  attach: watchDowngrades,
};

/** @param cycle tasks each of which waits for the next; empty: none was found */
export function nameOfStuck(waits: readonly WaitReport[], cycle: readonly string[]): StuckFinding {
  const blocked = waits.filter((wait) => wait.blocked);
  const spinning = blocked.filter((wait) => wait.spinning);
  const known = cycle.length > 0 || spinning.length > 0;
  const abandoned = known ? [] : blocked.filter((wait) => isAbandoned(wait, waits));
  // What a program waits for in the kernel says more than that another waits for the program.
  const lost = abandoned.find((wait) => !isOfPrograms(wait)) ?? abandoned[0];
  if (lost === undefined) {
    const stuck = spinning.length > 0 ? spinning : blocked;
    const ring =
      cycle.length === 0 ? stuck.map(({ task }) => task).join(', ') : [...cycle, cycle[0]].join(' → ');
    return {
      name: 'deadlock',
      text: `nobody can go on: ${ring}`,
      rule: deadlock.rule,
      source: deadlock.source,
    };
  }
  const holders = lost.holders.map(({ name }) => name).join(', ');
  const why = holders === '' ? 'which nobody holds' : `which ${holders} holds, at an end and never let go`;
  return {
    name: 'lost-wake-up',
    text: `${lost.task} waits in ${lost.operation} for ${lost.object}, ${why}: nobody is left to wake it`,
    rule: lostWakeUp.rule,
    source: lostWakeUp.source,
  };
}

/**
 * Do they only wait for what another program would have done, which has been killed? The kernel owes them nothing.
 * @param cycle as `nameOfStuck` gets it
 */
export function isPartnerGone(waits: readonly WaitReport[], cycle: readonly string[]): boolean {
  if (cycle.length > 0) return false;
  const blocked = waits.filter((wait) => wait.blocked);
  if (blocked.some((wait) => wait.spinning)) return false;
  const abandoned = blocked.filter((wait) => isAbandoned(wait, waits));
  return abandoned.length > 0 && abandoned.every(isOfPrograms);
}

/** For another program, by a call or a variable that is for that: a child's end, an event that is read of a descriptor. */
function isOfPrograms({ operation, object }: WaitReport): boolean {
  return operation === 'share.wait' || operation === 'wait4' || object.startsWith('fd_wqh ');
}

/** Whoever turns a write lock into a read lock lets the readers in: they do not wait on until it gives that back, too. */
function watchDowngrades(watch: Watch): void {
  let kept = new Map<SchedTask, { readonly lock: RwSemaphore; readonly reader: string }>();
  watch.onRun(() => {
    kept = new Map();
  });
  watch.onLocks({
    downgrade: (task, lock) => {
      const first = lock instanceof RwSemaphore ? lock.waiters()[0] : undefined;
      if (first?.mode === 'read') kept.set(task, { lock: lock as RwSemaphore, reader: first.name });
    },
    release: (task, lock) => {
      const seen = kept.size === 0 ? undefined : kept.get(task);
      if (seen === undefined || seen.lock !== lock) return;
      kept.delete(task);
      const [first] = seen.lock.waiters();
      if (first?.mode !== 'read' || first.name !== seen.reader) return;
      const text = `${first.name} waits for ${lock.name} to read, though ${task.name} has held it for reading only`;
      watch.report(lostWakeUp.name, text, [lock.name]);
    },
  });
}

/** Does it wait for nobody who could still do something? */
function isAbandoned(wait: WaitReport, waits: readonly WaitReport[]): boolean {
  return wait.holders.every(({ name }) => waits.every(({ task }) => task !== name));
}
