/**
 * Finds entries of page tables that allow more than their mapping does when a call that took rights away, or the mapping
 * itself, goes back to its program: the program must be able to rely on what munmap or mprotect has answered. And entries
 * that have stayed through a call which was to throw their pages away. Looked at is what the call has changed. Another CPU may still be at work there: its own call's return is looked at, too, and while one
 * unmaps in the same address space what is not mapped any more is left to it.
 */
import { EntryFlag, pagesPerEntry } from '../../arch/paging-format.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { rootTable } from '../../kernel/mm/page-table-alloc.ts';
import type { VmArea } from '../../kernel/mm/vma.ts';
import { VM_ACCESS_FLAGS, VM_EXEC, VM_WRITE } from '../../kernel/mm/vma-flags.ts';
import type { TreeChange } from '../../kernel/mm/vma-watcher.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { CheckDefinition } from './check.ts';
import { EntryKind, type TableChange } from './table-changes.ts';
import type { Watch } from './watch.ts';

const NAME = 'rights-after-call';
/** Pages of a range that is thrown away that are looked at. */
const LOOKED_AT = 512;

export const rightsAfterCall: CheckDefinition = {
  name: NAME,
  rule: 'When mprotect, munmap or MADV_DONTNEED has returned, no entry of its range allows what the mapping does not, or stayed.',
  source:
    'mprotect(2), munmap(2), madvise(2); Linux mm/mprotect.c, change_protection; mm/memory.c, unmap_page_range',
  attach(watch) {
    const calls = new ChangingCalls(watch);
    watch.onRun(() => calls.forget());
    watch.onVmas({
      touched: (vma, field, write) => {
        if (write && field === 'vm_flags' && !vma.detached) calls.changes(vma.mm, vma, false);
      },
      treeChanges: (mm, vma, change, start, end) => calls.treeChanges(mm, vma, change, start, end),
    });
    const discarded = new DiscardedPages(watch);
    watch.onRun(() => discarded.forget());
    watch.onTableChange((change) => discarded.changed(change));
    watch.onKernel({
      discards: (current, mm, start, end) => discarded.begins(current, mm, start, end),
      left: (current) => {
        calls.left(current);
        discarded.left(current);
      },
    });
  },
};

interface Range {
  readonly mm: MmStruct;
  readonly start: number;
  readonly end: number;
  readonly unmapped: boolean;
}

