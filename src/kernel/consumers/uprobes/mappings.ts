/**
 * The side of uprobes that the memory manager calls: mappings that come get the breakpoints of their file, those that go
 * make the address space count again whether it has any.
 * @see Linux kernel/events/uprobes.c, `uprobe_mmap`, `uprobe_munmap`, `uprobe_dup_mmap`, `uprobe_clear_state`
 */
import type { Task } from '../../../base/task.ts';
import type { Kernel } from '../../kernel.ts';
import { MMF_HAS_UPROBES, MMF_RECALC_UPROBES, type MmStruct } from '../../mm/mm.ts';
import type { UprobeHooks } from '../../mm/uprobe-hooks.ts';
import type { VmArea } from '../../mm/vma.ts';
import { VM_SHARED, VM_WRITE } from '../../mm/vma-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { installBreakpoint, isProbeVma } from './install.ts';
import { delayedRefCtrInc } from './ref-ctr.ts';
import { offsetToAddress, UprobeTree } from './uprobe.ts';

const PAGE_SIZE = 4096;

export class Uprobes implements UprobeHooks {
  readonly tree = new UprobeTree();

  /** Errors are nobody's: the mapping is there, with a breakpoint or without. */
  *mmap(current: TaskStruct, vma: VmArea): Task<void> {
    const { tree } = this;
    if (tree.empty || vma.file === null) return;
    const { mm } = vma;
    const writable = (vma.flags & (VM_WRITE | VM_SHARED)) === VM_WRITE;
    if (writable && (mm.flagBits & MMF_HAS_UPROBES) !== 0) yield* delayedRefCtrInc(current, tree, vma);
    if (!isProbeVma(vma, true)) return;
    const { mapping } = vma.file;
    const mutex = tree.mmapMutex(mapping);
    yield* mutex.downWrite(current);
    yield tree.look;
    const wanted = tree.inRange(mapping, vma.pgoff * PAGE_SIZE, (vma.pgoff + vma.pages) * PAGE_SIZE);
    for (const uprobe of wanted) uprobe.refcount++;
    for (const uprobe of wanted) {
      // One that is being removed has no consumers any more, and none of them wants it here.
      if (!current.fatalSignalPending() && (yield* uprobe.filterChain(current, mm))) {
        yield* installBreakpoint(current, tree, uprobe, vma, offsetToAddress(vma, uprobe.offset));
      }
      yield* tree.put(current, uprobe);
    }
    yield* mutex.upWrite(current);
  }

  munmap(vma: VmArea, start: number, end: number): void {
    const { mm } = vma;
    if (this.tree.empty || !isProbeVma(vma, false) || mm.mmUsers === 0) return;
    if ((mm.flagBits & MMF_HAS_UPROBES) === 0 || (mm.flagBits & MMF_RECALC_UPROBES) !== 0) return;
    if (this.#hasProbes(vma, start, end)) mm.flagBits |= MMF_RECALC_UPROBES;
  }

  #hasProbes(vma: VmArea, start: number, end: number): boolean {
    if (vma.file === null) return false;
    const [first, last] = [vma.indexOf(start) * PAGE_SIZE, vma.indexOf(end) * PAGE_SIZE];
    return this.tree.inRange(vma.file.mapping, first, last).length > 0;
  }

  dupMmap(parent: MmStruct, child: MmStruct): void {
    // The child may lack the VMAs that have them (VM_DONTCOPY): it counts for itself.
    if ((parent.flagBits & MMF_HAS_UPROBES) !== 0) child.flagBits |= MMF_HAS_UPROBES | MMF_RECALC_UPROBES;
  }

  *clearState(current: TaskStruct, mm: MmStruct): Task<void> {
    if (this.tree.delayed.length > 0) yield* this.tree.forgetDelayed(current, (delayed) => delayed.mm === mm);
  }

  /** Are there breakpoints in `mm` still? Not exact: one that is being removed counts. @see `mmf_recalc_uprobes` */
  recalc(mm: MmStruct): void {
    const any = (vma: VmArea): boolean => isProbeVma(vma, false) && this.#hasProbes(vma, vma.start, vma.end);
    if (![...mm.vmas].some(any)) mm.flagBits &= ~MMF_HAS_UPROBES;
  }
}

/** Those of a kernel, which is told of them when they are asked for first. */
export function uprobesOf(kernel: Kernel): Uprobes {
  if (kernel.uprobes instanceof Uprobes) return kernel.uprobes;
  const uprobes = new Uprobes();
  kernel.uprobes = uprobes;
  return uprobes;
}
