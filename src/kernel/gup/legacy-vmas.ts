/**
 * get_user_pages and its like as they were up to Linux 6.4, with the array that gives a VMA for each page. A pointer in it
 * carries no reference: it is good as long as the mmap lock is held without a gap from the call on, and nothing keeps a
 * caller from using it later. Here a slot knows whether that is over, and tells of a use that comes too late.
 * Demonstrations use this and nothing else does (`legacy-vmas-in-demonstrations-only` of .dependency-cruiser.cjs): the
 * entries of today are in get-user-pages.ts and get-user-pages-remote.ts, the VMA of one page comes from
 * get-user-page-vma-remote.ts.
 * Left out: FOLL_LONGTERM, whose loop stood around this one as it stands around today's; hugetlb pages got several at a time.
 * @see Linux v6.4 mm/gup.c, `__get_user_pages`, `is_valid_gup_args`; Lorenzo Stoakes, "[PATCH v4 0/6] remove the vmas
 * parameter from GUP APIs", April 2023
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../base/task.ts';
import { EFAULT, EINTR, EINVAL } from '../errno.ts';
import { mmapReadLockKillable, mmapReadUnlock } from '../lock/mmap-lock.ts';
import { MMF_HAS_PINNED, type MmStruct } from '../mm/mm.ts';
import type { VmArea } from '../mm/vma.ts';
import type { TaskStruct } from '../task-struct.ts';
import {
  FOLL_LONGTERM,
  FOLL_NOWAIT,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_TOUCH,
  FOLL_TRIED,
  FOLL_UNLOCKABLE,
  type MmapLocked,
  type PageArray,
} from './foll-flags.ts';
import { getUserPagesLoop, untaggedPageRemote } from './get-user-pages-loop.ts';
import { INVALID_GUP_ARGS, validGupFlags } from './is-valid-gup-args.ts';

/** What a VMA says of itself. Page numbers; those of a VMA that was given back and is nobody's are NaN. */
export interface VmaContent {
  /** Name of the object as the VMA that it is: another one when it has become another VMA. */
  readonly name: string;
  /** Whose address space it belongs to. */
  readonly mm: string;
  readonly start: number;
  readonly end: number;
  /** VM_* bits 31:0. */
  readonly flags: number;
}

/** What had become of the object by the time of a use. */
type VmaFate =
  /** The same range with the same flags. */
  | 'unchanged'
  /** The same VMA, which describes something else now: split, merged, moved, or of another protection. */
  | 'changed'
  /** Out of the tree and given back: memory that belongs to nobody. */
  | 'freed'
  /** Given back, and another VMA of the same address space by now. */
  | 'another VMA'
  /** Given back, and a VMA of another address space by now. */
  | 'another mm';

/** One look at `vmas[i]`. */
export interface VmaUse {
  /** The slot. */
  readonly slot: number;
  /** The page for which the slot was filled, a page number. */
  readonly page: number;
  /** The lock under which the slot was filled was let go before this use: it is a bug, whatever is read. */
  readonly afterUnlock: boolean;
  readonly fate: VmaFate;
  /** What the VMA said when the slot was filled. */
  readonly filled: VmaContent;
  /** What was read now. */
  readonly read: VmaContent;
}

interface VmaSlot {
  readonly vma: VmArea;
  readonly page: number;
  readonly filled: VmaContent;
  afterUnlock: boolean;
}

/** What a VMA says of itself now. */
export const contentOf = (vma: VmArea): VmaContent => ({
  name: vma.name,
  mm: vma.mm.name,
  start: vma.start,
  end: vma.end,
  flags: vma.flags,
});

/** `struct vm_area_struct **vmas`. */
export class VmaArray {
  readonly #slots: VmaSlot[] = [];

  /** Slots that were filled. */
  get filled(): number {
    return this.#slots.length;
  }

  /** The page for which the slot was filled. */
  pageOf(slot: number): number {
    return this.#slot(slot).page;
  }

  #slot(slot: number): VmaSlot {
    const entry = this.#slots[slot];
    if (entry === undefined) throw new Error(`vmas[${slot}] was never filled`);
    return entry;
  }

  /** `vmas[slot] = vma`, by GUP. */
  fill(slot: number, page: number, vma: VmArea): void {
    this.#slots[slot] = { vma, page, filled: contentOf(vma), afterUnlock: false };
  }

  /** The mmap lock is let go: from now on nothing keeps any of the VMAs. */
  lockDropped(): void {
    for (const slot of this.#slots) slot.afterUnlock = true;
  }

  /**
   * Reads `vmas[slot]` as its caller does, without looking whether it may. A use after the lock was let go is told as a
   * warning of the kernel, as a sanitizer would.
   */
  *use(current: TaskStruct, slot: number): Task<VmaUse> {
    const entry = this.#slot(slot);
    yield new SchedPoint(PointKind.Read, entry.vma, 'vmas[i]', StepCost.SharedLoad);
    const read = contentOf(entry.vma);
    const { page, filled, afterUnlock } = entry;
    const use: VmaUse = { slot, page, afterUnlock, fate: fateOf(entry.vma, filled, read), filled, read };
    if (afterUnlock) current.kernel.warnings.once(current, 'vmas[]', describeVmaUse(use));
    return use;
  }
}

