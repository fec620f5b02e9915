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
import { rcuReadLock, rcuReadUnlock } from '../../lock/rcu.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { inRun, unfoldRun } from '../contiguous-ptes.ts';
import { folioLock, folioUnlock } from '../fault/folio-lock.ts';
import { migrationFrameRead } from '../migration-entry.ts';
import { migrationEntryWait } from '../migration-pte.ts';
import { PmdKind, pteIndex, type TablePage } from '../page-table.ts';
import { pteAlloc, rootTable } from '../page-table-alloc.ts';
import { moveAnonRmap } from '../rmap.ts';
import { swapAreaOf } from '../swap-cache.ts';
import { isSwapType } from '../swap-entry.ts';
import { pmdTransHugeLock } from '../thp/huge-pmd.ts';
import { splitFolio } from '../thp/split-folio.ts';
import { splitHugePmd } from '../thp/split-pmd.ts';
import { flushTlbPage } from '../tlb.ts';
import type { VmArea } from '../vma.ts';
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
  if (kind === PmdKind.Huge) return yield* splitSource(current, vmas.source, sourcePage);
  if (kind === PmdKind.None) return holes ? 0 : -ENOENT;
  if ((yield* pteAlloc(current, mm, targetPage)) === null) return -ENOMEM;
  const move = new PageMove(current, vmas, targetPage, sourcePage);
  return yield* move.run(holes);
}

/** A huge page moves page by page: -EAGAIN when it has ptes now, -EBUSY when others may have it too. */
function* splitSource(current: TaskStruct, vma: VmArea, page: number): Task<number> {
  const { frames, pageTables } = current.kernel;
  const table = yield* pmdTransHugeLock(current, vma.mm, page);
  if (table === null) return -EAGAIN;
  const head = pageTables.frame(table.level);
  const movable = frames.isHugeZero(head) || frames.hasFlag(head, FrameFlag.AnonExclusive);
  yield* table.lock.unlock(current);
  if (!movable) return -EBUSY;
  yield* splitHugePmd(current, vma, page);
  return -EAGAIN;
}

/** The pte tables of both pages. */
interface Tables {
  readonly target: TablePage;
  readonly source: TablePage;
}

class PageMove {
  readonly #current: TaskStruct;
  readonly #vmas: MoveVmas;
  readonly #targetPage: number;
  readonly #sourcePage: number;

  constructor(current: TaskStruct, vmas: MoveVmas, targetPage: number, sourcePage: number) {
    this.#current = current;
    this.#vmas = vmas;
    this.#targetPage = targetPage;
    this.#sourcePage = sourcePage;
  }

