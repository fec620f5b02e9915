/**
 * Reclaim finds every page of user memory: each folio that is mapped or cached is on one list, the one that its flags
 * name, and the lists know how many pages they have. Huge pages of a pool and broken ones are on none.
 * @see Linux include/linux/mm_inline.h, `lruvec_add_folio`, `folio_lru_list`; mm/vmscan.c, `folio_isolate_lru`
 */
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import { LruList } from '../../kernel/frame/lru-lists.ts';
import { folioLruList } from '../../kernel/mm/reclaim/lru.ts';
import { type Audit, frameName } from './audit.ts';

export function auditLru(audit: Audit): void {
  const { frames } = audit.kernel;
  const listed = new Set<number>();
  for (const list of Object.values(LruList)) {
    let pages = 0;
    for (const folio of frames.lru.folios(list)) {
      listed.add(folio);
      pages += 2 ** frames.order(folio);
      auditListed(audit, folio, list);
    }
    audit.expectEqual(`the size of list ${list} of reclaim`, frames.lru.pages(list), pages);
  }
  for (const folio of frames.foliosInUse()) {
    const flagged = frames.hasFlag(folio, FrameFlag.Lru);
    if (flagged !== listed.has(folio))
      audit.report(`${frameName(folio)} is ${flagged ? 'on no' : 'on a'} list`);
    if (!flagged && isForReclaim(audit, folio)) audit.report(`reclaim does not find ${frameName(folio)}`);
  }
}

function auditListed(audit: Audit, folio: number, list: LruList): void {
  const { frames } = audit.kernel;
  if (frames.refcount(folio) === 0) audit.report(`${frameName(folio)} is free and on a list of reclaim`);
  else if (folioLruList(frames.flags(folio)) !== list) audit.report(`${frameName(folio)} is on list ${list}`);
}

/** Whoever maps or caches a page leaves it to reclaim. */
function isForReclaim({ kernel: { frames } }: Audit, folio: number): boolean {
  const elsewhere = FrameFlag.Hugetlb | FrameFlag.HwPoison | FrameFlag.Reserved | FrameFlag.PageTable;
  return frames.mapping(folio) !== null && !frames.hasFlag(folio, elsewhere);
}
