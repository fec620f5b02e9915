/**
 * Swap entries of private memory in page tables, as walkers meet them: zapped, copied by fork. Needs the table's lock.
 * mprotect leaves them as they are: the fault that brings the page back asks the VMA.
 * @see Linux mm/memory.c, `zap_nonpresent_ptes`, `copy_nonpresent_pte`; mm/mincore.c, `mincore_swap`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import type { Halves } from '../../base/u64.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { MM_SWAPENTS, type MmStruct } from './mm.ts';
import type { TablePage } from './page-table.ts';
import { addMmCounter } from './rmap.ts';
import { freeSwapAndCache, swapAreaOf } from './swap-cache.ts';
import { isSwapType, SWP_AREA } from './swap-entry.ts';
import type { VmArea } from './vma.ts';
import { VM_UFFD_WP } from './vma-flags.ts';

/** The slot of the entry that `pageTables` read last; -1 when it is not one of a page in swap. */
export function swapSlotRead(mm: MmStruct, level: number): number {
  const { pageTables } = mm.kernel;
  const { format, hi, lo } = pageTables;
  if ((pageTables.flags(level) & EntryFlag.Swap) === 0 || !isSwapType(format.swapTypeOf(hi, lo))) return -1;
  return format.swapOffsetOf(hi, lo);
}

/** Takes the swap entry of `slot` away. */
export function* zapSwapPte(
  current: TaskStruct,
  mm: MmStruct,
  table: TablePage,
  index: number,
  slot: number,
): Task<void> {
  addMmCounter(mm, MM_SWAPENTS, -1);
  yield* freeSwapAndCache(current, slot);
  yield table.setEntry;
  mm.kernel.pageTables.write(table, index, 0, 0);
}

/** fork: one reference more, and exclusive in neither any longer. */
export function* copySwapPte(
  child: VmArea,
  source: TablePage,
  target: TablePage,
  index: number,
  slot: number,
): Task<void> {
  const { kernel } = child.mm;
  const { pageTables } = kernel;
  const swap = swapAreaOf(kernel);
  pageTables.read(source, index);
  const flags = pageTables.flags(source.level);
  yield swap.change;
  swap.duplicate(slot);
  const entry: Halves = { hi: 0, lo: 0 };
  const kept = flags & (EntryFlag.UffdWp | EntryFlag.SoftDirty);
  if ((flags & EntryFlag.SwapExclusive) !== 0) {
    pageTables.format.packSwap(SWP_AREA, slot, kept, entry);
    yield source.setEntry;
    pageTables.write(source, index, entry.hi, entry.lo);
  }
  const copied = (child.flags & VM_UFFD_WP) === 0 ? kept & ~EntryFlag.UffdWp : kept;
  pageTables.format.packSwap(SWP_AREA, slot, copied, entry);
  addMmCounter(child.mm, MM_SWAPENTS, 1);
  yield target.setEntry;
  pageTables.write(target, index, entry.hi, entry.lo);
}

/** Is a swapped page in memory, so that mincore counts it as resident? */
export function mincoreSwap({ kernel }: MmStruct, slot: number): boolean {
  const folio = swapAreaOf(kernel).frameOf(slot);
  return folio !== -1 && kernel.frames.hasFlag(folio, FrameFlag.Uptodate);
}
