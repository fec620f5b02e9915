import { describe, expect, it, vi } from 'vitest';
import forkWithoutLock from '../../../examples/bugs/fork-without-vma-write-lock.ts';
import newVmaVisible from '../../../examples/bugs/new-vma-visible-before-locked.ts';
import stackrot from '../../../examples/bugs/stackrot.ts';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import type { Halves } from '../../../src/base/u64.ts';
import { CHECK_NAMES } from '../../../src/check/races/registry.ts';
import type { BugName } from '../../../src/kernel/bugs.ts';
import type { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { mmgrab } from '../../../src/kernel/mm/mm-count.ts';
import { VmArea } from '../../../src/kernel/mm/vma.ts';
import { defineScenario, type Scenario } from '../../../src/userland/scenario.ts';
import type { System } from '../../../src/userland/system.ts';
import { firstFindings } from './check-run.ts';

const PAGE = 4096;
const BASE = 0x1000_0000n;

/** One process that maps, writes, forbids and unmaps. */
const single = defineScenario({
  title: 'one process',
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: BASE, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      yield* u.must(u.store(BASE + BigInt(PAGE), 1));
      yield* u.must(u.mprotect(BASE, PAGE, 'r'));
      yield* u.must(u.munmap(BASE, 2 * PAGE));
    },
  },
});

/** On one CPU: what the child leaves is dropped when the parent goes on. */
const parentAndChild = defineScenario({
  title: 'a child that exits',
  programs: {
    *main(u) {
      yield* u.must(
        u.fork(function* (child) {
          yield* child.exit(0);
        }, 'child'),
      );
      yield* u.must(u.wait());
    },
  },
});

describe('one statement of the locks of VMAs left out', () => {
  it.each<[Scenario, BugName, string, RegExp]>([
    [
      forkWithoutLock,
      'fork-without-vma-write-lock',
      'fork-unlocked-vma',
      /which is not write-locked: a fault may be/,
    ],
    [newVmaVisible, 'new-vma-visible-before-locked', 'vma-tree-change', /which is not write-locked$/],
    [stackrot, 'stackrot', 'vma-tree-change', /and does not hold its mmap_lock for writing$/],
  ])('is found: $1', (scenario, bug, check, text) => {
    const [found] = firstFindings(scenario, [check], { bugs: [bug], seeds: 60 });
    expect(found?.text).toMatch(text);
    expect(firstFindings(scenario, [check], { seeds: 3 })).toEqual([]);
  });
});

/** Two threads that map and unmap beside each other: each waits for mmap_lock while the other writes. */
const mappers = defineScenario({
  title: 'two threads that map',
  programs: {
    *main(u) {
      const place = BASE + BigInt(16 * PAGE);
      yield* u.must(
        u.cloneVm(function* (other) {
          yield* other.mmap({ address: place, bytes: PAGE, prot: 'rw', fixed: true });
          yield* other.munmap(place, PAGE);
        }, 'other'),
      );
      yield* u.mmap({ address: BASE, bytes: PAGE, prot: 'rw', fixed: true });
      yield* u.munmap(BASE, PAGE);
    },
  },
});

describe('a task that is killed while it waits for mmap_lock', () => {
  it('gives back nothing that the writer holds', () => {
    const checks = ['vma-tree-change', 'anon-page-reachable', 'vma-lock-count'];
    expect(firstFindings(mappers, checks, { kills: true, seeds: 40 })).toEqual([]);
  });
});

/** The kernel as it is, but for one method. */
function everything(): readonly string[] {
  return firstFindings(single, CHECK_NAMES, { seeds: 1 }).map(({ check, text }) => `${check}: ${text}`);
}

describe('a process of its own', () => {
  it('gives no check anything to tell', () => {
    expect(everything()).toEqual([]);
  });

  it('cannot rely on mprotect where entries stay writable', () => {
    const [found] = withTask('rights-after-call', ({ kernel }) => {
      const { pageTables } = kernel;
      const { format, lastLevel } = pageTables;
      const write = pageTables.write.bind(pageTables);
      const writable: Halves = { hi: 0, lo: 0 };
      pageTables.write = (table, index, hi, lo) => {
        format.change(hi, lo, table.level, EntryFlag.Write, 0, writable);
        const isPage =
          table.level === lastLevel && (format.flagsOf(hi, lo, lastLevel) & EntryFlag.Present) !== 0;
        if (isPage) write(table, index, writable.hi, writable.lo);
        else write(table, index, hi, lo);
      };
    });
    expect(found).toMatch(/^main returns from its call, and the entry of page 0x10000 .* allows writing/);
  });
});

/** What the checks say of a task that runs kernel code of a test's own. */
function withTask(
  check: string,
  make: (system: System) => void,
  scenario: Scenario = single,
): readonly string[] {
  return firstFindings(scenario, [check], { seeds: 1, spoil: make }).map(({ text }) => text);
}

/** A thread writes to a page whose mapping is split by another: the VMA that was its own begins behind it then. */
const splitting = defineScenario({
  title: 'a mapping that is split while it is written to',
  cpus: 2,
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: BASE, bytes: 4 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(
        u.cloneVm(function* (other) {
          yield* other.store(BASE, 1);
        }, 'other'),
      );
      yield* u.must(u.mprotect(BASE + BigInt(2 * PAGE), 2 * PAGE, 'r'));
    },
  },
});

/** One process that only looks. */
const readable = defineScenario({
  title: 'a page that is read',
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: BASE, bytes: PAGE, prot: 'r', fixed: true }));
      yield* u.must(u.load(BASE));
    },
  },
});

