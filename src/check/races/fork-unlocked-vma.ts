/**
 * Finds a fork that copies page tables of a VMA in which a fault, or a pin that takes no lock, may be under way: mmap_lock
 * keeps out neither the one that holds the VMA's own lock nor the other, which looks at write_protect_seq.
 */
import type { VmArea } from '../../kernel/mm/vma.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'fork-unlocked-vma';

export const forkUnlockedVma: CheckDefinition = {
  name: NAME,
  rule: 'Fork copies ptes of a VMA only while it is write-locked, and within write_protect_seq if pages come to be shared.',
  source:
    'Linux mm/mmap.c, dup_mmap: vma_start_write of July 2023 (6.4.1); mm/memory.c, copy_page_range; mm/gup.c, gup_fast',
  attach(watch) {
    watch.onVmas({ forked: (copy, source) => watch.unwatched(() => look(watch, copy, source)) });
  },
};

function look(watch: Watch, copy: VmArea, source: VmArea): void {
  const { mm } = source;
  const task = watch.stepping();
  const who = task?.name ?? 'fork';
  const tell = (text: string): void => watch.report(NAME, `${who} ${text}`, [source.name, copy.name]);
  if (task !== null && !(mm.mmapLock.isWrittenBy(task) && copy.mm.mmapLock.isWrittenBy(task))) {
    tell(`copies ptes of ${source.name} and does not hold both mmap_locks for writing`);
  } else if (source.vmLockSeq !== mm.mmLockSeq) {
    tell(`copies ptes of ${source.name}, which is not write-locked: a fault may be under way in it`);
  } else if (source.cow && mm.writeProtectSeq.sequence % 2 === 0) {
    tell(
      `makes pages of ${source.name} shared outside of ${mm.writeProtectSeq.name}: a pin would not see it`,
    );
  }
}