function fateOf(vma: VmArea, filled: VmaContent, read: VmaContent): VmaFate {
  if (Number.isNaN(read.start)) return 'freed';
  if (read.name !== filled.name) return read.mm === filled.mm ? 'another VMA' : 'another mm';
  // Unlinked by a writer that has not got round to giving it back.
  if (vma.detached) return 'freed';
  const same = read.start === filled.start && read.end === filled.end && read.flags === filled.flags;
  return same ? 'unchanged' : 'changed';
}

/** One line: which slot, what it was, what it is. */
export function describeVmaUse({ slot, page, afterUnlock, fate, filled, read }: VmaUse): string {
  const when = afterUnlock ? 'used after mmap_lock was let go' : 'used under mmap_lock';
  const now = fate === 'unchanged' ? 'unchanged' : `${fate}, reads ${describeContent(read)}`;
  return `vmas[${slot}] of page ${hexPage(page)} ${when}: was ${describeContent(filled)}; ${now}`;
}

const hexPage = (page: number): string => (Number.isNaN(page) ? 'nothing' : `0x${page.toString(16)}000`);
const describeContent = ({ name, start, end, flags }: VmaContent): string =>
  `${name} ${hexPage(start)}-${hexPage(end)} flags 0x${(flags >>> 0).toString(16)}`;

/** How the entries of old take what is not among today's arguments. */
export interface LegacyOptions {
  /**
   * False leaves out the check that refuses `vmas` to a call that may drop the lock. For showing what it is for.
   */
  readonly guard?: boolean;
}

/** `get_user_pages(start, nr, gup_flags, pages, vmas)`: pages got, or -errno. The lock is held and never dropped. */
export function legacyGetUserPages(
  current: TaskStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
  vmas: VmaArray | null,
): Task<number> {
  const mm = ownMm(current);
  return entry(current, mm, startPage, count, { gupFlags, toSet: FOLL_TOUCH, pages, vmas, locked: null });
}

/** `pin_user_pages(start, nr, gup_flags, pages, vmas)`: as `legacyGetUserPages` with pins; bad arguments give 0. */
export function legacyPinUserPages(
  current: TaskStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
  vmas: VmaArray | null,
): Task<number> {
  const mm = ownMm(current);
  return entry(current, mm, startPage, count, { gupFlags, toSet: FOLL_PIN, pages, vmas, locked: null });
}

/**
 * `get_user_pages_remote(mm, start, nr, gup_flags, pages, vmas, locked)`: pages got, or -errno. With `locked` the lock may
 * be dropped, and then `vmas` is refused (-EINVAL): slots filled before the drop would dangle on return.
 */
export function legacyGetUserPagesRemote(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray | null,
  vmas: VmaArray | null,
  locked: MmapLocked | null,
  options: LegacyOptions = {},
): Task<number> {
  const toSet = FOLL_TOUCH | FOLL_REMOTE;
  return entry(current, mm, startPage, count, { gupFlags, toSet, pages, vmas, locked, ...options });
}

/** `pin_user_pages_remote(mm, start, nr, gup_flags, pages, vmas, locked)`: the same with pins; bad arguments give 0. */
export function legacyPinUserPagesRemote(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  gupFlags: number,
  pages: PageArray,
  vmas: VmaArray | null,
  locked: MmapLocked | null,
  options: LegacyOptions = {},
): Task<number> {
  const toSet = FOLL_PIN | FOLL_TOUCH | FOLL_REMOTE;
  return entry(current, mm, startPage, count, { gupFlags, toSet, pages, vmas, locked, ...options });
}

function ownMm(current: TaskStruct): MmStruct {
  if (current.mm === null) throw new Error(`${current.name} has no address space to get pages of`);
  return current.mm;
}

interface LegacyCall extends LegacyOptions {
  readonly gupFlags: number;
  readonly toSet: number;
  readonly pages: PageArray | null;
  readonly vmas: VmaArray | null;
  readonly locked: MmapLocked | null;
}

