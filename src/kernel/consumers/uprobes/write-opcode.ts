/**
 * Putting an instruction into a program, as rewritten in 2025: GUP breaks copy-on-write where it must, a second walk finds
 * the same page under its table's lock, and while the page is unmapped there the bytes are changed. When the original comes
 * back and nobody else has the page, it goes, and the next access maps the file's page again.
 * Left out: device memory, making a huge page of the file's again where the page that goes was in its way
 * (`collapse_pte_mapped_thp`).
 * @see Linux kernel/events/uprobes.c, `uprobe_write`, `__uprobe_write`, `verify_opcode`; David Hildenbrand,
 * "kernel/events/uprobes: uprobe_write_opcode() rewrite", 21 March 2025
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EFAULT, EINVAL } from '../../errno.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { FOLL_FORCE, FOLL_SPLIT_PMD, FOLL_WRITE } from '../../gup/foll-flags.ts';
import { getUserPagesRemote } from '../../gup/get-user-pages-remote.ts';
import { putUserPage } from '../../gup/pin.ts';
import type { Kernel } from '../../kernel.ts';
import { inRun, unfoldRun } from '../../mm/contiguous-ptes.ts';
import { folioTrylock, folioUnlock } from '../../mm/fault/folio-lock.ts';
import { type FolioWalk, folioWalkEnd, folioWalkStart } from '../../mm/folio-walk.ts';
import { MM_ANONPAGES } from '../../mm/mm.ts';
import { mmuNotifierEnd, mmuNotifierRange, mmuNotifierStart } from '../../mm/mmu-notifier.ts';
import { addMmCounter, removeRmap } from '../../mm/rmap.ts';
import { folioFreeSwap } from '../../mm/swap-cache.ts';
import { flushTlbPage } from '../../mm/tlb.ts';
import type { VmArea } from '../../mm/vma.ts';
import { VM_UFFD_MISSING, VM_UFFD_WP } from '../../mm/vma-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { updateRefCtr } from './ref-ctr.ts';
import type { Uprobe, UprobeTree } from './uprobe.ts';

const PAGE_SIZE = 4096;

/** What is to be written, and where. */
interface OpcodeWrite {
  readonly uprobe: Uprobe;
  readonly vma: VmArea;
  readonly page: number;
  /** Byte offset in the page. */
  readonly offset: number;
  /** As long as a breakpoint, and aligned to that: never across a page. */
  readonly bytes: Uint8Array;
  readonly isRegister: boolean;
}

function bytesAt({ machine }: Kernel, frame: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  if (!machine.memory.readBytes(frame, offset, bytes)) {
    throw new Error(`frame 0x${frame.toString(16)} of the allocator has no memory`);
  }
  return bytes;
}

const equal = (one: Uint8Array, other: Uint8Array): boolean => one.every((byte, at) => byte === other[at]);

/** Is there anything to do? A breakpoint of somebody else's counts as ours. @see `verify_opcode` */
function mustWrite({ kernel }: TaskStruct, { bytes, offset }: OpcodeWrite, frame: number): boolean {
  const { breakpoint } = kernel.arch.probes;
  const isBreakpoint = equal(breakpoint, bytesAt(kernel, frame, offset, breakpoint.length));
  return equal(breakpoint, bytes) ? !isBreakpoint : isBreakpoint;
}

/**
 * Writes `bytes` at `address` of the VMA; mmap_lock is held for writing. Removing first tries without breaking
 * copy-on-write, as the page may be the file's already. 0 or a negative errno, and then the reference counter is as before.
 * @param address a byte address
 */
export function* uprobeWriteOpcode(
  current: TaskStruct,
  tree: UprobeTree,
  uprobe: Uprobe,
  vma: VmArea,
  address: bigint,
  bytes: Uint8Array,
  isRegister: boolean,
): Task<number> {
  if (!vma.cow) {
    current.kernel.warnings.once(current, 'uprobe_write', 'the VMA is no private one');
    return -EINVAL;
  }
  const write: OpcodeWrite = {
    uprobe,
    vma,
    page: Number(address >> 12n),
    offset: Number(address & 0xfffn),
    bytes,
    isRegister,
  };
  const state = { gupFlags: FOLL_FORCE, counted: false };
  if (isRegister) state.gupFlags |= FOLL_WRITE | FOLL_SPLIT_PMD;
  let error: number;
  do error = yield* attempt(current, tree, write, state);
  while (error === -EAGAIN);
  if (error < 0 && state.counted) yield* updateRefCtr(current, tree, uprobe, vma.mm, isRegister ? -1 : 1);
  return error;
}

/** One round: 0, -EAGAIN (again, maybe with a write fault first), or the error to end with. */
function* attempt(
  current: TaskStruct,
  tree: UprobeTree,
  write: OpcodeWrite,
  state: { gupFlags: number; counted: boolean },
): Task<number> {
  const { vma, page } = write;
  const pages = [-1];
  const got = yield* getUserPagesRemote(current, vma.mm, page, 1, state.gupFlags, pages, null);
  if (got <= 0) return got;
  const [frame = -1] = pages;
  let error = 0;
  if (mustWrite(current, write, frame)) {
    error = yield* countOnce(current, tree, write, state);
    if (error === 0) error = yield* writeIfOwn(current, write, frame, state);
  }
  yield* putUserPage(current, frame);
  return error;
}

/** The reference counter goes up or down in the first round that comes so far. 0 or a negative errno. */
function* countOnce(
  current: TaskStruct,
  tree: UprobeTree,
  { uprobe, vma, isRegister }: OpcodeWrite,
  state: { counted: boolean },
): Task<number> {
  if (state.counted || uprobe.refCtrOffset === 0) return 0;
  const error = yield* updateRefCtr(current, tree, uprobe, vma.mm, isRegister ? 1 : -1);
  state.counted = error === 0;
  return error;
}

