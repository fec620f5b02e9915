/**
 * Moving one page between two ptes, both tables locked, the old translation flushed before anybody can write through the
 * new one.
 * @see Linux mm/userfaultfd.c, `move_pages_ptes`, `move_present_ptes`, `move_zeropage_pte`, `move_swap_pte`
 */
import { EntryFlag } from '../../../arch/paging-format.ts';
import type { Task } from '../../../base/task.ts';
import { EAGAIN, EBUSY, EEXIST, EFAULT, ENOENT, ENOMEM } from '../../errno.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import { SINGLE_DEPTH_NESTING } from '../../lock/lock-classes.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { inRun, unfoldRun } from '../contiguous-ptes.ts';
import { folioLock, folioUnlock } from '../fault/folio-lock.ts';
import { PmdKind, pteIndex, type TablePage } from '../page-table.ts';
import { pteAlloc, rootTable } from '../page-table-alloc.ts';
import { moveAnonRmap } from '../rmap.ts';
import { swapAreaOf } from '../swap-cache.ts';
import { isSwapType } from '../swap-entry.ts';
import { flushTlbPage } from '../tlb.ts';
import { maybeWritable, vmaPageProtection } from '../vma-protection.ts';
import type { MoveVmas } from './move-lock.ts';

/** 0, -EAGAIN (look again), or what is in the way. @param holes nothing at the source is no error */
export function* movePage(
  current: TaskStruct,
  vmas: MoveVmas,
  targetPage: number,
  sourcePage: number,
  holes: boolean,
): Task<number> {
  const { mm } = vmas.target;
  const { pageTables } = mm.kernel;
  const root = rootTable(mm);
  const kind = pageTables.pmdKind(root, sourcePage);
  if (pageTables.pmdKind(root, targetPage) === PmdKind.Huge) return -EEXIST;
  if (kind === PmdKind.Huge) return -EBUSY;
  if (kind === PmdKind.None) return holes ? 0 : -ENOENT;
  const target = yield* pteAlloc(current, mm, targetPage);
  const source = pageTables.lookup(root, sourcePage, pageTables.lastLevel);
  if (target === null) return -ENOMEM;
  if (source === null) return -EAGAIN;
  const move = new PageMove(current, vmas, target, source, targetPage, sourcePage);
  return yield* move.run(holes);
}

class PageMove {
  readonly #current: TaskStruct;
  readonly #vmas: MoveVmas;
  readonly #target: TablePage;
  readonly #source: TablePage;
  readonly #targetPage: number;
  readonly #sourcePage: number;

  constructor(
    current: TaskStruct,
    vmas: MoveVmas,
    target: TablePage,
    source: TablePage,
    targetPage: number,
    sourcePage: number,
  ) {
    this.#current = current;
    this.#vmas = vmas;
    this.#target = target;
    this.#source = source;
    this.#targetPage = targetPage;
    this.#sourcePage = sourcePage;
  }