function* entry(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  call: LegacyCall,
): Task<number> {
  const { gupFlags, toSet, pages, vmas, locked, guard = true } = call;
  const refused = (toSet & FOLL_PIN) === 0 ? -EINVAL : 0;
  const flags = validGupFlags(current, pages, locked, gupFlags, toSet);
  if (flags === INVALID_GUP_ARGS) return refused;
  if ((flags & FOLL_LONGTERM) !== 0) throw new Error('the GUP of old is modelled without FOLL_LONGTERM');
  const guarded = guard && !mm.kernel.bugs.vmasDroppedLock;
  if (guarded && vmas !== null && (flags & FOLL_UNLOCKABLE) !== 0) {
    current.kernel.warnings.once(current, 'is_valid_gup_args', 'vmas of a call that may drop mmap_lock');
    return refused;
  }
  if (count === 0) return 0;
  if ((flags & FOLL_PIN) !== 0) mm.flagBits |= MMF_HAS_PINNED;
  if (locked === null || (flags & FOLL_UNLOCKABLE) === 0) {
    return yield* loop(current, mm, startPage, count, flags, pages, vmas, 0, null);
  }
  return yield* withRetries(current, mm, startPage, count, flags, pages, vmas, locked);
}

/**
 * The slow loop, which with `vmas` gave one page at a time: a slot for each page leaves no room for taking the rest of a
 * huge page in one step.
 */
function* loop(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  flags: number,
  pages: PageArray | null,
  vmas: VmaArray | null,
  firstSlot: number,
  locked: MmapLocked | null,
): Task<number> {
  if (vmas === null) {
    return yield* getUserPagesLoop(current, mm, startPage, count, flags, pages, firstSlot, locked);
  }
  for (let done = 0; done < count; done++) {
    const page = startPage + done;
    const got = yield* getUserPagesLoop(current, mm, page, 1, flags, pages, firstSlot + done, locked);
    if (got !== 1) return done > 0 ? done : got;
    // The VMA that the loop has at hand: nobody could change the tree since.
    const vma = mm.vmas.lookup(untaggedPageRemote(current, mm, page));
    if (vma !== null) vmas.fill(firstSlot + done, page, vma);
  }
  return count;
}

/** Where a call that may drop the lock stands. */
interface Progress {
  done: number;
  error: number;
  /** FOLL_TRIED: the lock was dropped, and one page alone is tried again. */
  tried: number;
  /** The lock was dropped, so it must not be held on return. */
  dropped: boolean;
}

/** What `__get_user_pages_locked` does of a call that may drop the lock; slots filled before a drop stay as they are. */
function* withRetries(
  current: TaskStruct,
  mm: MmStruct,
  startPage: number,
  count: number,
  flags: number,
  pages: PageArray | null,
  vmas: VmaArray | null,
  locked: MmapLocked,
): Task<number> {
  const state: Progress = { done: 0, error: 0, tried: 0, dropped: false };
  for (;;) {
    const { done, tried } = state;
    const wanted = tried === 0 ? count - done : 1;
    const all = flags | tried;
    const got = yield* loop(current, mm, startPage + done, wanted, all, pages, vmas, done, locked);
    if (isOver(state, got, count, locked.held)) break;
    if (locked.held) continue;
    vmas?.lockDropped();
    state.error = yield* lockAgain(current, mm, locked);
    if (state.error !== 0) break;
  }
  if (state.dropped) yield* letGo(current, mm, vmas, locked);
  return outcome(state, flags);
}

/**
 * Notes what a part has brought. Over is a bulk call that kept the lock, whatever it brought, and a single page that did not
 * come; a single page that came goes back to the bulk.
 */
function isOver(state: Progress, got: number, count: number, held: boolean): boolean {
  if (got > 0) state.done += got;
  if (!held) {
    state.dropped = true;
    state.tried = FOLL_TRIED;
    return state.done === count;
  }
  if (got < 0) state.error = got;
  if (state.tried === 0 || got !== 1 || state.done === count) return true;
  state.tried = 0;
  return false;
}

function outcome({ done, error }: Progress, flags: number): number {
  if (done > 0) return done;
  if (error !== 0) return error;
  return (flags & FOLL_NOWAIT) === 0 ? -EFAULT : 0;
}

function* letGo(current: TaskStruct, mm: MmStruct, vmas: VmaArray | null, locked: MmapLocked): Task<void> {
  vmas?.lockDropped();
  if (!locked.held) return;
  yield* mmapReadUnlock(current, mm);
  locked.held = false;
}

function* lockAgain(current: TaskStruct, mm: MmStruct, locked: MmapLocked): Task<number> {
  if (current.fatalSignalPending()) return -EINTR;
  const killed = yield* mmapReadLockKillable(current, mm);
  locked.held = killed === 0;
  return killed;
}
