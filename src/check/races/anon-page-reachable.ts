/**
 * Finds anonymous pages that a walk from the page would not find in a VMA that maps them: the VMA has no entry in the tree of
 * the page's anon_vma, is not chained to its own, or counts its pages so that this one would be elsewhere in it. Such a page
 * cannot be unmapped, moved or swapped out, and its anon_vma may be freed while the page still points to it. Looked at are
 * entries when they are made, and of a VMA that was put in or got another range the first pages when its writer lets go.
 */
import { EntryFlag } from '../../arch/paging-format.ts';
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import { AnonVma } from '../../kernel/mm/anon-vma.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { rootTable } from '../../kernel/mm/page-table-alloc.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_HUGETLB } from '../../kernel/mm/vma-flags.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';
import { afterWriteSections } from './write-sections.ts';

const NAME = 'anon-page-reachable';
/** Pages of a VMA that are looked at. */
const LOOKED_AT = 64;

export const anonPageReachable: CheckDefinition = {
  name: NAME,
  rule: 'Every VMA that maps an anonymous page is chained to the page’s anon_vma, lies in its tree, and has it where its index says.',
  source: 'Linux mm/rmap.c, anon_vma_clone, rmap_walk_anon; commit 2555283eb40d; CVE-2022-42703',
  attach(watch) {
    watch.onTableChange((change) => {
      const { next, place } = change;
      if (next.kind === EntryKind.Leaf && place.mm !== null) watch.unwatched(() => look(watch, change));
    });
    afterWriteSections(watch, (mm, vma) => {
      lookAtChain(watch, vma);
      if (!vma.detached && vma.anonVma !== null) lookAtPages(watch, mm, vma);
    });
  },
};

function look(watch: Watch, { next, place, page }: TableChange): void {
  const vma = place.mm?.vmas.lookup(page) ?? null;
  if (vma !== null) lookAtPage(watch, vma, page, next.frame);
}

/** False: something is wrong. */
function lookAtPage(watch: Watch, vma: VmArea, page: number, frame: number): boolean {
  const { frames } = watch.kernel;
  if (!frames.owns(frame) || !frames.hasFlag(frame, FrameFlag.Anon)) return true;
  const anonVma = frames.mapping(frame);
  if (!(anonVma instanceof AnonVma)) return true;
  const where = `page 0x${page.toString(16)} of ${vma.name}`;
  const chained = vma.anonVmaChain.some((chain) => chain.anonVma === anonVma);
  if (!chained) {
    const text = `${where} maps a page of anon_vma ${anonVma.id}, to which the VMA is not chained`;
    watch.report(NAME, text, [vma.name]);
    return false;
  }
  // Pools count in huge pages.
  const index = frames.index(frame);
  if ((vma.flags & VM_HUGETLB) !== 0 || index === vma.indexOf(page)) return true;
  const text = `${where} maps a page of index 0x${index.toString(16)}, for which a walk from the page looks elsewhere`;
  watch.report(NAME, text, [vma.name]);
  return false;
}

function lookAtPages(watch: Watch, mm: MmStruct, vma: VmArea): void {
  if (mm.pgd === -1) return;
  const { pageTables } = watch.kernel;
  const { hi, lo } = pageTables;
  const root = rootTable(mm);
  const end = Math.min(vma.end, vma.start + LOOKED_AT);
  for (let page = vma.start; page < end; page++) {
    const level = pageTables.lookupLeaf(root, page);
    if (level === -1 || (pageTables.flags(level) & EntryFlag.Present) === 0) continue;
    if (!lookAtPage(watch, vma, page, pageTables.frameInLeaf(page, level))) break;
  }
  pageTables.hi = hi;
  pageTables.lo = lo;
}

function lookAtChain(watch: Watch, vma: VmArea): void {
  const { anonVma, anonVmaChain } = vma;
  if (vma.detached) return;
  if (anonVma === null) {
    if (anonVmaChain.length > 0)
      watch.report(NAME, `${vma.name} is chained to anon_vmas and has none of its own`, [vma.name]);
    return;
  }
  const own = anonVmaChain.find((chain) => chain.anonVma === anonVma);
  const first = vma.pgoff;
  if (own === undefined) {
    watch.report(NAME, `${vma.name} has anon_vma ${anonVma.id} and is not chained to it`, [vma.name]);
  } else if (!isInTree(own.anonVma, vma, first)) {
    watch.report(NAME, `${vma.name} is not where it belongs in the tree of anon_vma ${anonVma.id}`, [
      vma.name,
    ]);
  }
}

function isInTree({ chains }: AnonVma, vma: VmArea, first: number): boolean {
  const last = first + vma.pages - 1;
  for (
    let chain = chains.firstOverlap(first, last);
    chain !== null;
    chain = chains.nextOverlap(chain, first, last)
  ) {
    if (chain.vma === vma && chain.first === first && chain.last === last) return true;
  }
  return false;
}
