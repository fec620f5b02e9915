/**
 * Finds pages that GUP hands out, by the way on which it looks at the mapping, without a right that the mapping gives at that
 * moment, or out of another mapping than the one it has looked at: a check of rights that was left out, or was made of a VMA
 * that is another by now. The way without a lock looks at entries only, whose rights other checks see to.
 */
import { FOLL_FORCE, FOLL_WRITE } from '../../kernel/gup/foll-flags.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { isCowMapping, VM_MAYREAD, VM_READ, VM_WRITE } from '../../kernel/mm/vma-flags.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'gup-rights';

export const gupRights: CheckDefinition = {
  name: NAME,
  rule: 'Who gets a page by GUP has the right to it that the mapping gives while it is got, or forces it as ptrace may.',
  source: 'Linux mm/gup.c, `check_vma_flags`, `__get_user_pages`',
  attach(watch) {
    watch.onKernel({
      grabbed: (_current, _mm, vma, page, _frame, gupFlags) => {
        if (vma !== null) watch.unwatched(() => look(watch, vma, page, gupFlags));
      },
    });
  },
};

function look(watch: Watch, vma: VmArea, page: number, gupFlags: number): void {
  const wrong = !vma.contains(page) ? 'which does not hold it' : whyNot(vma.flags, gupFlags);
  if (wrong === null) return;
  watch.report(NAME, `GUP gives page 0x${page.toString(16)} of ${vma.name}, ${wrong}`, [vma.name]);
}

function whyNot(vmFlags: number, gupFlags: number): string | null {
  const forced = (gupFlags & FOLL_FORCE) !== 0;
  if ((gupFlags & FOLL_WRITE) !== 0) {
    const allowed = (vmFlags & VM_WRITE) !== 0 || (forced && isCowMapping(vmFlags));
    return allowed ? null : 'which is not writable, for writing';
  }
  const allowed = (vmFlags & VM_READ) !== 0 || (forced && (vmFlags & VM_MAYREAD) !== 0);
  return allowed ? null : 'which is not readable';
}
