/**
 * Marking entries so that the next access shows where memory is used (NUMA balancing): they lose all rights, as PROT_NONE
 * ones, though their VMA has some, and the fault gives them back.
 * Left out: nodes. A page is taken to lie on another node than its user, so that it is marked, and stays where it is.
 * @see Linux mm/mempolicy.c, `folio_can_map_prot_numa`; mm/mprotect.c, `change_pte_range`
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { VmArea } from './vma.ts';

/** What `NUMA_PTE_UPDATES` and `NUMA_HINT_FAULTS` of /proc/vmstat count. */
export interface NumaEvents {
  /** Pages that were marked. */
  pteUpdates: number;
  /** Faults of marked pages. */
  hintFaults: number;
}

/**
 * May a present leaf be marked? Not if it is already, if it has no page of its own, or if its page could not move: shared by
 * copies on write, pinned, or dirty and a file's.
 * @param frame what it maps, of a huge page the first
 */
export function canMapProtNuma(vma: VmArea, flags: number, frame: number): boolean {
  const { frames } = vma.mm.kernel;
  if ((flags & (EntryFlag.Protnone | EntryFlag.Special)) !== 0) return false;
  if (frames.isZeroFrame(frame)) return false;
  const folio = frames.head(frame);
  if (vma.cow && frames.maybeMappedShared(folio)) return false;
  if (frames.maybeDmaPinned(folio)) return false;
  return (frames.flags(folio) & (FrameFlag.SwapBacked | FrameFlag.Dirty)) !== FrameFlag.Dirty;
}
