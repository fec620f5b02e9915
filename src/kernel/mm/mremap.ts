/**
 * mremap: grows, shrinks or moves a mapping, or maps shared memory a second time.
 * Left out: KSM.
 * @see Linux mm/mremap.c, `do_mremap`, `remap_move`, `mremap_at`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINTR, ENOMEM } from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { alignLength, checkMremapParams, checkPrepVma, isMultiMoveAllowed } from './mremap-checks.ts';
import { findNewPlace, moveVma, mremapTo } from './mremap-move.ts';
import { MREMAP_MAYMOVE, MremapOperation, MremapType } from './mremap-operation.ts';
import { canExpandInPlace, expandInPlace, shrinkVma } from './mremap-resize.ts';
import { populateOperations } from './populate.ts';
import {
  mremapUserfaultfdComplete,
  userfaultfdSendEvents,
  userfaultfdUnmapComplete,
} from './userfaultfd/events.ts';

/** Grows the mapping where it is, or else where there is room. The page it is at, or a negative errno. */
function* expandVma(operation: MremapOperation): Task<number> {
  if (canExpandInPlace(operation)) {
    const error = yield* expandInPlace(operation);
    return error === 0 ? operation.page : error;
  }
  if ((operation.flags & MREMAP_MAYMOVE) === 0) return -ENOMEM;
  const place = findNewPlace(operation);
  if (place < 0) return place;
  operation.newPage = place;
  return yield* moveVma(operation);
}

/** Without a new address. @see `mremap_at` */
function* mremapAt(operation: MremapOperation): Task<number> {
  switch (operation.type) {
    case MremapType.NoResize:
      return operation.page;
    case MremapType.Shrink: {
      const error = yield* shrinkVma(operation, true);
      return error === 0 ? operation.page : error;
    }
    case MremapType.Expand:
      return yield* expandVma(operation);
  }
}

/**
 * Moves all VMAs of the range to one fixed place, one after the other, with the gaps between them; none may come first.
 * An error leaves those before it moved.
 * @see `remap_move`
 */
function* remapMove(operation: MremapOperation): Task<number> {
  const { mm, page: start, newPage: first } = operation;
  const end = start + operation.oldPages;
  let target = first;
  /** End of the VMA before, as it was when its turn came. */
  let lastEnd: number | null = null;
  for (let vma = mm.vmas.findIntersection(start, end); vma !== null; ) {
    if (lastEnd === null && start < vma.start) return -EFAULT;
    const gap: number = lastEnd === null ? 0 : vma.start - lastEnd;
    const seen = lastEnd !== null;
    lastEnd = vma.end;
    operation.vma = vma;
    operation.page = Math.max(vma.start, start);
    operation.newPage = target + gap;
    operation.oldPages = Math.min(end, vma.end) - operation.page;
    operation.newPages = operation.oldPages;
    if (!isMultiMoveAllowed(vma) && (seen || vma.end < end)) return -EFAULT;
    const refused = checkPrepVma(operation);
    const moved = refused === 0 ? yield* mremapTo(operation) : refused;
    if (moved < 0) return moved;
    target = moved + operation.newPages;
    vma = mm.vmas.findIntersection(lastEnd, end);
  }
  return lastEnd === null ? -EFAULT : first;
}

function* remapLocked(operation: MremapOperation): Task<number> {
  if (operation.moveOnly) return yield* remapMove(operation);
  operation.vma = operation.mm.vmas.lookup(operation.page);
  const refused = checkPrepVma(operation);
  if (refused !== 0) return refused;
  return operation.impliesNewAddress ? yield* mremapTo(operation) : yield* mremapAt(operation);
}

/**
 * The system call. Addresses and lengths are bytes, unsigned 64 bits; `flags` are MREMAP_*. The address of the mapping
 * as a byte address, or a negative errno: -EINVAL, -EFAULT (nothing mapped, or not one VMA), -ENOMEM (no room where it
 * must stay, limits), -EPERM (sealed), -EAGAIN (too much locked memory), -EINTR (killed while waiting for mmap_lock).
 */
export function* sysMremap(
  current: TaskStruct,
  oldAddress: bigint,
  oldLength: bigint,
  newLength: bigint,
  flags: number,
  newAddress: bigint,
): Task<bigint> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls mremap without an address space`);
  const args = {
    // The tag of the new address stays, so that no mapping has two names: it is refused.
    address: mm.kernel.arch.untaggedAddress(current.cpu, oldAddress),
    oldLength: alignLength(oldLength),
    newLength: alignLength(newLength),
    flags,
    newAddress,
  };
  const error = checkMremapParams(mm, args);
  if (error !== 0) return BigInt(error);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return BigInt(-EINTR);
  const pageOf = (bytes: bigint): number => Number(bytes >> 12n);
  const operation = new MremapOperation(
    current,
    mm,
    pageOf(args.address),
    pageOf(args.oldLength),
    pageOf(args.newLength),
    flags,
    pageOf(newAddress),
  );
  const grownFrom = operation.oldPages;
  const page = yield* remapLocked(operation);
  if (operation.mmapLocked) yield* mmapWriteUnlock(current, mm);
  if (page >= 0 && operation.populateExpand) {
    const grown = operation.newPages - grownFrom;
    yield* populateOperations(mm.kernel).mmPopulate(current, operation.newPage + grownFrom, grown);
  }
  yield* tellUserfaultfd(operation, args.address, page, args.oldLength);
  return page < 0 ? BigInt(page) : BigInt(page) << 12n;
}

/** What went away at the target, where the rest is now, and then what went away at its old place. @see `notify_uffd` */
function* tellUserfaultfd(
  { current, userfaultfd, unmapsEarly }: MremapOperation,
  from: bigint,
  page: number,
  length: bigint,
): Task<void> {
  const to = BigInt(Math.max(page, 0)) << 12n;
  yield* userfaultfdSendEvents(current, unmapsEarly);
  yield* mremapUserfaultfdComplete(current, userfaultfd, from, to, length, page >= 0);
  yield* userfaultfdUnmapComplete(current);
}
