/**
 * The huge zero folio: what read faults on untouched memory map where a huge page may go. Made on first use; every mm
 * that has mapped it keeps it until it is gone itself.
 * Left out: the shrinker that gives it back (it stays once made).
 * @see Linux mm/huge_memory.c, `get_huge_zero_folio`, `mm_get_huge_zero_folio`
 */
import { NO_FRAME } from '../../frame/buddy.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { MmStruct } from '../mm.ts';
import { HPAGE_PMD_ORDER } from './policy.ts';

/** Its first frame, or `NO_FRAME` (-1) when there is no memory for it. */
export function getHugeZeroFolio(mm: MmStruct): number {
  const { frames } = mm.kernel;
  if (frames.hugeZeroFrame !== NO_FRAME) return frames.hugeZeroFrame;
  const head = frames.allocateZeroed(HPAGE_PMD_ORDER);
  if (head === NO_FRAME) return NO_FRAME;
  const own = FrameFlag.Zero | FrameFlag.Reserved | FrameFlag.Uptodate;
  for (let i = 0; i < 2 ** HPAGE_PMD_ORDER; i++) frames.setFlags(head + i, own);
  frames.hugeZeroFrame = head;
  return head;
}