/** 0, or -EAGAIN: once more, after a write fault where the page must become this mm's own. */
function* writeIfOwn(
  current: TaskStruct,
  write: OpcodeWrite,
  frame: number,
  state: { gupFlags: number },
): Task<number> {
  if (!current.kernel.frames.hasFlag(frame, FrameFlag.Anon)) {
    // Of the file's own page nothing is changed: there the breakpoint is gone already.
    if (write.isRegister)
      current.kernel.warnings.once(current, 'uprobe_write', 'a page of the file to write to');
    return 0;
  }
  // The page may go: secondary MMUs are told beforehand, as they cannot be under the table's lock.
  const { vma, page, isRegister } = write;
  const range = isRegister ? null : mmuNotifierRange(vma.mm, page, page + 1, 'clear');
  yield* mmuNotifierStart(current, range);
  const error = yield* writeMapped(current, write, frame);
  yield* mmuNotifierEnd(current, range);
  if (error === -EFAULT) state.gupFlags |= FOLL_WRITE | FOLL_SPLIT_PMD;
  return error === -EFAULT ? -EAGAIN : error;
}

/** Finds the page again, under its table's lock: 0, -EAGAIN (another one is there), -EFAULT (not writable like this). */
function* writeMapped(current: TaskStruct, write: OpcodeWrite, frame: number): Task<number> {
  const walk = yield* folioWalkStart(current, write.vma, write.page, 0);
  if (walk === null) return -EAGAIN;
  const error = walk.frame === frame ? yield* writeUnderLock(current, write, walk) : -EAGAIN;
  yield* folioWalkEnd(current, walk);
  return error;
}

/** May the page be changed through an entry that is not writable? @see `can_follow_write_pte` */
function mayWrite({ frames }: Kernel, { vma }: OpcodeWrite, { flags, frame }: FolioWalk): boolean {
  if ((flags & EntryFlag.Write) !== 0) return true;
  if (!frames.hasFlag(frame, FrameFlag.AnonExclusive)) return false;
  return (vma.flags & VM_UFFD_WP) === 0 || (flags & EntryFlag.UffdWp) === 0;
}

/** @see `__uprobe_write` */
function* writeUnderLock(current: TaskStruct, write: OpcodeWrite, walk: FolioWalk): Task<number> {
  const { kernel } = current;
  const { pageTables, machine } = kernel;
  const { vma, page, offset, bytes } = write;
  const { table, index, frame } = walk;
  if (table.level !== pageTables.lastLevel || !mayWrite(kernel, write, walk)) return -EFAULT;
  if (inRun(kernel, table, index)) yield* unfoldRun(current, vma.mm, table, page);
  yield table.setEntry;
  pageTables.getAndClear(table, index);
  const flags = pageTables.flags(table.level);
  yield* flushTlbPage(current, vma.mm, page);
  // No CPU can see the page here now, so the instruction changes at once for all.
  yield kernel.copyPoints.of(frame, bytes.length, true);
  machine.memory.writeBytes(frame, offset, bytes);
  if (yield* mayZap(current, write, frame)) {
    yield* zap(current, vma, frame);
    return 0;
  }
  yield table.setEntry;
  pageTables.setLeaf(table, index, frame, flags | EntryFlag.Dirty);
  return 0;
}

/** Would the next access find the same in the file's page, and does nobody else have this one? */
function* mayZap(current: TaskStruct, { vma, page, isRegister }: OpcodeWrite, frame: number): Task<boolean> {
  if (isRegister || (vma.flags & VM_UFFD_MISSING) !== 0) return false;
  const { frames } = current.kernel;
  const folio = frames.head(frame);
  yield frames.refPoint(folio);
  const swapCache = frames.hasFlag(folio, FrameFlag.SwapCache) ? 2 ** frames.order(folio) : 0;
  // The entries' references and our own.
  if (frames.refcount(folio) !== frames.folioMapcount(folio) + swapCache + 1) return false;
  return yield* originalIsIdentical(current, vma, page, frame);
}

/** @see `orig_page_is_identical`, `pages_identical` */
function* originalIsIdentical(current: TaskStruct, vma: VmArea, page: number, frame: number): Task<boolean> {
  const { kernel } = current;
  const { frames } = kernel;
  const mapping = vma.file?.mapping;
  if (mapping === undefined) return false;
  yield mapping.change;
  const original = mapping.frameAt(vma.indexOf(page));
  if (original < 0 || !frames.hasFlag(original, FrameFlag.Uptodate)) return false;
  // Memory tags are contents too, which the comparison of bytes does not see.
  if (frames.hasFlag(original, FrameFlag.Tagged) || frames.hasFlag(frame, FrameFlag.Tagged)) return false;
  return equal(bytesAt(kernel, original, 0, PAGE_SIZE), bytesAt(kernel, frame, 0, PAGE_SIZE));
}

/** The entry is gone already; its reference is dropped here, the caller's is left. */
function* zap(current: TaskStruct, vma: VmArea, frame: number): Task<void> {
  const { frames } = current.kernel;
  const folio = frames.head(frame);
  addMmCounter(vma.mm, MM_ANONPAGES, -1);
  removeRmap(frames, frame, vma.mm);
  const cached = !frames.isMapped(folio) && frames.hasFlag(folio, FrameFlag.SwapCache);
  if (cached && (yield* folioTrylock(current, folio))) {
    yield* folioFreeSwap(current, folio);
    yield* folioUnlock(current, folio);
  }
  yield frames.refPoint(frame);
  frames.put(frame);
}
