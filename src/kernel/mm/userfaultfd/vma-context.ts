/**
 * Attaching a VMA to a userfaultfd, and taking it off.
 * @see Linux mm/userfaultfd.c, `userfaultfd_set_ctx`, `userfaultfd_reset_ctx`, `userfaultfd_clear_vma`
 */
import type { Task } from '../../../base/task.ts';
import type { TaskStruct } from '../../task-struct.ts';
import type { VmArea } from '../vma.ts';
import { VM_UFFD_FLAGS, VM_UFFD_WP, VMH_UFFD_FLAGS } from '../vma-flags.ts';
import { vmaStartWrite } from '../vma-lock.ts';
import { type ModifiedVma, vmaModify } from '../vma-split.ts';
import type { UserfaultfdContext } from './context.ts';
import { uffdWpRange } from './write-protect.ts';

/** The VM_UFFD_ bits of a registration. */
export interface UffdModes {
  readonly flags: number;
  readonly flagsHigh: number;
}

/** Of a VMA that nobody else sees. */
export function clearUserfaultfd(vma: VmArea): void {
  vma.userfaultfd = null;
  vma.flags &= ~VM_UFFD_FLAGS;
  vma.flagsHigh &= ~VMH_UFFD_FLAGS;
}

/** Needs mmap_lock for writing. What the flags say of fresh ptes changes with them (`vma_set_page_prot`). */
export function* setUserfaultfd(
  current: TaskStruct,
  vma: VmArea,
  context: UserfaultfdContext | null,
  modes: UffdModes,
): Task<void> {
  yield* vmaStartWrite(current, vma.mm, vma);
  vma.userfaultfd = context;
  vma.flags = (vma.flags & ~VM_UFFD_FLAGS) | modes.flags;
  vma.flagsHigh = (vma.flagsHigh & ~VMH_UFFD_FLAGS) | modes.flagsHigh;
}

const NO_MODES: UffdModes = { flags: 0, flagsHigh: 0 };

export function* resetUserfaultfd(current: TaskStruct, vma: VmArea): Task<void> {
  yield* setUserfaultfd(current, vma, null, NO_MODES);
}

/**
 * Takes pages [start, end) of `vma` off its userfaultfd; write protection of its pages goes first. The VMA that covers
 * them then, or an error of splitting. Needs mmap_lock for writing.
 */
export function* userfaultfdClearVma(
  current: TaskStruct,
  prev: VmArea | null,
  vma: VmArea,
  start: number,
  end: number,
): Task<ModifiedVma> {
  if ((vma.flags & VM_UFFD_WP) !== 0) yield* uffdWpRange(current, vma, start, end, false);
  const modified = yield* vmaModify(current, vma.mm, prev, vma, start, end, {
    flags: vma.flags & ~VM_UFFD_FLAGS,
    flagsHigh: vma.flagsHigh & ~VMH_UFFD_FLAGS,
    userfaultfd: null,
  });
  if (modified.error === 0) yield* resetUserfaultfd(current, modified.vma);
  return modified;
}
