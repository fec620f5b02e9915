/**
 * Pages to the swap area and back, with their memory tags. The area is memory, so a transfer is over when the call
 * returns; it takes time, and others see the page as being written back, or locked while it is read.
 * A page of zeros takes no room.
 * @see Linux mm/page_io.c, `swap_writeout`, `swap_read_folio`; arch/arm64/mm/mteswap.c
 */
import { PointKind, SchedPoint, StepCost, type Task } from '../../base/task.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { TaskStruct } from '../task-struct.ts';
import { folioUnlock } from './fault/folio-lock.ts';
import { folioFreeSwap, swapAreaOf } from './swap-cache.ts';
import { noteSwap } from './vm-events.ts';

const PAGE_BYTES = 4096;

/**
 * Writes a locked folio of the swap cache to its slot, and unlocks it. Its dirty flag is off already. When no entry
 * refers to the slot any more, the slot is given up instead.
 */
export function* swapWriteout(current: TaskStruct, folio: number): Task<void> {
  const { kernel } = current;
  const { frames, machine, pageTags } = kernel;
  if (yield* folioFreeSwap(current, folio)) {
    yield* folioUnlock(current, folio);
    return;
  }
  const swap = swapAreaOf(kernel);
  frames.setFlags(folio, FrameFlag.Writeback);
  // `arch_prepare_to_swap`: tags go first, while the lock keeps the page from being mapped again.
  const tags = pageTags?.save(folio) ?? null;
  yield* folioUnlock(current, folio);
  const { object } = frames.refPoint(folio);
  yield new SchedPoint(PointKind.Read, object, 'swap_writeout', StepCost.PageCopy);
  noteSwap(current, 'swap-out', swap.slotOf(folio), folio);
  const bytes = new Uint8Array(PAGE_BYTES);
  machine.memory.readBytes(folio, 0, bytes);
  swap.store(swap.slotOf(folio), bytes.some((byte) => byte !== 0) ? bytes : null, tags);
  yield frames.refPoint(folio);
  frames.clearFlags(folio, FrameFlag.Writeback);
}

/** Waits until the folio is written, with its lock held. @see Linux mm/page-writeback.c, `folio_wait_writeback` */
export function* folioWaitWriteback(current: TaskStruct, folio: number): Task<void> {
  const { frames } = current.kernel;
  const written = (): boolean => !frames.hasFlag(folio, FrameFlag.Writeback);
  if (written()) return;
  const { object } = frames.refPoint(folio);
  yield new SchedPoint(PointKind.Wait, object, 'folio_wait_writeback', StepCost.ContextSwitch, written);
}

/** Fills a locked folio of the swap cache from its slot and unlocks it. Tags come when it is mapped. */
export function* swapReadFolio(current: TaskStruct, folio: number): Task<void> {
  const { kernel } = current;
  const { frames, machine } = kernel;
  const swap = swapAreaOf(kernel);
  const { object } = frames.refPoint(folio);
  yield new SchedPoint(PointKind.Write, object, 'swap_read_folio', StepCost.PageCopy);
  noteSwap(current, 'swap-in', swap.slotOf(folio), folio);
  const { bytes } = swap.contents(swap.slotOf(folio));
  if (bytes === null) machine.memory.zeroFrame(folio);
  else machine.memory.writeBytes(folio, 0, bytes);
  frames.setFlags(folio, FrameFlag.Uptodate);
  yield* folioUnlock(current, folio);
}

/** Before the slot's entry goes: the folio gets the tags that its page had. @see `arch_swap_restore` */
export function archSwapRestore(current: TaskStruct, folio: number, slot: number): void {
  const { pageTags, frames } = current.kernel;
  if (pageTags === null || frames.hasFlag(folio, FrameFlag.Tagged)) return;
  const tags = swapAreaOf(current.kernel).tagsOf(slot);
  if (tags !== null) pageTags.restore(folio, tags);
}
