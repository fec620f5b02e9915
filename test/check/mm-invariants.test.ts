/** An audit that never finds anything proves nothing: one corruption for each rule, and what is said of it. */
import { describe, expect, it } from 'vitest';
import { EntryFlag } from '../../src/arch/paging-format.ts';
import { FrameFlag } from '../../src/kernel/frame/frame-flags.ts';
import { LruList } from '../../src/kernel/frame/lru-lists.ts';
import { memfdCreate } from '../../src/kernel/mm/memfd.ts';
import { MM_ANONPAGES } from '../../src/kernel/mm/mm.ts';
import { MAP_FIXED, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../src/kernel/mm/mmap.ts';
import { pteIndex, type TablePage } from '../../src/kernel/mm/page-table.ts';
import { rootTable } from '../../src/kernel/mm/page-table-alloc.ts';
import type { VmArea } from '../../src/kernel/mm/vma.ts';
import { VM_LOCKED, VM_READ } from '../../src/kernel/mm/vma-flags.ts';
import type { TaskStruct } from '../../src/kernel/task-struct.ts';
import { pokeVma } from '../kernel/mm/poke-vma.ts';
import { addressOf, BASE_PAGE, mmOf, ProcessWorld } from '../kernel/mm/process-world.ts';

const RW = PROT_READ | PROT_WRITE;

/**
 * A parent and its child with private memory that they share (page 0), that the parent has written since (1), the zero page
 * (2), a file (pages 8 to 11), swap that is empty, and huge pages in a pool.
 */
class Scene {
  readonly world: ProcessWorld;
  readonly parent: TaskStruct;
  readonly child: TaskStruct;
  readonly file;

  constructor() {
    const kernel = { swapPages: 16, hugepages2M: 2, lockdep: false };
    this.world = new ProcessWorld({ memoryBytes: 0x200_0000, kernel });
    const { world } = this;
    this.parent = world.process('parent');
    world.map(this.parent, 0, 6, RW);
    this.file = memfdCreate(world.kernel, 'file');
    this.file.mapping.sizeBytes = 8 * 4096;
    const flags = MAP_SHARED | MAP_FIXED;
    world.run(this.parent, sysMmap(this.parent, addressOf(8), 4n << 12n, RW, flags, this.file, 0n));
    for (const page of [0, 1, 3, 8]) world.store(this.parent, page, 1);
    world.load(this.parent, 2);
    this.child = world.fork(this.parent);
    world.store(this.parent, 1, 2);
  }

  get kernel() {
    return this.world.kernel;
  }

  get mm() {
    return mmOf(this.parent);
  }

  vma(page: number): VmArea {
    const vma = this.mm.vmas.lookup(BASE_PAGE + page);
    if (vma === null) throw new Error(`nothing is mapped at ${page}`);
    return vma;
  }

  table(page: number): TablePage {
    const { pageTables } = this.kernel;
    const table = pageTables.lookup(rootTable(this.mm), BASE_PAGE + page, pageTables.lastLevel);
    if (table === null) throw new Error(`no table at ${page}`);
    return table;
  }

  frame(page: number): number {
    return this.world.pte(this.parent, page).frame;
  }

  /** Changes flags of a pte behind everybody's back. */
  change(page: number, set: number, clear = 0): void {
    const { pageTables } = this.kernel;
    pageTables.change(this.table(page), pteIndex(pageTables, BASE_PAGE + page), set, clear);
  }

  /** Makes a pte name another frame. */
  rename(page: number, frame: number): void {
    const { pageTables } = this.kernel;
    const { flags } = this.world.pte(this.parent, page);
    pageTables.setLeaf(this.table(page), pteIndex(pageTables, BASE_PAGE + page), frame, flags);
  }

  freedFrame(): number {
    const { frames } = this.kernel;
    const frame = frames.allocate();
    frames.put(frame);
    return frame;
  }

  audit(): readonly string[] {
    return this.world.inconsistencies({ files: [this.file.mapping] });
  }
}

const CORRUPTIONS: readonly (readonly [rule: string, corrupt: (scene: Scene) => void, said: RegExp])[] = [
  // VMAs
  ['map_count', ({ mm }) => mm.mapCount++, /map_count of mm of parent is 3, counted are 2/],
  [
    'VMAs do not overlap',
    (s) => {
      pokeVma(s.vma(0), (vma) => {
        vma.end += 3;
      });
    },
    /below its neighbour's end/,
  ],
  [
    'VMAs are not empty',
    (s) => {
      pokeVma(s.vma(0), (vma) => {
        vma.end = vma.start;
      });
    },
    /is empty/,
  ],
  [
    'the tree finds a VMA',
    (s) => pokeVma(s.vma(0), (vma) => vma.start--),
    /is not found at its first and last page/,
  ],
  [
    "a VMA is its mm's",
    (s) => {
      s.vma(0).mm = mmOf(s.child);
    },
    /is in the tree of mm of parent/,
  ],
  ['vm_refcnt', (s) => void s.vma(0).refcount++, /vm_refcnt of .* is 2, counted are 1/],
  ['total_vm', ({ mm }) => mm.totalVm++, /total_vm/],
  ['data_vm', ({ mm }) => mm.dataVm++, /data_vm/],
  ['exec_vm', ({ mm }) => mm.execVm++, /exec_vm/],
  ['stack_vm', ({ mm }) => mm.stackVm++, /stack_vm/],
  [
    'locked_vm',
    (s) => {
      pokeVma(s.vma(0), (vma) => {
        vma.flags |= VM_LOCKED;
      });
    },
    /locked_vm of mm of parent is 0, counted are 6/,
  ],
  ['committed pages', ({ kernel }) => kernel.committedPages++, /committedPages/],
  ['VMAs in use', ({ kernel }) => kernel.vmAreas.live++, /the number of VMAs in use/],
  // page tables
  ['entries within VMAs', (s) => s.rename(20, s.frame(1)), /is mapped outside every VMA/],
  [
    'entries within rights',
    (s) => {
      pokeVma(s.vma(0), (vma) => {
        vma.flags = VM_READ;
      });
    },
    /is writable, vma .* is not/,
  ],
  ['protection of the VMA', (s) => s.change(1, EntryFlag.Exec), /protection differs from its VMA's/],
  [
    'a mark of NUMA balancing has no rights',
    (s) => s.change(1, EntryFlag.Protnone | EntryFlag.Write),
    /is marked for NUMA balancing, and writable/,
  ],
  ['exclusive before writable', (s) => s.change(0, EntryFlag.Write), /is writable, frame .* not exclusive/],
  [
    'exclusive means one mapping',
    (s) => s.kernel.frames.setFlags(s.frame(0), FrameFlag.AnonExclusive),
    /is exclusive, and mapped 2 times/,
  ],
  ['the zero page is never written', (s) => s.change(2, EntryFlag.Write), /is the zero page, and writable/],
  ['the zero page is special', (s) => s.change(2, 0, EntryFlag.Special), /is the zero page, and not special/],
  [
    'write protection by userfaultfd',
    (s) => s.change(1, EntryFlag.UffdWp),
    /write-protected by no userfaultfd/,
  ],
  ['no free frame is mapped', (s) => s.rename(1, s.freedFrame()), /maps frame .*, which is free/],
  [
    'resident pages',
    ({ mm }) => {
      mm.rss[MM_ANONPAGES] = 9;
    },
    /the anonymous counter of mm of parent is 9/,
  ],
  [
    'pgtables_bytes',
    ({ mm }) => {
      mm.pgtablesBytes += 4096;
    },
    /pgtables_bytes/,
  ],
  ['hugetlb_usage', ({ mm }) => mm.hugetlbUsage++, /hugetlb_usage/],
  ['tables put by', (s) => void s.table(0).deposited.push(s.table(0)), /tables put by/],
  ['sharers of tables', (s) => s.table(0).sharers++, /sharers of pte/],
  [
    'tables in use are not freed',
    (s) => {
      s.table(0).freed = true;
    },
    /is freed and in use/,
  ],
  // frames
  [
    'references',
    (s) => s.kernel.frames.get(s.frame(1)),
    /the reference count of frame .* is 2, counted are 1/,
  ],
  ['references of tables', (s) => s.kernel.frames.get(s.mm.pgd), /reference count of the table/],
  [
    'map counts',
    (s) => s.kernel.frames.addMap(s.frame(1), s.mm),
    /the map count of frame .* is 2, counted are 1/,
  ],
  ["a frame is somebody's", ({ kernel }) => kernel.frames.allocate(), /is nobody's/],
  ['folio locks', (s) => s.kernel.frames.setFlags(s.frame(1), FrameFlag.Locked), /frame .* is locked/],
  ['write-back', (s) => s.kernel.frames.setFlags(s.frame(1), FrameFlag.Writeback), /is being written/],
  [
    'anonymous is marked',
    (s) => s.kernel.frames.clearFlags(s.frame(1), FrameFlag.Anon),
    /is not marked anonymous/,
  ],
  ['lists of reclaim', (s) => s.kernel.frames.lru.remove(s.frame(1), 1), /is on no list/],
  [
    'the list that flags name',
    (s) => s.kernel.frames.setFlags(s.frame(1), FrameFlag.Unevictable),
    /is on list/,
  ],
  [
    'sizes of lists',
    (s) => {
      s.kernel.frames.lru.remove(s.frame(1), 3);
      s.kernel.frames.lru.add(s.frame(1), LruList.InactiveAnon, 1);
    },
    /the size of list/,
  ],
  // files and rmap
  [
    'offsets of pages',
    (s) => s.kernel.frames.setMapping(s.frame(1), s.kernel.frames.mapping(s.frame(1)), 5),
    /is at offset .*, frame .* at 5/,
  ],
  ["a VMA is chained to its pages' anon_vma", (s) => s.vma(0).anonVmaChain.splice(0), /is not chained/],
  [
    'entries of an anon_vma',
    (s) => void (s.vma(0).anonVmaChain[0] as { last: number }).last++,
    /covers .* its node/,
  ],
  [
    'VMAs of an anon_vma',
    (s) => s.vma(0).anonVma !== null && (s.vma(0).anonVma as { numActiveVmas: number }).numActiveVmas++,
    /the number of VMAs of anon_vma/,
  ],
  [
    'cached pages name their file',
    (s) => s.kernel.frames.setMapping(s.frame(8), s.file.mapping, 3),
    /says it is page 3/,
  ],
  ['mappings of a file', (s) => void (s.vma(8).iMmapNode as { first: number }).first++, /covers .* its node/],
  ['i_mmap_writable', (s) => s.file.mapping.iMmapWritable++, /i_mmap_writable/],
  [
    'fallocate is over',
    (s) => {
      s.file.mapping.hole = { first: 0, end: 1 };
    },
    /is still in fallocate/,
  ],
  // swap and huge pages
  [
    'counts of slots',
    ({ kernel: { swap, frames } }) => {
      frames.get(frames.zeroFrame);
      swap?.allocate(frames.zeroFrame);
      swap?.duplicate(1);
    },
    /the count of swap slot 1 is 1, counted are 0/,
  ],
  [
    'free slots',
    ({ kernel }) => kernel.swap !== null && kernel.swap.freeSlots--,
    /the number of free swap slots/,
  ],
  [
    'free huge pages',
    ({ kernel }) => (kernel.hugetlb.hstates[0] as { freeHugePages: number }).freeHugePages--,
    /the number of free pages of hugetlb/,
  ],
  [
    'promised huge pages',
    ({ kernel }) => {
      (kernel.hugetlb.hstates[0] as { resvHugePages: number }).resvHugePages = 3;
    },
    /has promised 3 pages, 2 are free/,
  ],
  // locks
  ['mm_users', ({ mm }) => mm.mmUsers++, /mm_users/],
  ['gathers', ({ mm }) => mm.tlbFlushPending++, /tlb_flush_pending/],
  [
    'fork is over',
    ({ world, parent, mm }) => world.run(parent, mm.writeProtectSeq.writeBegin()),
    /is being write-protected/,
  ],
  ['mm_lock_seq', ({ mm }) => mm.mmLockSeq++, /mm_lock_seq/],
  ['sections of RCU', ({ kernel, parent }) => kernel.rcu.enter(parent), /is in a section of RCU/],
  ['preemption', ({ parent }) => parent.preemptDisabled++, /has preemption disabled/],
  ['interrupts', ({ kernel }) => kernel.machine.cpu(0).disableInterrupts(), /has interrupts disabled/],
  // TLBs
  [
    'no TLB knows more than the tables',
    (s) => {
      s.world.load(s.parent, 1);
      s.change(1, 0, EntryFlag.Write);
    },
    /allows writing, the page table does not/,
  ],
];

describe('the audit of the memory manager', () => {
  it('finds nothing where nothing is wrong', () => {
    expect(new Scene().audit()).toEqual([]);
  });

  it.each(CORRUPTIONS)('sees that this is broken: %s', (_rule, corrupt, said) => {
    const scene = new Scene();
    corrupt(scene);
    expect(scene.audit().join('\n')).toMatch(said);
  });

  it('sees a lock that somebody holds', () => {
    const scene = new Scene();
    const { mm, parent } = scene;
    scene.world.run(parent, mm.mmapLock.downRead(parent));
    expect(scene.audit().join('\n')).toMatch(/mmap_lock mm of parent is locked/);
  });
});
