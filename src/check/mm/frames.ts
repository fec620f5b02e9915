/**
 * Every frame is free or somebody's: each reference and each map count of a folio is accounted for, nothing that is free is
 * referred to, and what is in use belongs to a page table, a process, a file, the swap cache, or is broken.
 * @see Linux mm/page_alloc.c, `check_new_pages`, `free_page_is_bad`; include/linux/mm.h, `folio_expected_ref_count`;
 * include/linux/rmap.h on PageAnonExclusive
 */
import type { AddressSpace } from '../../kernel/frame/address-space.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import { type Audit, frameName } from './audit.ts';

export function auditFrames(audit: Audit): void {
  const { frames, hugetlb } = audit.kernel;
  const tables = new Set([...audit.tables.keys()].map(({ frame }) => frame));
  let used = 0;
  for (const folio of frames.foliosInUse()) {
    used += 2 ** frames.order(folio);
    if (tables.has(folio)) auditTable(audit, folio);
    else if (!frames.hasFlag(folio, FrameFlag.Reserved)) auditFolio(audit, folio);
  }
  for (const { freeHugePages, pages } of hugetlb.hstates) used += freeHugePages * pages;
  audit.expectEqual('the number of free frames', frames.freeFrames, frames.frameCount - used);
  for (const frame of tables) {
    if (frames.refcount(frame) === 0) audit.report(`${frameName(frame)} is free and holds a page table`);
  }
}

/** A page table has one owner, who frees it when no entry leads to it. */
function auditTable(audit: Audit, frame: number): void {
  const { frames } = audit.kernel;
  audit.expectEqual(
    () => `the reference count of the table in ${frameName(frame)}`,
    frames.refcount(frame),
    1,
  );
  if (!frames.hasFlag(frame, FrameFlag.PageTable))
    audit.report(`the table in ${frameName(frame)} is not marked`);
}

function auditFolio(audit: Audit, folio: number): void {
  const { frames } = audit.kernel;
  const mapped = auditMapcounts(audit, folio);
  const cached = cacheReferences(audit, folio);
  const outside = audit.options.references?.get(folio) ?? 0;
  const broken = frames.hasFlag(folio, FrameFlag.HwPoison) ? 1 : 0;
  audit.expectEqual(
    () => `the reference count of ${frameName(folio)}`,
    frames.refcount(folio),
    mapped + cached + outside + broken,
  );
  if (mapped + cached + outside + broken === 0) audit.report(`${frameName(folio)} is nobody's`);
  if (frames.hasFlag(folio, FrameFlag.Locked)) audit.report(`${frameName(folio)} is locked`);
  if (frames.hasFlag(folio, FrameFlag.Writeback)) audit.report(`${frameName(folio)} is being written`);
  const anonymous = frames.mapping(folio)?.kind === 'anon_vma';
  if (anonymous !== frames.hasFlag(folio, FrameFlag.Anon))
    audit.report(`${frameName(folio)} is ${anonymous ? 'not ' : ''}marked anonymous`);
}

/** Mappings of the folio, each of which has a reference. */
function auditMapcounts(audit: Audit, folio: number): number {
  const { frames } = audit.kernel;
  const whole = audit.wholes.get(folio) ?? 0;
  let mapped = whole;
  let pagesMapped = 0;
  for (let frame = folio; frame < folio + 2 ** frames.order(folio); frame++) {
    const ptes = audit.ptes.get(frame) ?? 0;
    mapped += ptes;
    if (ptes > 0) pagesMapped++;
    audit.expectEqual(() => `the map count of ${frameName(frame)}`, frames.mapcount(frame), ptes + whole);
    if (frames.hasFlag(frame, FrameFlag.AnonExclusive) && ptes + whole > 1) {
      audit.report(`${frameName(frame)} is exclusive, and mapped ${ptes + whole} times`);
    }
  }
  if (!frames.isLarge(folio)) return mapped;
  const large = frames.large(folio);
  audit.expectEqual(`the number of mappings of ${frameName(folio)}`, large.total, mapped);
  audit.expectEqual(`the number of pages mapped of ${frameName(folio)}`, large.pagesMapped, pagesMapped);
  return mapped;
}

/** References of the page cache and of the swap cache: one for each page of the folio, one in all for a huge one. */
function cacheReferences({ files, kernel }: Audit, folio: number): number {
  const { frames, swap } = kernel;
  const mapping = frames.mapping(folio);
  let references = swap === null || swap.slotOf(folio) === 0 ? 0 : 1;
  if (mapping?.kind !== 'address_space' || !files.has(mapping as AddressSpace)) return references;
  const { huge } = mapping as AddressSpace;
  references += huge === null ? 2 ** frames.order(folio) : 1;
  return references;
}
