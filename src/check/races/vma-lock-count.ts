/**
 * Finds steps of the VMA lock that break its protocol: a reader that counts itself on a VMA which is detached or whose
 * readers are kept out, a mark "write-locked" that is set while readers are inside or mmap_lock is not held for writing, a
 * VMA that counts as detached while readers are inside.
 */
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_REFCNT_EXCLUDE_READERS_FLAG } from '../../kernel/mm/vma-lock.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'vma-lock-count';
/** Nobody but the tree and the writer. */
const EXCLUDED = VM_REFCNT_EXCLUDE_READERS_FLAG + 1;

export const vmaLockCount: CheckDefinition = {
  name: NAME,
  rule: 'Readers count themselves only on an attached VMA that lets them in; a writer marks it when they have left.',
  source: 'Linux include/linux/mm_types.h, vm_refcnt; mm/mmap_lock.c, __vma_start_write, vma_mark_detached',
  attach(watch) {
    watch.onVmas({
      readerCounted: (vma, before) => readerCounted(watch, vma, before),
      writeLocked: (vma) => writeLocked(watch, vma),
      detached: (vma) => detached(watch, vma),
    });
  },
};

function readerCounted(watch: Watch, vma: VmArea, before: number): void {
  if (before === 0) tell(watch, vma, `counts itself as a reader of ${vma.name}, which is detached`);
  else if (before >= VM_REFCNT_EXCLUDE_READERS_FLAG) {
    tell(watch, vma, `counts itself as a reader of ${vma.name}, whose readers are kept out`);
  }
}

function writeLocked(watch: Watch, vma: VmArea): void {
  const task = watch.stepping();
  if (task !== null && !vma.mm.mmapLock.isWrittenBy(task)) {
    tell(watch, vma, `write-locks ${vma.name} and does not hold mmap_lock for writing`);
  } else if (vma.refcount !== 0 && (vma.refcount !== EXCLUDED || vma.readers.length > 0)) {
    const inside = vma.readers.map(({ name }) => name).join(', ');
    tell(
      watch,
      vma,
      `write-locks ${vma.name} with readers inside (${inside}), or without keeping new ones out`,
    );
  }
}

function detached(watch: Watch, vma: VmArea): void {
  if (vma.refcount === 0 && vma.readers.length === 0) return;
  tell(watch, vma, `detaches ${vma.name} whose reference count is ${vma.refcount}`);
}

function tell(watch: Watch, vma: VmArea, text: string): void {
  watch.report(NAME, `${watch.stepping()?.name ?? 'somebody'} ${text}`, [vma.name]);
}
