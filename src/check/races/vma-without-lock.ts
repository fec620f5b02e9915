/**
 * Finds fields of VMAs that are read or written by a task which holds nothing that keeps them as they are. What may hold:
 * - mmap_lock of the VMA's mm, for reading; for writing, to write;
 * - the VMA's own lock, for reading, as long as no writer has marked the VMA since;
 * - to read: the lock of its file's mappings, or of its anon_vmas, as walks from pages to VMAs do;
 * - that nobody else can know the VMA: its maker until it is attached, and who has detached it, until it is freed;
 * - who makes the address space, in execve, until a program runs in it: nobody else changes its mappings;
 * - to read: an RCU section and a number from mmap_lock_speculate_try_begin that is asked about afterwards.
 * Under RCU alone only the mm, the reference count and the lock's sequence may be read: those are not watched.
 * Left out: whether a pointer was looked up under the lock that is held now or under an earlier one. If the VMA has gone
 * meanwhile it is detached, freed or of another mm, and that is seen.
 */
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import type { VmaField } from '../../kernel/mm/vma-watcher.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { CheckDefinition } from './check.ts';
import type { Watch } from './watch.ts';

const NAME = 'vma-without-lock';

export const vmaWithoutLock: CheckDefinition = {
  name: NAME,
  rule: 'Fields of a VMA are read and written only under a lock that keeps them as they are.',
  source:
    'Linux Documentation/mm/process_addrs.rst, "VMA fields"; include/linux/mmap_lock.h, vma_assert_stabilised; mm/gup.c: the vmas array, removed in 2023',
  attach(watch) {
    const accesses = new Accesses(watch);
    watch.onRun(() => accesses.forget());
    watch.onVmas({
      made: (vma, mm) => accesses.made(vma, mm),
      freed: (vma) => accesses.freed(vma),
      attached: (vma) => accesses.attached(vma),
      detached: (vma) => accesses.detached(vma),
      touched: (vma, field, write) => accesses.touched(vma, field, write),
      readerCounted: () => accesses.forgetSpeculation(),
      speculationBegun: (mm) => accesses.speculate(mm),
      speculationAsked: () => accesses.forgetSpeculation(),
    });
    watch.onKernel({
      entered: (current) => accesses.entered(current),
      left: (current) => accesses.left(current),
    });
  },
};

/** From mmap_lock_speculate_try_begin to the question whether a writer ran. */
interface Speculation {
  readonly mm: MmStruct;
  /** What was read on the strength of it. */
  read: VmArea | null;
}

