/**
 * brk: moves the end of the heap. It never fails with an errno: when the break cannot move, the old one is returned.
 * Left out: randomised start.
 * @see Linux mm/mmap.c, `brk`, `check_brk_limits`; mm/vma.c, `do_brk_flags`
 */
import type { Task } from '../../base/task.ts';
import { EAGAIN, EINTR, ENOMEM } from '../errno.ts';
import { mmapWriteLockKillable, mmapWriteUnlock } from '../lock/mmap-lock.ts';
import type { TaskStruct } from '../task-struct.ts';
import { getUnmappedArea } from './get-unmapped-area.ts';
import { beyondDataLimit, mayExpandVm, mlockFutureOk } from './limits.ts';
import { type MmStruct, vmStatAccount } from './mm.ts';
import { MAP_FIXED } from './mman.ts';
import { doVmiAlignMunmap } from './munmap.ts';
import { securityVmEnoughMemory } from './overcommit.ts';
import { populateOperations } from './populate.ts';
import { userfaultfdUnmapComplete } from './userfaultfd/events.ts';
import { type VmArea, vmStartGap } from './vma.ts';
import { VM_ACCOUNT, VM_DATA_DEFAULT_FLAGS, VM_LOCKED } from './vma-flags.ts';
import { vmaInitWriteLocked, vmaMarkAttached } from './vma-lock.ts';
import { vmaMergeNewRange } from './vma-merge.ts';
import { vmAreaAlloc } from './vma-slab.ts';

/** The page after the last one below `address`, bytes (`PAGE_ALIGN` as a page number). */
const pageAlign = (address: bigint): number => Number((address + 0xfffn) >> 12n);

/** @see mm/mmap.c, `check_brk_limits` */
function checkBrkLimits(current: TaskStruct, mm: MmStruct, start: number, pages: number): number {
  const address = BigInt(start) << 12n;
  const placed = getUnmappedArea(current, { mm, address, pages, flags: MAP_FIXED, alignForHugePages: false });
  if (placed < 0) return placed;
  return mlockFutureOk(current, mm, mm.defFlags, pages) ? 0 : -EAGAIN;
}

/**
 * Maps [start, end), which is free, as heap: grows the VMA that ends at `start` if it fits. Returns 0 or -ENOMEM.
 * @see mm/vma.c, `do_brk_flags`
 */
function* doBrkFlags(
  current: TaskStruct,
  mm: MmStruct,
  prev: VmArea | null,
  start: number,
  end: number,
): Task<number> {
  const { dataDefaultFlags } = mm.kernel.arch;
  const flags = VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT | mm.defFlags | dataDefaultFlags.flags;
  const { flagsHigh } = dataDefaultFlags;
  const pages = end - start;
  if (!mayExpandVm(current, mm, flags, pages)) return -ENOMEM;
  if (mm.mapCount > mm.kernel.config.maxMapCount) return -ENOMEM;
  if (securityVmEnoughMemory(mm, pages) !== 0) return -ENOMEM;
  const range = {
    mm,
    start,
    end,
    flags,
    flagsHigh,
    pgoff: start,
    file: null,
    userfaultfd: null,
    anonVma: null,
    prev,
    middle: null,
    next: null,
  };
  let vma = yield* vmaMergeNewRange(current, range, true);
  if (vma === null) {
    vma = vmAreaAlloc(mm, start, end, flags, flagsHigh, start);
    vmaInitWriteLocked(mm, vma);
    yield mm.treeStore;
    mm.vmas.insert(vma);
    vmaMarkAttached(vma);
    mm.mapCount++;
  }
  vmStatAccount(mm, flags, pages);
  if ((flags & VM_LOCKED) !== 0) mm.lockedVm += pages;
  return 0;
}

/** How the attempt to move the break ended. */
const Outcome = {
  /** It stays. */
  Refused: 0,
  /** It moved without a change of mappings. */
  Moved: 1,
  /** The heap grew. */
  Grown: 2,
  /** The heap shrank, and mmap_lock is released. */
  Shrunk: 3,
} as const;
type Outcome = (typeof Outcome)[keyof typeof Outcome];

function* shrink(current: TaskStruct, mm: MmStruct, brk: bigint, from: number, to: number): Task<Outcome> {
  const vma = mm.vmas.findIntersection(from, to);
  if (vma === null) return Outcome.Refused;
  const old = mm.brk;
  // Lowered before the lock is downgraded, as the new value must not be seen late.
  mm.brk = brk;
  if ((yield* doVmiAlignMunmap(current, mm, vma, from, to, true)) === 0) return Outcome.Shrunk;
  mm.brk = old;
  return Outcome.Refused;
}

function* grow(current: TaskStruct, mm: MmStruct, from: number, to: number): Task<Outcome> {
  if (checkBrkLimits(current, mm, from, to - from) !== 0) return Outcome.Refused;
  const gapPages = mm.kernel.config.stackGuardGapPages;
  const next = mm.vmas.findIntersection(from, to + 1 + gapPages);
  if (next !== null && to + 1 > vmStartGap(next, gapPages)) return Outcome.Refused;
  const before = mm.vmas.findPrevious(from);
  const prev = before !== null && before.end === from ? before : null;
  return (yield* doBrkFlags(current, mm, prev, from, to)) === 0 ? Outcome.Grown : Outcome.Refused;
}

function* moveBreak(current: TaskStruct, mm: MmStruct, brk: bigint): Task<Outcome> {
  if (brk < mm.startBrk || beyondDataLimit(current, mm, brk)) return Outcome.Refused;
  const from = pageAlign(mm.brk);
  const to = pageAlign(brk);
  if (from !== to && brk <= mm.brk) return yield* shrink(current, mm, brk, to, from);
  const outcome = from === to ? Outcome.Moved : yield* grow(current, mm, from, to);
  if (outcome !== Outcome.Refused) mm.brk = brk;
  return outcome;
}

/**
 * The system call. `brk` is a byte address. The break afterwards as a byte address, which is the old one when it could
 * not move; -EINTR when killed while waiting for mmap_lock.
 */
export function* sysBrk(current: TaskStruct, brk: bigint): Task<bigint> {
  const { mm } = current;
  if (mm === null) throw new Error(`${current.name} calls brk without an address space`);
  if ((yield* mmapWriteLockKillable(current, mm)) !== 0) return BigInt(-EINTR);
  const old = mm.brk;
  const outcome = yield* moveBreak(current, mm, brk);
  const populate = outcome === Outcome.Grown && (mm.defFlags & VM_LOCKED) !== 0;
  if (outcome !== Outcome.Shrunk) yield* mmapWriteUnlock(current, mm);
  yield* userfaultfdUnmapComplete(current);
  if (populate) {
    const from = pageAlign(old);
    yield* populateOperations(mm.kernel).mmPopulate(current, from, pageAlign(brk) - from);
  }
  return outcome === Outcome.Refused ? old : brk;
}
