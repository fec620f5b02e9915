/**
 * What GUP did, up to Linux 6.1, once a fault had broken the sharing of a page that FOLL_FORCE writes to: the entry stays
 * read-only, so the next look at it needs to know. Two ways that were wrong; today's looks at the page alone
 * (`leaf-verdict.ts`) and nobody needs to know.
 * @see Linux v4.8 mm/gup.c, `faultin_page`, `follow_page_pte`: FOLL_WRITE was dropped (CVE-2016-5195, fixed by commit
 * 19be0eaffa3a); v5.19, `can_follow_write_pte`: FOLL_COW and a dirty entry (CVE-2022-2590, fixed by commit 5535be309971)
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import type { KernelBugs } from '../bugs.ts';
import { VM_FAULT_WRITE } from '../mm/fault/fault-flags.ts';
import type { VmArea } from '../mm/vma.ts';
import { VM_WRITE } from '../mm/vma-flags.ts';
import { FOLL_FORCE, FOLL_WRITE } from './foll-flags.ts';

/** A forced write whose page was copied already. No caller may pass it; not one of today's bits. */
const FOLL_COW = 1 << 24;

/** Of `faultin_page`: done, and the page that the entry maps was the mm's own at that time. */
export const COW_IS_BROKEN = 1;

/** What a fault without an error is to the loop of GUP: 0, or COW_IS_BROKEN on a kernel that goes by it. */
export function noteBrokenCow(vma: VmArea, result: number): number {
  return (result & VM_FAULT_WRITE) !== 0 && (vma.flags & VM_WRITE) === 0 ? COW_IS_BROKEN : 0;
}

/** The FOLL_ flags to look at the same page with again, after COW_IS_BROKEN. */
export function flagsAfterBrokenCow(bugs: KernelBugs, gupFlags: number): number {
  if (bugs.dirtyCow) return gupFlags & ~FOLL_WRITE;
  return bugs.shmemDirtyCow ? gupFlags | FOLL_COW : gupFlags;
}

/** May a write go through an entry that is not writable? */
export function oldCanFollowWritePte(bugs: KernelBugs, flags: number, gupFlags: number): boolean {
  if (bugs.dirtyCow) return false;
  return (gupFlags & FOLL_FORCE) !== 0 && (gupFlags & FOLL_COW) !== 0 && (flags & EntryFlag.Dirty) !== 0;
}