class ChangingCalls {
  readonly #watch: Watch;
  #ranges = new Map<TaskStruct, Range[]>();

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    this.#ranges = new Map();
  }

  treeChanges(mm: MmStruct, vma: VmArea, change: TreeChange, start: number, end: number): void {
    if (change === 'remove' && vma.detached) this.changes(mm, vma, true);
    else if (change === 'resize') this.#note({ mm, start, end, unmapped: false });
  }

  changes(mm: MmStruct, vma: VmArea, unmapped: boolean): void {
    if (this.#watch.quiet) return;
    this.#watch.unwatched(() => this.#note({ mm, start: vma.start, end: vma.end, unmapped }));
  }

  #note(range: Range): void {
    const task = this.#watch.stepping();
    if (task === null) return;
    const ranges = this.#ranges.get(task);
    if (ranges === undefined) this.#ranges.set(task, [range]);
    else ranges.push(range);
  }

  left(task: TaskStruct): void {
    const ranges = this.#ranges.get(task);
    if (ranges === undefined) return;
    this.#ranges.delete(task);
    this.#watch.unwatched(() => {
      for (const range of ranges) this.#look(task, range);
    });
  }

  #look(task: TaskStruct, { mm, start, end }: Range): void {
    // Another writer is at work; what it leaves is looked at when it returns.
    if (mm.pgd === -1 || mm.mmUsers === 0 || mm.mmapLock.isWriteLocked()) return;
    const { pageTables } = this.#watch.kernel;
    const { hi, lo } = pageTables;
    const root = rootTable(mm);
    for (let page = start; page < end; ) {
      const level = pageTables.lookupLeaf(root, page);
      const wrong = level === -1 ? null : this.#judge(mm, page, pageTables.flags(level));
      if (wrong !== null) {
        const where = `page 0x${page.toString(16)} of ${mm.name}`;
        this.#watch.report(NAME, `${task.name} returns from its call, and the entry of ${where} ${wrong}`, [
          mm.name,
        ]);
        break;
      }
      page = this.#next(mm, page, level);
    }
    pageTables.hi = hi;
    pageTables.lo = lo;
  }

  /** The next page that may have another entry: over a missing table at once. */
  #next(mm: MmStruct, page: number, level: number): number {
    const { pageTables } = this.#watch.kernel;
    if (level === pageTables.lastLevel) return page + 1;
    const table = pageTables.lookup(rootTable(mm), page, pageTables.lastLevel);
    if (table !== null) return page + 1;
    const pages = pagesPerEntry(pageTables.format, pageTables.lastLevel - 1);
    return (Math.floor(page / pages) + 1) * pages;
  }

  #judge(mm: MmStruct, page: number, flags: number): string | null {
    if ((flags & EntryFlag.Present) === 0) return null;
    const vma = mm.vmas.lookup(page);
    if (vma === null) return this.#othersUnmap(mm) ? null : 'is still there, though nothing is mapped';
    if ((flags & EntryFlag.Protnone) !== 0) return null;
    if ((vma.flags & VM_ACCESS_FLAGS) === 0) return `allows access to ${vma.name}, which allows none`;
    if ((flags & EntryFlag.Write) !== 0 && (vma.flags & VM_WRITE) === 0) {
      return `allows writing to ${vma.name}, which is not writable`;
    }
    if ((flags & EntryFlag.Exec) !== 0 && (vma.flags & VM_EXEC) === 0) {
      return `allows execution of ${vma.name}, which is not executable`;
    }
    return null;
  }

  #othersUnmap(mm: MmStruct): boolean {
    for (const ranges of this.#ranges.values()) {
      if (ranges.some((range) => range.unmapped && range.mm === mm)) return true;
    }
    return false;
  }
}

/** Pages that a call is to throw away, by the entries that map them. */
class DiscardedPages {
  readonly #watch: Watch;
  /** By the task that throws away: the numbers of pages whose entries are still the same. */
  readonly #left = new Map<TaskStruct, { readonly mm: MmStruct; readonly pages: Set<number> }>();

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  forget(): void {
    this.#left.clear();
  }

  begins(current: TaskStruct, mm: MmStruct, start: number, end: number): void {
    if (mm.pgd === -1) return;
    const { pageTables } = this.#watch.kernel;
    const { hi, lo } = pageTables;
    const pages = this.#left.get(current)?.pages ?? new Set<number>();
    for (let page = start; page < Math.min(end, start + LOOKED_AT); page++) {
      const level = pageTables.lookupLeaf(rootTable(mm), page);
      // The entry of a huge page changes for all of its pages at once.
      if (level === pageTables.lastLevel && (pageTables.flags(level) & EntryFlag.Present) !== 0)
        pages.add(page);
    }
    this.#left.set(current, { mm, pages });
    pageTables.hi = hi;
    pageTables.lo = lo;
  }

  changed({ place, page, next }: TableChange): void {
    if (this.#left.size === 0 || next.kind === EntryKind.Leaf) return;
    for (const { mm, pages } of this.#left.values()) if (mm === place.mm) pages.delete(page);
  }

  left(current: TaskStruct): void {
    if (this.#left.size === 0) return;
    const left = this.#left.get(current);
    this.#left.delete(current);
    if (left === undefined) return;
    for (const page of left.pages) {
      const where = `page 0x${page.toString(16)} of ${left.mm.name}`;
      const text = `${current.name} returns from its call, and ${where} is still mapped, which it was to throw away`;
      this.#watch.report(NAME, text, [left.mm.name]);
      return;
    }
  }
}
