/**
 * Finds anonymous pages that a walk from the page would not find in a VMA that maps them: the VMA has no entry in the tree of
 * the page's anon_vma, or is not chained to its own. Such a page cannot be unmapped, moved or swapped out, and its anon_vma may
 * be freed while the page still points to it.
 */
import { FrameFlag } from '../../kernel/frame/frame-flags.ts';
import { AnonVma } from '../../kernel/mm/anon-vma.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';
import { afterWriteSections } from './write-sections.ts';

const NAME = 'anon-page-reachable';

export const anonPageReachable: CheckDefinition = {
  name: NAME,
  rule: 'Every VMA that maps an anonymous page is chained to the page’s anon_vma, and lies in its tree.',
  source: 'Linux mm/rmap.c, anon_vma_clone, rmap_walk_anon; commit 2555283eb40d; CVE-2022-42703',
  attach(watch) {
    watch.onTableChange((change) => {
      const { next, place } = change;
      if (next.kind === EntryKind.Leaf && place.mm !== null) watch.unwatched(() => look(watch, change));
    });
    afterWriteSections(watch, (_mm, vma) => lookAtChain(watch, vma));
  },
};

function look(watch: Watch, { next, place, page }: TableChange): void {
  const { frames } = watch.kernel;
  if (!frames.owns(next.frame) || !frames.hasFlag(next.frame, FrameFlag.Anon)) return;
  const anonVma = frames.mapping(frames.head(next.frame));
  const vma = place.mm?.vmas.lookup(page) ?? null;
  if (vma === null || !(anonVma instanceof AnonVma)) return;
  if (vma.anonVmaChain.some((chain) => chain.anonVma === anonVma)) return;
  const text = `page 0x${page.toString(16)} of ${vma.name} maps a page of anon_vma ${anonVma.id}, to which the VMA is not chained`;
  watch.report(NAME, text, [vma.name]);
}

function lookAtChain(watch: Watch, vma: VmArea): void {
  const { anonVma, anonVmaChain } = vma;
  if (vma.detached || anonVma === null) return;
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
