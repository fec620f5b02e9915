/**
 * Runs of contiguous ptes in the kernel: made where a folio of 16 pages is mapped, broken up by fork, munmap, mprotect and
 * copy on write, by break-before-make under TLBs that keep whatever they may. Folios of several pages come from the test.
 * @see Linux arch/arm64/mm/contpte.c
 */
import { beforeEach, describe, expect, it } from 'vitest';
import { ARM64 } from '../../../../src/arch/arm64/kernel/architecture.ts';
import type { ContiguousEntries } from '../../../../src/arch/contiguous-entries.ts';
import type { KernelArch } from '../../../../src/arch/kernel-arch.ts';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { atomically, type Task } from '../../../../src/base/task.ts';
import { staleTranslations } from '../../../../src/check/stale-translation.ts';
import { FrameFlag } from '../../../../src/kernel/frame/frame-flags.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../../src/kernel/lock/mmap-lock.ts';
import { anonVmaPrepare } from '../../../../src/kernel/mm/anon-vma-prepare.ts';
import { endsRun, foldRun } from '../../../../src/kernel/mm/contiguous-ptes.ts';
import { fileTruncate } from '../../../../src/kernel/mm/ftruncate.ts';
import { memfdCreate } from '../../../../src/kernel/mm/memfd.ts';
import { MM_ANONPAGES } from '../../../../src/kernel/mm/mm.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { pteIndex, type TablePage, type TableWatcher } from '../../../../src/kernel/mm/page-table.ts';
import {
  pteAlloc,
  pteOffsetMapLock,
  pteUnmapUnlock,
  rootTable,
} from '../../../../src/kernel/mm/page-table-alloc.ts';
import { addMmCounter, addNewAnonRmap } from '../../../../src/kernel/mm/rmap.ts';
import type { VmArea } from '../../../../src/kernel/mm/vma.ts';
import { rootCredentials } from '../../../../src/kernel/process/credentials.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../../src/kernel/process/fork.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { createSystem, type System } from '../../../../src/userland/system.ts';

const AT = 0x1000_0000_0000n;
const PAGES = 16;
const RW = PROT_READ | PROT_WRITE;
const { Present, Read, User, Write, Young, Dirty, Cont } = EntryFlag;
const ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
const pageAt = (page: number): bigint => AT + BigInt(page) * 0x1000n;

/** A kernel that forgets to break runs up. */
function neverUnfolding(arch: KernelArch): KernelArch {
  const entries = arch.contiguousEntries as ContiguousEntries;
  const tryUnfold = (): Task<boolean> => atomically(() => false);
  return Object.assign(arch, {
    contiguousEntries: {
      count: entries.count,
      tryFold: entries.tryFold.bind(entries),
      tryUnfold,
      flagsOf: entries.flagsOf.bind(entries),
      setAccessFlags: entries.setAccessFlags.bind(entries),
    } satisfies ContiguousEntries,
  });
}

class World {
  readonly system: System;
  readonly task: TaskStruct;
  /** Writes after which valid entries of a run said different things. */
  disagreements = 0;

  constructor(change: (arch: KernelArch) => KernelArch = (arch) => arch) {
    this.system = createSystem({
      architecture: { ...ARM64, createKernelArch: (options) => change(ARM64.createKernelArch(options)) },
      cpus: 2,
      memoryBytes: 0x100_0000,
      retention: 'adversarial',
    });
    this.task = this.system.createProcess('a', 0, rootCredentials());
    this.#watch();
  }

  #watch(): void {
    const { pageTables } = this.system.kernel;
    const check = pageTables.watcher as TableWatcher;
    pageTables.watcher = {
      added: (table) => check.added(table),
      removed: (table) => check.removed(table),
      written: (table, index, oldHi, oldLo, hi, lo) => {
        check.written(table, index, oldHi, oldLo, hi, lo);
        if (table.level === pageTables.lastLevel && this.#disagrees(table, index, hi, lo))
          this.disagreements++;
      },
    };
  }

