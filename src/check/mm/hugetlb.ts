/**
 * A pool of huge pages: every page is free or in use, and no more is promised than is free. Promises that return with a
 * page still in use are not counted yet, as in 6.18, so that the count may lack as many.
 * @see Linux mm/hugetlb.c, `hugetlb_acct_memory`, `free_huge_folio`, `available_huge_pages`
 */
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import type { Audit } from './audit.ts';

export function auditHugetlb(audit: Audit): void {
  const { frames, hugetlb } = audit.kernel;
  for (const hstate of hugetlb.hstates) {
    const { name, order, nrHugePages, freeHugePages, resvHugePages, restoring } = hstate;
    let used = 0;
    for (const folio of frames.foliosInUse()) {
      if (frames.hasFlag(folio, FrameFlag.Hugetlb) && frames.order(folio) === order) used++;
    }
    audit.expectEqual(`the number of free pages of ${name}`, freeHugePages, nrHugePages - used);
    if (resvHugePages + restoring < 0) audit.report(`${name} has promised ${resvHugePages} pages`);
    if (restoring === 0 && resvHugePages > freeHugePages) {
      audit.report(`${name} has promised ${resvHugePages} pages, ${freeHugePages} are free`);
    }
  }
}
