/**
 * Bugs put in on purpose, each a switch that brings back the order of operations of a kernel that had it. All are off
 * unless a scenario or a run turns them on; the kernel asks `kernel.bugs` where the old code differs from today's.
 */

export interface BugDescription {
  /** As scenarios and the command line name it. */
  readonly name: string;
  /** What the old code does, in one sentence. */
  readonly title: string;
  /** CVE, commit, or mail that tells of it. */
  readonly source: string;
}

/** By the name of their switch, sorted. */
export const BUGS = {
  anonVmaReuse: {
    name: 'anon-vma-reuse',
    title:
      'Children of an anon_vma and the VMAs that use it are counted as one number, by which two VMAs may come to share it.',
    source: 'CVE-2022-42703; Linux commit 2555283eb40d (2022)',
  },
  bpfIteratorHoldsMmapLock: {
    name: 'bpf-iterator-holds-mmap-lock',
    title:
      'The task_vma iterator of BPF holds mmap_lock while its program runs, which may take it once more.',
    source:
      'Puranjay Mohan, “bpf: Remove mmap_lock from task_vma iterator to prevent deadlock”, 2 February 2026',
  },
  bpfIteratorHoldsVmaLock: {
    name: 'bpf-iterator-holds-vma-lock',
    title:
      'The task_vma iterator of BPF holds a VMA’s lock while its program runs, which may wait for mmap_lock.',
    source:
      'Puranjay Mohan, “bpf: Fix mmap_lock deadlock in VMA iterators using per-VMA locks”, 6 January 2026',
  },
  dirtyCow: {
    name: 'dirty-cow',
    title: 'Once a fault has copied the page of a forced write, GUP looks again as if for a read.',
    source: 'CVE-2016-5195; Linux commit 19be0eaffa3a (2016)',
  },
  forkWithoutVmaWriteLock: {
    name: 'fork-without-vma-write-lock',
    title: 'fork copies page tables under mmap_lock alone: faults under VMA locks go on meanwhile.',
    source: 'Linux commit fb49c455323f, dup_mmap',
  },
  hugePmdUnshareGupFast: {
    name: 'huge-pmd-unshare-gup-fast',
    title:
      'A process leaves a shared pmd table of huge pages without waiting for lockless walkers that are still in it.',
    source: 'CVE-2025-38085; Linux commit 1013af4f585f, huge_pmd_unshare',
  },
  lockVmaAnonVmaCheck: {
    name: 'lock-vma-anon-vma-check',
    title:
      'A fault looks for the anon_vma of a VMA before it has the VMA’s lock, and relies on it afterwards.',
    source: 'Linux commit 657b5146955e, lock_vma_under_rcu',
  },
  gupFastFork: {
    name: 'gup-fast-fork',
    title: 'gup-fast keeps a pin although fork was sharing the pages of the address space meanwhile.',
    source: 'Linux commit 57efa1fe5957, mm/gup: prevent gup_fast from racing with COW during fork (2020)',
  },
  gupFastThpCollapse: {
    name: 'gup-fast-thp-collapse',
    title:
      'gup-fast does not look at the pmd again, and a collapse into a huge page waits for no lockless walk of the table.',
    source: 'Linux commits 70cbc3cc78a9 and 2ba99c5e0881 (2022)',
  },
  mmapLockUnderVmaLock: {
    name: 'mmap-lock-under-vma-lock',
    title:
      'Before the first anonymous page of a VMA a fault waits for mmap_lock while it holds the VMA’s lock, where Linux only tries.',
    source: 'Linux mm/memory.c, __vmf_anon_prepare, without its trylock',
  },
  mremapStaleTlb: {
    name: 'mremap-stale-tlb',
    title:
      'mremap flushes TLBs only when all entries have moved, long after the locks of their tables are free.',
    source: 'CVE-2018-18281; Linux commit eb66ae030829, move_ptes',
  },
  nestedTlbGather: {
    name: 'nested-tlb-gather',
    title:
      'Of two unmappings of the same pages, the one that finds nothing left does not flush what the other has not flushed yet.',
    source: 'Linux commit 99baac21e458, tlb_finish_mmu',
  },
  newVmaVisibleBeforeLocked: {
    name: 'new-vma-visible-before-locked',
    title: 'mmap puts a VMA into the tree without write-locking it, and completes it afterwards.',
    source: 'Linux commits 33313a747e81 and 1c7873e33645, mmap_region',
  },
  pfnmapStaleTlb: {
    name: 'pfnmap-stale-tlb',
    title:
      'munmap takes a VM_PFNMAP mapping out of the list of its file before TLBs are flushed: a driver that looks for mappings finds none.',
    source: 'CVE-2022-39188; Linux commit b67fbebd4cf9, tlb_end_vma',
  },
  shmemDirtyCow: {
    name: 'shmem-dirty-cow',
    title: 'Once a fault has copied the page of a forced write, GUP writes through any dirty entry.',
    source: 'CVE-2022-2590; Linux commit 5535be309971 (2022)',
  },
  stackrot: {
    name: 'stackrot',
    title:
      'Stacks grow under mmap_lock held for reading, which replaces nodes of the tree that other readers are in.',
    source: 'CVE-2023-3269; Linux commit 8d7071af8907',
  },
  vmaRefcountPutMm: {
    name: 'vma-refcount-put-mm',
    title: 'Who gives back a VMA that is another process’ by now wakes a writer in an mm that may be gone.',
    source: 'Linux commit 9bbffee67ffd, vma_start_read',
  },
  vmasAfterSplit: {
    name: 'vmas-after-split',
    title:
      'A driver takes mmap_lock again and believes a VMA that get_user_pages gave it under the lock before.',
    source: 'Lorenzo Stoakes, “remove the vmas parameter from GUP APIs”, April 2023',
  },
  vmasAfterUnlock: {
    name: 'vmas-after-unlock',
    title: 'A driver looks at the VMAs that get_user_pages gave it after it has let mmap_lock go.',
    source: 'Lorenzo Stoakes, “remove the vmas parameter from GUP APIs”, April 2023',
  },
  vmasDroppedLock: {
    name: 'vmas-dropped-lock',
    title:
      'get_user_pages gives VMAs to a caller that lets it drop mmap_lock: those of before the drop may be gone on return.',
    source: 'Lorenzo Stoakes, “remove the vmas parameter from GUP APIs”, April 2023',
  },
  wpPageCopyLateFlush: {
    name: 'wp-page-copy-late-flush',
    title: 'A copy on write is mapped while other CPUs still have the old page in their TLBs.',
    source: 'Suresh Siddha, “mm: fix a race condition under SMC + COW”, September 2006; do_wp_page',
  },
  vmspliceCowLeak: {
    name: 'vmsplice-cow-leak',
    title: 'A write to an anonymous page that nobody else maps reuses it, whoever else has a reference.',
    source: 'CVE-2020-29374; Linux commits 17839856fd58 and 09854ba94c6a (2020)',
  },
} as const satisfies Readonly<Record<string, BugDescription>>;

type BugSwitch = keyof typeof BUGS;
export type BugName = (typeof BUGS)[BugSwitch]['name'];
/** Which bugs a kernel has. */
export type KernelBugs = Readonly<Record<BugSwitch, boolean>>;

const SWITCHES = Object.keys(BUGS) as BugSwitch[];

export const BUG_NAMES: readonly BugName[] = SWITCHES.map((key) => BUGS[key].name);

/** A kernel with the named bugs and no others. */
export function kernelBugs(names: readonly BugName[]): KernelBugs {
  return names.length === 0 ? NO_BUGS : switchesOf(names);
}

function switchesOf(names: readonly BugName[]): KernelBugs {
  const has = (key: BugSwitch): boolean => names.includes(BUGS[key].name);
  return Object.fromEntries(SWITCHES.map((key) => [key, has(key)])) as Record<BugSwitch, boolean>;
}

const NO_BUGS = switchesOf([]);
