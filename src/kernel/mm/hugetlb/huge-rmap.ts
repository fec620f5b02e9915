/**
 * What changes at a huge page when an entry starts or stops mapping it. Huge pages are on no list of reclaim, and in no
 * counter of resident memory but their own.
 * @see Linux include/linux/rmap.h, `hugetlb_add_file_rmap`, `hugetlb_try_dup_anon_rmap`, `hugetlb_remove_rmap`;
 * mm/rmap.c, `hugetlb_add_new_anon_rmap`
 */
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { FrameTable } from '../../frame/frame-table.ts';
import { MMF_HAS_PINNED, type MmStruct } from '../mm.ts';
import type { VmArea } from '../vma.ts';
import { hstateOfVma, hugeStart } from './hugetlb-vma.ts';

/** A new private page, mapped by this VMA only. */
export function hugetlbAddNewAnonRmap(frames: FrameTable, frame: number, vma: VmArea, page: number): void {
  if (vma.anonVma === null) throw new Error(`anonymous page in ${vma.name}, which has no anon_vma`);
  hstateOfVma(vma).clearRestoreReserve(frame);
  frames.setFlags(frame, FrameFlag.Anon | FrameFlag.AnonExclusive);
  frames.setMapping(frame, vma.anonVma, vma.indexOf(hugeStart(vma, page)));
  hugetlbAddFileRmap(frames, frame);
}

/**
 * One more mapping of a page that is a file's. Whose it is is not kept, as with other folios: an entry of a shared table is
 * that of several address spaces.
 */
export function hugetlbAddFileRmap(frames: FrameTable, frame: number): void {
  frames.addEntireMap(frame, frames);
}

export function hugetlbRemoveRmap(frames: FrameTable, frame: number): void {
  frames.removeEntireMap(frame, frames);
}

/**
 * One more mapping of a private page, in the child of a fork; false, and nothing done, when the parent may have it
 * pinned.
 */
export function hugetlbTryDupAnonRmap(frames: FrameTable, frame: number, parent: MmStruct): boolean {
  if (frames.hasFlag(frame, FrameFlag.AnonExclusive)) {
    if ((parent.flagBits & MMF_HAS_PINNED) !== 0 && frames.maybeDmaPinned(frame)) return false;
    frames.clearFlags(frame, FrameFlag.AnonExclusive);
  }
  hugetlbAddFileRmap(frames, frame);
  return true;
}

/** Small pages that the mm maps by huge ones: more, or fewer when negative (`hugetlb_count_add`). */
export function hugetlbCountAdd(mm: MmStruct, pages: number): void {
  mm.hugetlbUsage += pages;
}
