/**
 * UFFDIO_UNREGISTER, and closing the descriptor, which unregisters everything. As in Linux, unregistering wakes who waits
 * before it write-locks the VMA: a fault under the VMA's own lock may still queue in between, and sleeps until UFFDIO_WAKE.
 * @see Linux fs/userfaultfd.c, `userfaultfd_unregister`, `userfaultfd_release`; mm/userfaultfd.c,
 * `userfaultfd_release_all`
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL, ENOMEM } from '../../errno.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../lock/mmap-lock.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { MmStruct } from '../mm.ts';
import { mmgetNotZero, mmput } from '../mm-lifetime.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_FLAGS, VM_UFFD_MISSING, VMH_UFFD_FLAGS } from '../vma-flags.ts';
import { misalignedHugetlb, vmaCanUserfault } from './can-userfault.ts';
import { type UserfaultfdContext, userfaultfdPut } from './context.ts';
import { UFFD_FEATURE_WP_ASYNC } from './uffd-abi.ts';
import { validateRange } from './validate-range.ts';
import { userfaultfdClearVma } from './vma-context.ts';
import { wakeUserfault, wakeUserfaultSlow } from './wake.ts';

/**
 * Bytes. 0; -EINVAL: bad range, nothing mapped, a part that another userfaultfd has, or memory that cannot be registered
 * at all; -ENOMEM. Holes and memory that is not registered are skipped. Whoever waits for a page of the range is woken.
 */
export function* userfaultfdUnregister(
  current: TaskStruct,
  context: UserfaultfdContext,
  start: bigint,
  length: bigint,
): Task<number> {
  if (context.features === null) return -EINVAL;
  const { mm } = context;
  const invalid = validateRange(mm, start, length);
  if (invalid !== 0) return invalid;
  if (!(yield* mmgetNotZero(mm))) return -ENOMEM;
  const firstPage = Number(start >> 12n);
  const endPage = firstPage + Number(length >> 12n);
  yield* mmapWriteLock(current, mm);
  let error = incompatible(context, mm.vmas.inRange(firstPage, endPage), firstPage);
  if (error === 0) error = yield* unregisterRange(current, mm, firstPage, endPage);
  yield* mmapWriteUnlock(current, mm);
  yield* mmput(current, mm);
  return error;
}

function incompatible(context: UserfaultfdContext, vmas: readonly VmArea[], start: number): number {
  const [first] = vmas;
  if (first === undefined || misalignedHugetlb(first, start)) return -EINVAL;
  const wpAsync = context.has(UFFD_FEATURE_WP_ASYNC);
  for (const vma of vmas) {
    if (vma.userfaultfd !== null && vma.userfaultfd !== context) return -EINVAL;
    const modes = { flags: vma.flags & VM_UFFD_FLAGS, flagsHigh: vma.flagsHigh & VMH_UFFD_FLAGS };
    if (!vmaCanUserfault(vma, modes, wpAsync)) return -EINVAL;
  }
  return 0;
}

function* unregisterRange(current: TaskStruct, mm: MmStruct, start: number, end: number): Task<number> {
  let vma = mm.vmas.findIntersection(start, end);
  let prev = vma !== null && vma.start < start ? vma : mm.vmas.findPrevious(start);
  while (vma !== null) {
    if (vma.userfaultfd !== null) {
      const from = Math.max(start, vma.start);
      const to = Math.min(end, vma.end);
      if ((vma.flags & VM_UFFD_MISSING) !== 0) {
        const range = { start: BigInt(from) << 12n, length: BigInt(to - from) << 12n };
        yield* wakeUserfault(current, vma.userfaultfd, range);
      }
      const modified = yield* userfaultfdClearVma(current, prev, vma, from, to);
      if (modified.error !== 0) return modified.error;
      ({ vma } = modified);
    }
    prev = vma;
    vma = vma.end < end ? mm.vmas.findIntersection(vma.end, end) : null;
  }
  return 0;
}

/**
 * The last close: everything is unregistered and everybody who waits goes on. The process may have gone before.
 */
export function* userfaultfdRelease(current: TaskStruct, context: UserfaultfdContext): Task<void> {
  const { mm } = context;
  yield context.change;
  // Faults that come now do not queue any more; those that have queued are woken below.
  context.released = true;
  if (yield* mmgetNotZero(mm)) {
    yield* mmapWriteLock(current, mm);
    yield* releaseAll(current, context);
    yield* mmapWriteUnlock(current, mm);
    yield* mmput(current, mm);
  }
  yield* wakeUserfaultSlow(current, context, null);
  // Whoever waits for an event to be read sees `released`.
  yield* context.readers.wakeUpAll();
  yield* userfaultfdPut(context);
}

/** @see mm/userfaultfd.c, `userfaultfd_release_all` */
function* releaseAll(current: TaskStruct, context: UserfaultfdContext): Task<void> {
  const { mm } = context;
  let prev: VmArea | null = null;
  let vma = mm.vmas.find(0);
  while (vma !== null) {
    if (vma.userfaultfd === context) {
      ({ vma } = yield* userfaultfdClearVma(current, prev, vma, vma.start, vma.end));
    }
    prev = vma;
    vma = mm.vmas.find(vma.end);
  }
}
