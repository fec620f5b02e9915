/**
 * Tells what lockdep finds: locks taken against the documented order or in a circle, mmap_lock waited for under a VMA's
 * lock, spinlocks that an interrupt handler takes as well, whether or not the run came to a deadlock.
 */
import { Lockdep } from '../../kernel/lock/lockdep.ts';
import type { CheckDefinition } from './check.ts';

const NAME = 'lock-order';

export const lockOrder: CheckDefinition = {
  name: NAME,
  rule: 'Locks are taken in the documented order, and nobody waits for mmap_lock while it holds the lock of a VMA.',
  source:
    'Linux mm/rmap.c and mm/filemap.c, lock ordering; kernel/locking/lockdep.c; include/linux/mmap_lock.h',
  attach(watch) {
    const { kernel } = watch;
    const lockdep = kernel.lockdep ?? new Lockdep(kernel.machine.cpus);
    lockdep.onReport = ({ problem, summary, stacks }) => {
      watch.report(NAME, `${problem}: ${summary}`, stacks.at(0)?.locks ?? []);
    };
    // A kernel with lockdep tells it already.
    if (kernel.lockdep === null) watch.onLocks(lockdep);
  },
};
