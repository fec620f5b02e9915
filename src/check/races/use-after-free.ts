/**
 * Memory of the kernel's own that is used when it is freed: nodes of the tree of VMAs, address spaces, anon_vmas. Frames, page
 * tables and VMAs have checks of their own.
 */
import type { CheckDefinition } from './check.ts';

export const useAfterFree: CheckDefinition = {
  name: 'use-after-free',
  rule: 'What the kernel has freed, or a grace period has, it does not use.',
  source:
    'Linux Documentation/RCU/rcu.rst; Documentation/dev-tools/kasan.rst; CVE-2023-3269; commit 9bbffee67ffd',
  attach(watch) {
    watch.onKernel({
      usedAfterFree(current, object, operation) {
        watch.report('use-after-free', `${operation}: ${current.name} uses ${object}, which is freed`, [
          object,
        ]);
      },
    });
  },
};