class Accesses {
  readonly #watch: Watch;
  /** Who made a VMA that is not attached yet, or has detached it. */
  #owners = new Map<VmArea, TaskStruct>();
  #freed = new Set<VmArea>();
  /** Who made the first VMA of an address space. */
  #makers = new Map<MmStruct, TaskStruct>();
  /** Address spaces in which a program has run. */
  #known = new Set<MmStruct>();
  #speculations = new Map<TaskStruct, Speculation>();

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    this.#owners = new Map();
    this.#freed = new Set();
    this.#makers = new Map();
    this.#known = new Set();
    this.#speculations = new Map();
  }

  made(vma: VmArea, mm: MmStruct): void {
    this.#freed.delete(vma);
    const task = this.#watch.stepping();
    if (task === null) return;
    this.#owners.set(vma, task);
    if (!this.#makers.has(mm)) this.#makers.set(mm, task);
  }

  freed(vma: VmArea): void {
    this.#owners.delete(vma);
    this.#freed.add(vma);
  }

  attached(vma: VmArea): void {
    this.#owners.delete(vma);
  }

  detached(vma: VmArea): void {
    const task = this.#watch.stepping();
    if (task !== null) this.#owners.set(vma, task);
  }

  speculate(mm: MmStruct): void {
    const task = this.#watch.stepping();
    if (task !== null) this.#speculations.set(task, { mm, read: null });
  }

  forgetSpeculation(): void {
    if (this.#speculations.size === 0) return;
    const task = this.#watch.stepping();
    if (task !== null) this.#speculations.delete(task);
  }

  entered({ mm }: TaskStruct): void {
    if (mm !== null) this.#known.add(mm);
  }

  left(task: TaskStruct): void {
    if (this.#speculations.size === 0) return;
    const speculation = this.#speculations.get(task);
    this.#speculations.delete(task);
    if (speculation === undefined || speculation.read === null) return;
    const { name } = speculation.read;
    this.#watch.report(
      NAME,
      `${task.name} has read ${name} without a lock and never asked whether a writer ran`,
      [name],
    );
  }

  touched(vma: VmArea, field: VmaField, write: boolean): void {
    const watch = this.#watch;
    if (watch.quiet) return;
    const task = watch.stepping();
    if (task === null) return;
    const wrong =
      vma.refcount === 0 ? this.#ofDetached(vma, task, write) : this.#ofAttached(vma, task, field, write);
    if (wrong === null) return;
    watch.report(NAME, `${task.name} ${write ? 'writes' : 'reads'} ${field} of ${vma.name}, ${wrong}`, [
      vma.name,
    ]);
  }

  #ofDetached(vma: VmArea, task: TaskStruct, write: boolean): string | null {
    // The slab's memory stays that of VMAs: what is read there is thrown away when the number has moved.
    if (!write && this.#speculates(vma, task)) return null;
    if (this.#freed.has(vma)) return 'which is freed';
    const owner = this.#owners.get(vma);
    if (owner === undefined || owner === task) return null;
    if (!write && this.#holdsRmapLock(vma, task)) return null;
    return `which is not in the tree and is ${owner.name}'s alone`;
  }

  #ofAttached(vma: VmArea, task: TaskStruct, field: VmaField, write: boolean): string | null {
    const { mm } = vma;
    const { mmapLock } = mm;
    if (write && !mayWriteUnderRead(field)) {
      return mmapLock.isWrittenBy(task) ? null : 'and does not hold mmap_lock for writing';
    }
    if (mmapLock.isHeldBy(task)) return null;
    if (vma.isReadBy(task)) {
      if (!mm.mmapWriteLocked || vma.vmLockSeq !== mm.mmLockSeq) return null;
      return 'whose lock it took for reading, and which a writer has write-locked since';
    }
    if (write) return 'and holds neither mmap_lock nor the lock of the VMA';
    if (this.#holdsRmapLock(vma, task) || this.#speculates(vma, task) || this.#isBeingMade(mm, task))
      return null;
    return 'and holds neither mmap_lock nor the lock of the VMA';
  }

  /** A walk from a page to its VMAs keeps them by the lock of what it came through. */
  #holdsRmapLock(vma: VmArea, task: TaskStruct): boolean {
    const mapping = this.#watch.unwatched(() => vma.file)?.mapping ?? null;
    if (mapping?.iMmapRwsem.isHeldBy(task) === true) return true;
    return vma.anonVmaChain.some(({ anonVma }) => anonVma.rwsem.isHeldBy(task));
  }

  /**
   * execve: until the new program has run, nobody changes the mappings but the task that makes them.
   * @see Linux fs/exec.c, `bprm_mm_init`, `setup_arg_pages`
   */
  #isBeingMade(mm: MmStruct, task: TaskStruct): boolean {
    if (this.#makers.get(mm) !== task || this.#known.has(mm)) return false;
    for (const other of this.#watch.kernel.tasks.values())
      if (other !== task && other.mm === mm) return false;
    return true;
  }

  #speculates(vma: VmArea, task: TaskStruct): boolean {
    if (task.rcuReadDepth === 0) return false;
    const speculation = this.#speculations.get(task);
    if (speculation === undefined) return false;
    speculation.read = vma;
    return true;
  }
}

/** The first anon_vma of a VMA comes under mmap_lock held for reading; what a driver keeps is protected by the driver. */
function mayWriteUnderRead(field: VmaField): boolean {
  return field === 'anon_vma' || field === 'vm_private_data';
}
