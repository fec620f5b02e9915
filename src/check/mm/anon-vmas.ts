/**
 * From an anonymous page all its mappings are found: every chain entry of a VMA lies in the tree of its anon_vma, which has
 * no others; an anon_vma counts the VMAs that use it, and all that a VMA is chained to is one family.
 * @see Linux mm/rmap.c, `anon_vma_clone`, `unlink_anon_vmas`; include/linux/rmap.h, `struct anon_vma`
 */
import type { AnonVma } from '../../kernel/mm/anon-vma.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { type Audit, count } from './audit.ts';
import { auditNode } from './files.ts';

export function auditAnonVmas(audit: Audit): void {
  const entries = new Map<AnonVma, number>();
  const active = new Map<AnonVma, number>();
  for (const mm of audit.mms) for (const vma of mm.vmas) auditChains(audit, vma, entries, active);
  for (const [anonVma, chains] of entries) {
    const name = `anon_vma ${anonVma.id}`;
    audit.expectEqual(`the number of entries of ${name}`, anonVma.chains.size, chains);
    audit.expectEqual(`the number of VMAs of ${name}`, anonVma.numActiveVmas, active.get(anonVma) ?? 0);
  }
}

function auditChains(
  audit: Audit,
  vma: VmArea,
  entries: Map<AnonVma, number>,
  active: Map<AnonVma, number>,
): void {
  const { anonVma, anonVmaChain } = vma;
  const root = anonVmaChain[0]?.anonVma.root;
  for (const chain of anonVmaChain) {
    auditNode(audit, chain, chain.vma, vma);
    count(entries, chain.anonVma);
    if (chain.anonVma.root !== root) audit.report(`${vma.name} is chained to two families`);
  }
  if (anonVma === null) {
    if (anonVmaChain.length > 0) audit.report(`${vma.name} has chains and no anon_vma`);
    return;
  }
  count(active, anonVma);
  if (!anonVmaChain.some((chain) => chain.anonVma === anonVma))
    audit.report(`${vma.name} is not chained to its own anon_vma`);
}