describe('a fault and its mapping', () => {
  it('belong together', () => {
    // The look that is taken once the VMA's lock is held is left out.
    const contains = vi.spyOn(VmArea.prototype, 'contains').mockReturnValue(true);
    try {
      const [found] = firstFindings(splitting, ['entry-beyond-mapping'], { seeds: 200 });
      expect(found?.text).toMatch(
        /^other handles a fault at page 0x10000 by vma \d+ of mm of main, which does not/,
      );
    } finally {
      contains.mockRestore();
    }
    expect(firstFindings(splitting, ['entry-beyond-mapping'], { seeds: 20 })).toEqual([]);
  });

  it.each([
    [
      'writable',
      EntryFlag.Write,
      /^the entry of page 0x10000 of mm of main comes to .* for writing: vma \d+ of/,
    ],
    ['executable', EntryFlag.Exec, / for execution: vma \d+ of mm of main is not executable$/],
  ])('what is not to be %s is not', (_, flag, text) => {
    const spoil = ({ kernel }: System): void => {
      const { pageTables } = kernel;
      const { format, lastLevel } = pageTables;
      const write = pageTables.write.bind(pageTables);
      const more: Halves = { hi: 0, lo: 0 };
      pageTables.write = (table, index, hi, lo) => {
        const isPage =
          table.level === lastLevel && (format.flagsOf(hi, lo, lastLevel) & EntryFlag.Present) !== 0;
        if (!isPage) return write(table, index, hi, lo);
        format.change(hi, lo, table.level, flag, 0, more);
        write(table, index, more.hi, more.lo);
      };
    };
    expect(withTask('entry-beyond-mapping', spoil, readable)[0]).toMatch(text);
  });
});

/** A thread looks at the pages of a mapping, under mmap_lock held for reading, while another takes it away. */
const looking = defineScenario({
  title: 'a look at pages that are unmapped',
  cpus: 2,
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: BASE, bytes: 4 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(
        u.cloneVm(function* (other) {
          yield* other.mincore(BASE, PAGE);
        }, 'other'),
      );
      yield* u.must(u.munmap(BASE, 4 * PAGE));
    },
  },
});

describe('a reader that waits for a writer', () => {
  it('goes on when that has become a reader', () => {
    // What wakes the readers comes last in the step of the downgrade: it is kept from it.
    const spoil = ({ kernel }: System): void => {
      const { lockWatcher } = kernel;
      if (lockWatcher === null) throw new Error('nobody watches');
      const { downgrade } = lockWatcher;
      lockWatcher.downgrade = (task, lock) => {
        downgrade.call(lockWatcher, task, lock);
        const real = lock as RwSemaphore;
        vi.spyOn(real, 'waiters').mockReturnValue(real.waiters());
      };
    };
    const [found] = firstFindings(looking, ['lost-wake-up'], { seeds: 200, spoil });
    expect(found?.text).toMatch(
      / waits for mmap_lock mm of main to read, though .* has held it for reading only$/,
    );
    expect(firstFindings(looking, ['lost-wake-up'], { seeds: 20 })).toEqual([]);
  });
});

describe('a task that must not sleep', () => {
  it('comes to nothing where it may', () => {
    const spoil = ({ kernel }: System): void => {
      const { vmaWatcher, tasks } = kernel;
      if (vmaWatcher === null) throw new Error('nobody watches');
      vmaWatcher.attached = ({ mm }) => {
        for (const task of tasks.values()) {
          task.rcuReadDepth++;
          mm.mmapLock.downRead(task).next();
          task.rcuReadDepth--;
        }
      };
    };
    const [found] = firstFindings(single, ['sleep-in-atomic', 'vma-lock-count'], { seeds: 1, spoil });
    expect(found?.check).toBe('sleep-in-atomic');
    expect(found?.text).toMatch(/^sleeping in atomic context: main in down_read on .*rcu read depth 1\)$/);
  });
});

describe('a task that goes back to its program', () => {
  it('must not hold a lock', () => {
    const [found] = withTask('lock-held-at-return', ({ kernel }) => {
      const { watcher } = kernel;
      if (watcher === null) throw new Error('nobody watches');
      const { entered } = watcher;
      let taken = false;
      watcher.entered = (current) => {
        entered.call(watcher, current);
        if (taken || current.mm === null) return;
        taken = true;
        const taking = current.execUpdateLock.downRead(current);
        taking.next();
        taking.next();
      };
    });
    expect(found).toMatch(/^main goes back to its program with exec_update_lock/);
  });
});

describe('the count of a VMA', () => {
  it('is not raised once the VMA is detached', () => {
    const [found] = withTask('vma-lock-count', ({ kernel }) => {
      const { vmaWatcher } = kernel;
      if (vmaWatcher === null) throw new Error('nobody watches');
      const { detached } = vmaWatcher;
      vmaWatcher.detached = (vma) => {
        detached.call(vmaWatcher, vma);
        vmaWatcher.readerCounted(vma, vma.refcount);
      };
    });
    expect(found).toMatch(/^main counts itself as a reader of vma \d+ of mm of main, which is detached$/);
  });
});

describe('an address space', () => {
  it('is not counted once its last reference is gone', () => {
    const [found] = withTask(
      'mm-use-after-free',
      ({ kernel }) => {
        const { vmaWatcher } = kernel;
        if (vmaWatcher === null) throw new Error('nobody watches');
        const { mmFreed } = vmaWatcher;
        vmaWatcher.mmFreed = (mm) => {
          mmFreed.call(vmaWatcher, mm);
          const grabbing = mmgrab(mm);
          grabbing.next();
          grabbing.next();
        };
      },
      parentAndChild,
    );
    expect(found).toMatch(/ counts a reference to mm of child, which is freed$/);
  });
});