  get #pageTables() {
    return this.#current.kernel.pageTables;
  }

  /** Looks first, without both locks: the page has to be locked before them. */
  *run(holes: boolean): Task<number> {
    const { frames } = this.#current.kernel;
    yield* this.#lockBoth();
    const verdict = this.#verdict(holes);
    const { hi, lo } = this.#pageTables;
    const frame = this.#pageTables.frame(this.#source.level);
    if (verdict !== 'page') {
      const result = typeof verdict === 'number' ? verdict : yield* this.#moveEntry(verdict);
      yield* this.#unlockBoth();
      return result;
    }
    frames.get(frame);
    yield* this.#unlockBoth();
    yield* folioLock(frames, frame);
    yield* this.#lockBoth();
    const same = this.#stable() && this.#pageTables.same(this.#source, this.#sourceIndex, hi, lo);
    const result = same ? yield* this.#movePresent(frame) : -EAGAIN;
    yield* this.#unlockBoth();
    yield* folioUnlock(frames, frame);
    yield frames.refPoint(frame);
    frames.put(frame);
    return result;
  }

  get #sourceIndex(): number {
    return pteIndex(this.#pageTables, this.#sourcePage);
  }

  get #targetIndex(): number {
    return pteIndex(this.#pageTables, this.#targetPage);
  }

  /** In the order of the tables' addresses, as nothing else tells which is first. */
  *#lockBoth(): Task<void> {
    const [first, second] =
      this.#target.frame < this.#source.frame ? [this.#target, this.#source] : [this.#source, this.#target];
    yield* first.lock.lock(this.#current);
    if (second !== first) yield* second.lock.lock(this.#current, SINGLE_DEPTH_NESTING);
  }

  *#unlockBoth(): Task<void> {
    yield* this.#target.lock.unlock(this.#current);
    if (this.#source !== this.#target) yield* this.#source.lock.unlock(this.#current);
  }

  /** Are the tables still there, and the target empty? */
  #stable(): boolean {
    if (this.#target.freed || this.#source.freed) return false;
    this.#pageTables.read(this.#target, this.#targetIndex);
    return this.#pageTables.format.isNone(this.#pageTables.hi, this.#pageTables.lo);
  }

  /** What is at the source, whose entry is in `pageTables` then: an error, 0 for a hole, or what has to be done. */
  #verdict(holes: boolean): number | 'page' | 'zero' | 'swap' {
    if (this.#target.freed || this.#source.freed) return -EAGAIN;
    if (!this.#stable()) return -EEXIST;
    const pageTables = this.#pageTables;
    const { format } = pageTables;
    pageTables.read(this.#source, this.#sourceIndex);
    if (format.isNone(pageTables.hi, pageTables.lo)) return holes ? 0 : -ENOENT;
    const flags = pageTables.flags(this.#source.level);
    if ((flags & EntryFlag.Present) === 0) return this.#swapVerdict(flags);
    const { frames } = this.#current.kernel;
    const frame = pageTables.frame(this.#source.level);
    if (frames.isZeroFrame(frame)) return 'zero';
    const exclusive = FrameFlag.Anon | FrameFlag.AnonExclusive;
    const movable = (frames.flags(frame) & exclusive) === exclusive && frames.order(frame) === 0;
    return movable ? 'page' : -EBUSY;
  }

  #swapVerdict(flags: number): number | 'swap' {
    const { format, hi, lo } = this.#pageTables;
    if (!isSwapType(format.swapTypeOf(hi, lo))) return -EFAULT;
    if ((flags & EntryFlag.SwapExclusive) === 0) return -EBUSY;
    return swapAreaOf(this.#current.kernel).frameOf(format.swapOffsetOf(hi, lo)) === -1 ? 'swap' : -EBUSY;
  }

  *#moveEntry(what: 'zero' | 'swap' | 'page'): Task<number> {
    const pageTables = this.#pageTables;
    const { mm } = this.#vmas.target;
    yield this.#source.setEntry;
    pageTables.getAndClear(this.#source, this.#sourceIndex);
    const { hi, lo } = pageTables;
    if (what === 'zero') yield* flushTlbPage(this.#current, mm, this.#sourcePage);
    yield this.#target.setEntry;
    if (what === 'swap') pageTables.write(this.#target, this.#targetIndex, hi, lo);
    else {
      const flags = vmaPageProtection(this.#vmas.target) | EntryFlag.Special;
      pageTables.setLeaf(this.#target, this.#targetIndex, this.#current.kernel.frames.zeroFrame, flags);
    }
    return 0;
  }

  /** With the folio locked. A pin would go on showing the page at its old place. */
  *#movePresent(frame: number): Task<number> {
    const { kernel } = this.#current;
    const { frames } = kernel;
    const pageTables = this.#pageTables;
    const vma = this.#vmas.target;
    if (frames.maybeDmaPinned(frame) || !frames.hasFlag(frame, FrameFlag.AnonExclusive)) return -EBUSY;
    if (inRun(kernel, this.#source, this.#sourceIndex)) {
      yield* unfoldRun(this.#current, vma.mm, this.#source, this.#sourcePage);
    }
    yield this.#source.setEntry;
    pageTables.getAndClear(this.#source, this.#sourceIndex);
    const dirty = pageTables.flags(this.#source.level) & EntryFlag.Dirty;
    yield* flushTlbPage(this.#current, vma.mm, this.#sourcePage);
    moveAnonRmap(frames, frame, vma);
    frames.setMapping(frame, vma.anonVma, vma.indexOf(this.#targetPage));
    yield this.#target.setEntry;
    const flags = vmaPageProtection(vma) | dirty | maybeWritable(vma);
    pageTables.setLeaf(this.#target, this.#targetIndex, frame, flags);
    return 0;
  }
}