  /** Would a TLB that holds the run of the entry as one be wrong about a page of it? What the hardware notes may differ. */
  #disagrees(table: TablePage, index: number, hi: number, lo: number): boolean {
    const { pageTables } = this.system.kernel;
    const { hi: keptHi, lo: keptLo } = pageTables;
    const first = index - (index % PAGES);
    const kinds = new Set<number>();
    for (let at = first; at < first + PAGES; at++) {
      if (at !== index) pageTables.read(table, at);
      else [pageTables.hi, pageTables.lo] = [hi, lo];
      const flags = pageTables.flags(table.level);
      if ((flags & Present) !== 0) kinds.add(flags & ~(Young | Dirty));
    }
    [pageTables.hi, pageTables.lo] = [keptHi, keptLo];
    return kinds.size > 1 && [...kinds].some((flags) => (flags & Cont) !== 0);
  }

  run<T>(path: Task<T>, task = this.task): T {
    return this.system.loop.complete(task, path);
  }

  get mm() {
    if (this.task.mm === null) throw new Error('no mm');
    return this.task.mm;
  }

  /** Maps 16 pages of one anonymous folio, each written, page i with i in its first byte; as the fault of one would. */
  mapFolio(): number {
    const { task, mm } = this;
    this.run(sysMmap(task, AT, BigInt(PAGES) * 0x1000n, RW, ANONYMOUS, null, 0n));
    const head = this.system.kernel.frames.allocateZeroed(4);
    this.run(this.#install(mm.vmas.lookup(Number(AT >> 12n)) as VmArea, head));
    for (let page = 0; page < PAGES; page++) this.store(page, page);
    return head;
  }

  *#install(vma: VmArea, head: number): Task<void> {
    const { task, mm } = this;
    const { kernel } = this.system;
    const first = Number(AT >> 12n);
    yield* mmapReadLock(task, mm);
    yield* anonVmaPrepare(task, vma);
    yield* pteAlloc(task, mm, first);
    const table = yield* pteOffsetMapLock(task, mm, first);
    if (table === null) throw new Error('no pte table');
    for (let i = 0; i < PAGES; i++) {
      if (i > 0) kernel.frames.get(head);
      kernel.frames.setFlags(head + i, FrameFlag.Uptodate);
      addNewAnonRmap(kernel.frames, head + i, vma, first + i);
      addMmCounter(mm, MM_ANONPAGES, 1);
      yield table.setEntry;
      const flags = Present | Read | User | Write | Young | Dirty;
      kernel.pageTables.setLeaf(table, pteIndex(kernel.pageTables, first + i), head + i, flags);
      if (endsRun(kernel, first + i, head + i)) yield* foldRun(task, mm, table, first + i, head + i);
    }
    kernel.frames.setMapping(head, vma.anonVma, vma.indexOf(first));
    yield* pteUnmapUnlock(task, table);
    yield* mmapReadUnlock(task, mm);
  }

  store(page: number, value: number, task = this.task): boolean {
    return this.run(userStore(task, pageAt(page), Uint8Array.of(value)), task) === null;
  }

  load(page: number, task = this.task): number {
    const bytes = new Uint8Array(1);
    return this.run(userLoad(task, pageAt(page), bytes), task) === null ? (bytes[0] as number) : -1;
  }

  flags(page: number, task = this.task): number {
    const { pageTables } = this.system.kernel;
    if (task.mm === null || !pageTables.lookupPte(rootTable(task.mm), Number(AT >> 12n) + page)) return 0;
    return pageTables.flags(pageTables.lastLevel);
  }

  /** How many of the pages are in a run. */
  contiguous(task = this.task): number {
    return Array.from({ length: PAGES }, (_, page) => this.flags(page, task) & Cont).filter(Boolean).length;
  }

  get violations(): number {
    return this.system.breakBeforeMake?.violations.length ?? -1;
  }

  /** No rule broken, nothing stale. */
  check(): void {
    expect([this.violations, this.disagreements]).toEqual([0, 0]);
    expect(staleTranslations(this.system.kernel, this.system.tlbView)).toEqual([]);
  }
}

let world: World;
beforeEach(() => {
  world = new World();
});

it('single pages, as the kernel has them, never form a run', () => {
  const bytes = BigInt(PAGES) * 0x1000n;
  world.run(sysMmap(world.task, AT, bytes, RW, ANONYMOUS, null, 0n));
  for (let page = 0; page < PAGES; page++) world.store(page, page);
  expect(world.contiguous()).toBe(0);
  world.check();
});

