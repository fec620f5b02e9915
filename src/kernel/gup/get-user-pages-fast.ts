/**
 * The entries of GUP that need no lock: what gup-fast cannot have is got by the slow path, which takes mmap_lock itself.
 * @see Linux mm/gup.c, `get_user_pages_fast`, `get_user_pages_fast_only`, `pin_user_pages_fast`, `gup_fast_fallback`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, EINVAL, EOVERFLOW } from '../errno.ts';
import { MMF_HAS_PINNED } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  FOLL_FAST_ONLY,
  FOLL_FORCE,
  FOLL_GET,
  FOLL_HONOR_NUMA_FAULT,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_PCI_P2PDMA,
  FOLL_PIN,
  FOLL_TOUCH,
  FOLL_UNLOCKABLE,
  FOLL_WRITE,
  type MmapLocked,
  type PageArray,
} from './foll-flags.ts';
import { gupFast } from './gup-fast.ts';
import { gupLongtermLocked } from './gup-longterm-locked.ts';
import { INVALID_GUP_ARGS, validGupFlags } from './is-valid-gup-args.ts';

const FAST_FLAGS =
  FOLL_WRITE |
  FOLL_LONGTERM |
  FOLL_FORCE |
  FOLL_PIN |
  FOLL_GET |
  FOLL_FAST_ONLY |
  FOLL_NOFAULT |
  FOLL_PCI_P2PDMA |
  FOLL_HONOR_NUMA_FAULT;
/** Page numbers of a 64-bit address space. */
const ALL_PAGES = 2 ** 52;

/**
 * References to `count` pages from `startPage` of the caller's mm; mmap_lock must not be held. Returns how many, short
 * after an error, or -errno when there is none: -EINVAL for flags that do not belong together, -EOVERFLOW, -EFAULT.
 */
export function* getUserPagesFast(
  current: TaskStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  const flags = validGupFlags(current, pages, null, gupFlags, FOLL_GET);
  if (flags === INVALID_GUP_ARGS) return -EINVAL;
  return yield* gupFastFallback(current, startPage, count, flags, pages);
}

/** The same without the slow path: never sleeps, may be called with interrupts off, and may give 0. */
export function* getUserPagesFastOnly(
  current: TaskStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  const flags = validGupFlags(current, pages, null, gupFlags, FOLL_GET | FOLL_FAST_ONLY);
  if (flags === INVALID_GUP_ARGS) return -EINVAL;
  return yield* gupFastFallback(current, startPage, count, flags, pages);
}

/** Pins instead of references; -EINVAL for bad flags, where the slow entries give 0. */
export function* pinUserPagesFast(
  current: TaskStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  const flags = validGupFlags(current, pages, null, gupFlags, FOLL_PIN);
  if (flags === INVALID_GUP_ARGS) return -EINVAL;
  return yield* gupFastFallback(current, startPage, count, flags, pages);
}

function* gupFastFallback(
  current: TaskStruct,
  taggedPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
): Task<number> {
  const { mm } = current;
  if (mm === null) return -EINVAL;
  if ((gupFlags & ~FAST_FLAGS) !== 0) {
    current.kernel.warnings.once(current, 'gup_fast_fallback', 'a flag that gup-fast does not know');
    return -EINVAL;
  }
  if ((gupFlags & FOLL_PIN) !== 0) mm.flagBits |= MMF_HAS_PINNED;
  const startPage = untaggedPage(current, taggedPage);
  if (startPage + count >= ALL_PAGES) return -EOVERFLOW;
  if (startPage + count > current.kernel.arch.taskSizePages) return -EFAULT;
  const fast = yield* gupFast(current, mm, startPage, count, gupFlags, pages);
  if (fast === count || (gupFlags & FOLL_FAST_ONLY) !== 0) return fast;
  const rest = fast === 0 ? pages : new Float64Array(count - fast);
  const flags = gupFlags | FOLL_TOUCH | FOLL_UNLOCKABLE;
  const locked: MmapLocked = { held: false };
  const slow = yield* gupLongtermLocked(current, mm, startPage + fast, count - fast, rest, locked, flags);
  if (rest !== pages) for (let i = 0; i < slow; i++) pages[fast + i] = rest[i] as number;
  if (slow < 0) return fast > 0 ? fast : slow;
  return fast + slow;
}

/** `untagged_addr` of a page number of the running process. */
function untaggedPage(current: TaskStruct, page: number): number {
  const { arch } = current.kernel;
  if (page < arch.taskSizePages) return page;
  return Number(arch.untaggedAddress(current.cpu, BigInt(page) << 12n) >> 12n);
}