  get #pageTables() {
    return this.#current.kernel.pageTables;
  }

  /** Looks first, without the page's lock: that has to be taken before those of the tables. */
  *run(holes: boolean): Task<number> {
    const { frames } = this.#current.kernel;
    const seen = yield* this.#lockBoth();
    if (seen === null) return -EAGAIN;
    const verdict = this.#verdict(seen, holes);
    const { hi, lo } = this.#pageTables;
    const frame = this.#pageTables.frame(seen.source.level);
    const migrating = verdict === -EFAULT && migrationFrameRead(this.#pageTables, seen.source.level) !== -1;
    if (verdict !== 'page') {
      const result = typeof verdict === 'number' ? verdict : yield* this.#moveEntry(seen, verdict);
      yield* this.#unlockBoth(seen);
      if (!migrating) return result;
      yield* migrationEntryWait(this.#current, this.#vmas.source.mm, this.#sourcePage);
      return -EAGAIN;
    }
    frames.get(frame);
    yield* this.#unlockBoth(seen);
    yield* folioLock(this.#current, frame);
    const result = frames.isLarge(frame) ? yield* this.#split(frame) : yield* this.#moveIfSame(frame, hi, lo);
    yield* folioUnlock(this.#current, frame);
    yield frames.refPoint(frame);
    frames.put(frame);
    return result;
  }

  /** With the folio locked. A pin would keep it from being split for as long as it lasts. */
  *#split(frame: number): Task<number> {
    if (this.#current.kernel.frames.maybeDmaPinned(frame)) return -EBUSY;
    const error = yield* splitFolio(this.#current, frame);
    return error === 0 ? -EAGAIN : error;
  }

  /** With the folio locked: looks again, for all may have changed while that was waited for. */
  *#moveIfSame(frame: number, hi: number, lo: number): Task<number> {
    const tables = yield* this.#lockBoth();
    if (tables === null) return -EAGAIN;
    const same =
      this.#isTargetEmpty(tables) && this.#pageTables.same(tables.source, this.#sourceIndex, hi, lo);
    const result = same ? yield* this.#movePresent(tables, frame) : -EAGAIN;
    yield* this.#unlockBoth(tables);
    return result;
  }

  get #sourceIndex(): number {
    return pteIndex(this.#pageTables, this.#sourcePage);
  }

  get #targetIndex(): number {
    return pteIndex(this.#pageTables, this.#targetPage);
  }

  /**
   * Finds both tables and takes their locks, in the order of the tables' addresses, as nothing else tells which is first.
   * An RCU section keeps them until `#unlockBoth`. Null, and nothing is held: a table is not there, or was taken out of
   * its pmd while we waited for the locks; whatever we put into it would be lost.
   */
  *#lockBoth(): Task<Tables | null> {
    const current = this.#current;
    rcuReadLock(current);
    const tables = this.#lookup();
    if (tables === null) {
      rcuReadUnlock(current);
      return null;
    }
    const { target, source } = tables;
    const [first, second] = target.frame < source.frame ? [target, source] : [source, target];
    yield* first.lock.lock(current);
    if (second !== first) yield* second.lock.lock(current, SINGLE_DEPTH_NESTING);
    const now = this.#lookup();
    if (now?.target === target && now.source === source) return tables;
    yield* this.#unlockBoth(tables);
    return null;
  }

  #lookup(): Tables | null {
    const pageTables = this.#pageTables;
    const root = rootTable(this.#vmas.target.mm);
    const target = pageTables.lookup(root, this.#targetPage, pageTables.lastLevel);
    const source = pageTables.lookup(root, this.#sourcePage, pageTables.lastLevel);
    return target === null || source === null ? null : { target, source };
  }

  *#unlockBoth({ target, source }: Tables): Task<void> {
    yield* target.lock.unlock(this.#current);
    if (source !== target) yield* source.lock.unlock(this.#current);
    rcuReadUnlock(this.#current);
  }

  #isTargetEmpty({ target }: Tables): boolean {
    this.#pageTables.read(target, this.#targetIndex);
    return this.#pageTables.format.isNone(this.#pageTables.hi, this.#pageTables.lo);
  }

  /** What is at the source, whose entry is in `pageTables` then: an error, 0 for a hole, or what has to be done. */
  #verdict(tables: Tables, holes: boolean): number | 'page' | 'zero' | 'swap' {
    if (!this.#isTargetEmpty(tables)) return -EEXIST;
    const { source } = tables;
    const pageTables = this.#pageTables;
    const { format } = pageTables;
    pageTables.read(source, this.#sourceIndex);
    if (format.isNone(pageTables.hi, pageTables.lo)) return holes ? 0 : -ENOENT;
    const flags = pageTables.flags(source.level);
    if ((flags & EntryFlag.Present) === 0) return this.#swapVerdict(flags);
    const { frames } = this.#current.kernel;
    const frame = pageTables.frame(source.level);
    if (frames.isZeroFrame(frame)) return 'zero';
    const exclusive = FrameFlag.Anon | FrameFlag.AnonExclusive;
    return (frames.flags(frame) & exclusive) === exclusive ? 'page' : -EBUSY;
  }

  #swapVerdict(flags: number): number | 'swap' {
    const { format, hi, lo } = this.#pageTables;
    if (!isSwapType(format.swapTypeOf(hi, lo))) return -EFAULT;
    if ((flags & EntryFlag.SwapExclusive) === 0) return -EBUSY;
    return swapAreaOf(this.#current.kernel).frameOf(format.swapOffsetOf(hi, lo)) === -1 ? 'swap' : -EBUSY;
  }

  *#moveEntry({ target, source }: Tables, what: 'zero' | 'swap'): Task<number> {
    const pageTables = this.#pageTables;
    const { mm } = this.#vmas.target;
    yield source.setEntry;
    pageTables.getAndClear(source, this.#sourceIndex);
    const { hi, lo } = pageTables;
    if (what === 'zero') yield* flushTlbPage(this.#current, mm, this.#sourcePage);
    yield target.setEntry;
    if (what === 'swap') pageTables.write(target, this.#targetIndex, hi, lo);
    else {
      const flags = vmaPageProtection(this.#vmas.target) | EntryFlag.Special;
      pageTables.setLeaf(target, this.#targetIndex, this.#current.kernel.frames.zeroFrame, flags);
    }
    return 0;
  }

  /** With the folio locked. A pin would go on showing the page at its old place. */
  *#movePresent({ target, source }: Tables, frame: number): Task<number> {
    const { kernel } = this.#current;
    const { frames } = kernel;
    const pageTables = this.#pageTables;
    const vma = this.#vmas.target;
    if (frames.maybeDmaPinned(frame) || !frames.hasFlag(frame, FrameFlag.AnonExclusive)) return -EBUSY;
    if (inRun(kernel, source, this.#sourceIndex)) {
      yield* unfoldRun(this.#current, vma.mm, source, this.#sourcePage);
    }
    yield source.setEntry;
    pageTables.getAndClear(source, this.#sourceIndex);
    const dirty = pageTables.flags(source.level) & EntryFlag.Dirty;
    yield* flushTlbPage(this.#current, vma.mm, this.#sourcePage);
    moveAnonRmap(frames, frame, vma);
    frames.setMapping(frame, vma.anonVma, vma.indexOf(this.#targetPage));
    yield target.setEntry;
    const flags = vmaPageProtection(vma) | dirty | maybeWritable(vma);
    pageTables.setLeaf(target, this.#targetIndex, frame, flags);
    return 0;
  }
}