describe('a folio of 16 pages', () => {
  it('is mapped as a run, which reads as it was written', () => {
    world.mapFolio();
    expect(world.contiguous()).toBe(PAGES);
    expect(Array.from({ length: PAGES }, (_, page) => world.load(page))).toEqual([...Array(PAGES).keys()]);
    world.check();
  });

  it.each<[string, (task: TaskStruct) => Task<unknown>, (now: World) => void]>([
    [
      'munmap of one page',
      (task) => sysMunmap(task, pageAt(5), 0x1000n),
      (now) => expect([now.load(5), now.load(6), now.flags(5)]).toEqual([-1, 6, 0]),
    ],
    [
      'mprotect of one page',
      (task) => sysMprotect(task, pageAt(5), 0x1000n, PROT_READ),
      (now) =>
        expect([now.store(5, 9), now.store(6, 9), now.load(5), now.load(6)]).toEqual([false, true, 5, 9]),
    ],
    [
      'mprotect that takes all access from one page',
      (task) => sysMprotect(task, pageAt(15), 0x1000n, 0),
      (now) => expect([now.load(15), now.load(0)]).toEqual([-1, 0]),
    ],
  ])('is a run no longer after %s', (_what, change, expected) => {
    world.mapFolio();
    expect(world.run(change(world.task))).toBe(0);
    expect(world.contiguous()).toBe(0);
    expected(world);
    world.check();
  });

  it('is broken up by fork, which write-protects it; parent and child write to copies', () => {
    world.mapFolio();
    const child = world.run(sysFork(world.task, 'b')) as TaskStruct;
    expect(world.contiguous()).toBe(0);
    // What was copied last ends a run of the child's own, read-only.
    expect([world.contiguous(child), world.flags(3, child) & Write]).toEqual([PAGES, 0]);
    expect([world.store(3, 77), world.store(4, 88, child)]).toEqual([true, true]);
    expect([world.load(3), world.load(4), world.load(3, child), world.load(4, child)]).toEqual([
      77, 4, 3, 88,
    ]);
    expect(world.contiguous(child)).toBe(0);
    world.check();
  });

  it('is given back whole when the process ends', () => {
    const head = world.mapFolio();
    const { frames } = world.system.kernel;
    world.run(doExit(world.task, 0));
    expect(frames.refcount(head)).toBe(0);
    expect(world.violations).toBe(0);
  });

  it('becomes one run again when mprotect gives all of it the same rights', () => {
    world.mapFolio();
    world.run(sysMprotect(world.task, AT, BigInt(PAGES) * 0x1000n, PROT_READ));
    expect([world.contiguous(), world.store(7, 1), world.load(7)]).toEqual([PAGES, false, 7]);
    world.check();
  });
});

it('entries of a run disagree when mprotect does not break it up first', () => {
  world = new World(neverUnfolding);
  world.mapFolio();
  world.run(sysMprotect(world.task, pageAt(5), 0x1000n, PROT_READ));
  expect(world.disagreements).toBeGreaterThan(0);
});

describe('a folio of 16 pages of a file', () => {
  it('is mapped by one fault as a run; becomes dirty as a whole, and is unmapped from one page on', () => {
    const { task, system } = world;
    const { frames } = system.kernel;
    const file = memfdCreate(system.kernel, 'large');
    expect(world.run(fileTruncate(task, file, BigInt(PAGES * 4096)))).toBe(0);
    const head = frames.allocateZeroed(4);
    for (let i = 0; i < PAGES; i++) {
      if (i > 0) frames.get(head);
      frames.setFlags(head + i, FrameFlag.Uptodate);
      file.mapping.add(frames, i, head + i);
    }
    frames.setMapping(head, file.mapping, 0);
    world.run(sysMmap(task, AT, BigInt(PAGES) * 0x1000n, RW, MAP_SHARED | MAP_FIXED, file, 0n));
    expect([world.load(2), world.contiguous()]).toEqual([0, PAGES]);
    expect([world.store(9, 42), world.load(9), world.contiguous()]).toEqual([true, 42, PAGES]);
    world.check();
    world.run(sysMunmap(task, pageAt(12), 0x4000n));
    expect([world.contiguous(), world.load(9), world.load(12)]).toEqual([0, 42, -1]);
    world.check();
  });
});
