/**
 * Tells what lockdep finds: locks taken against the documented order or in a circle, mmap_lock waited for under a VMA's
 * lock, spinlocks that an interrupt handler takes as well, whether or not the run came to a deadlock.
 */
import { Lockdep, type LockdepReport } from '../../kernel/lock/lockdep.ts';
import type { CheckDefinition } from './check.ts';

const NAME = 'lock-order';

export const lockOrder: CheckDefinition = {
  name: NAME,
  rule: 'Locks are taken in the documented order, and nobody waits for mmap_lock while it holds the lock of a VMA.',
  source:
    'Linux mm/rmap.c and mm/filemap.c, lock ordering; kernel/locking/lockdep.c; include/linux/mmap_lock.h',
  attach(watch) {
    const own = new Lockdep();
    const told = ({ problem, summary, stacks }: LockdepReport): void => {
      watch.report(NAME, `${problem}: ${summary}`, stacks.at(0)?.locks ?? []);
    };
    own.onReport = told;
    // A kernel with lockdep tells it already.
    const isNeeded = (): boolean => watch.kernel.lockdep === null;
    watch.onRun(() => {
      const { lockdep, machine } = watch.kernel;
      if (lockdep === null) own.restart(machine.cpus);
      else lockdep.onReport = told;
    });
    watch.onLocks({
      acquire: (task, lock, mode, subclass, operation) => {
        if (isNeeded()) own.acquire(task, lock, mode, subclass, operation);
      },
      acquired: (task, lock, mode, operation) => {
        if (isNeeded()) own.acquired(task, lock, mode, operation);
      },
      release: (task, lock) => {
        if (isNeeded()) own.release(task, lock);
      },
      downgrade: (task, lock) => {
        if (isNeeded()) own.downgrade(task, lock);
      },
    });
  },
};
