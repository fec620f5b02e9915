/**
 * A swap slot counts the entries and objects that refer to it and nothing else, an entry that says it is the only one is,
 * and a slot that nobody refers to and no frame caches is free.
 * @see Linux mm/swapfile.c, `swap_duplicate`, `swap_free`; include/linux/swapops.h on pte_swp_exclusive
 */
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { SwapArea } from '../../kernel/frame/swap-area.ts';
import { type Audit, frameName } from './audit.ts';

/** To be called when page tables and files have been counted. */
export function auditSwap(audit: Audit): void {
  const { swap } = audit.kernel;
  if (swap === null) {
    if (audit.slots.size > 0) audit.report('there are swap entries in a kernel without swap');
    return;
  }
  let free = 0;
  for (let slot = 1; slot <= swap.slotCount; slot++) {
    const references = audit.slots.get(slot) ?? 0;
    audit.expectEqual(() => `the count of swap slot ${slot}`, swap.count(slot), references);
    if (references > 1 && audit.exclusiveSlots.has(slot))
      audit.report(`swap slot ${slot} is exclusive and shared`);
    if (swap.frameOf(slot) !== -1) auditCached(audit, swap, slot);
    else if (swap.count(slot) === 0) free++;
  }
  audit.expectEqual('the number of free swap slots', swap.freeSlots, free);
}

function auditCached(audit: Audit, swap: SwapArea, slot: number): void {
  const { frames } = audit.kernel;
  const frame = swap.frameOf(slot);
  const name = `${frameName(frame)}, which caches swap slot ${slot},`;
  if (frames.refcount(frame) === 0) audit.report(`${name} is free`);
  else if (!frames.hasFlag(frame, FrameFlag.SwapCache)) audit.report(`${name} is not marked so`);
  if (swap.slotOf(frame) !== slot) audit.report(`${name} is known to cache slot ${swap.slotOf(frame)}`);
}
