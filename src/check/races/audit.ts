/**
 * The audit of the memory manager when everything is over: what was taken and never given back, counts that nothing accounts
 * for, entries nobody flushed. It walks everything, once.
 */
import type { AuditOptions } from '../mm/audit.ts';
import { auditKernel } from '../mm-invariants.ts';
import type { CheckDefinition } from './check.ts';

const NAME = 'audit';

/** What Linux itself gets wrong, or another check sees to. */
const LENIENT: AuditOptions = {
  lockedVmMayExceed: true,
  committedMayExceed: true,
  guardFlagMayBeLost: true,
  hugetlbUsageMayDiffer: true,
};

export const audit: CheckDefinition = {
  name: NAME,
  rule: 'When nothing is under way, every count is what page tables, files, swap and VMAs account for.',
  source: 'Linux kernel/fork.c, `check_mm`; mm/page_table_check.c; lib/ref_tracker.c',
  attach(watch) {
    watch.atEnd(() => {
      for (const text of auditKernel(watch.kernel, watch.tlbView, LENIENT)) watch.report(NAME, text);
    });
  },
};
