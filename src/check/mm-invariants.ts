/**
 * The audit of the memory manager: counts everything anew that the kernel keeps counts of, and holds page tables, VMAs,
 * frames, files, swap and TLBs against each other. The kernel must be at rest: no system call, fault or interrupt is under
 * way (background tasks may sleep). It changes nothing.
 * The rules are in `mm/`, a file for each kind, with where Linux has them.
 */
import type { TlbView } from '../arch/tlb-view.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { auditAnonVmas } from './mm/anon-vmas.ts';
import { Audit, type AuditOptions } from './mm/audit.ts';
import { auditFiles } from './mm/files.ts';
import { auditFrames } from './mm/frames.ts';
import { auditHugetlb } from './mm/hugetlb.ts';
import { auditLocks } from './mm/locks.ts';
import { auditLru } from './mm/lru.ts';
import { auditPageTables } from './mm/page-table-census.ts';
import { auditSwap } from './mm/swap.ts';
import { auditVmas } from './mm/vmas.ts';
import { describeStale, staleTranslations } from './stale-translation.ts';

/**
 * What is wrong, in words; empty when everything adds up.
 * @param view of the CPUs' TLBs; null leaves them out
 */
export function auditKernel(
  kernel: Kernel,
  view: TlbView | null,
  options: AuditOptions = {},
): readonly string[] {
  const audit = new Audit(kernel, options);
  auditVmas(audit);
  auditPageTables(audit);
  auditFiles(audit);
  auditAnonVmas(audit);
  auditFrames(audit);
  auditLru(audit);
  auditSwap(audit);
  auditHugetlb(audit);
  auditLocks(audit);
  if (view !== null) {
    for (const stale of staleTranslations(kernel, view)) audit.report(describeStale(stale).join('; '));
  }
  return audit.findings;
}
