/**
 * The museum: one row for each exhibit of examples/bugs, with what the explorer must find there. The test of the exhibits
 * and that of docs/museum.md read it.
 */
import type { BugName } from '../../src/kernel/bugs.ts';

export interface Exhibit {
  /** In examples/bugs. */
  readonly file: string;
  /** The switch that its `kernelBugs` has, and nothing else. */
  readonly bug: BugName;
  /** Where it is found. The bugs of one architecture have one. */
  readonly architectures: readonly ('x86_64' | 'arm64')[];
  /**
   * What the default search finds, one of these, whichever it meets first: names of checks, `deadlock`, or `assertion` for a
   * sentence of the exhibit's own.
   */
  readonly finding: readonly string[];
  /** In the text of what is found. */
  readonly text: RegExp;
}

const BOTH = ['x86_64', 'arm64'] as const;
/** There a TLB flush waits for no CPU, so nothing but an RCU grace period or an interrupt keeps a lockless walker apart. */
const ARM64 = ['arm64'] as const;

/** By name of the file. */
export const EXHIBITS: readonly Exhibit[] = [
  {
    file: 'anon-vma-reuse.ts',
    bug: 'anon-vma-reuse',
    architectures: BOTH,
    finding: ['anon-page-reachable'],
    text: /to which the VMA is not chained/,
  },
  {
    file: 'bpf-iterator-mmap-lock.ts',
    bug: 'bpf-iterator-holds-mmap-lock',
    architectures: BOTH,
    finding: ['lock-order', 'deadlock'],
    text: /mmap_lock mm of target/,
  },
  {
    file: 'bpf-iterator-vma-lock.ts',
    bug: 'bpf-iterator-holds-vma-lock',
    architectures: BOTH,
    finding: ['lock-order', 'deadlock'],
    text: /waits for mmap_lock mm of target/,
  },
  {
    file: 'dirty-cow.ts',
    bug: 'dirty-cow',
    architectures: BOTH,
    finding: ['gup-page'],
    text: /for writing: a page of a file, and vma 1 of mm of writer is private/,
  },
  {
    file: 'fork-without-vma-write-lock.ts',
    bug: 'fork-without-vma-write-lock',
    architectures: BOTH,
    finding: ['fork-unlocked-vma'],
    text: /not write-locked/,
  },
  {
    file: 'gup-fast-fork.ts',
    bug: 'gup-fast-fork',
    architectures: BOTH,
    finding: ['gup-page'],
    text: /pinned: anonymous, and not exclusive/,
  },
  {
    file: 'gup-fast-thp-collapse.ts',
    bug: 'gup-fast-thp-collapse',
    architectures: ARM64,
    finding: ['stale-lookup', 'gup-page'],
    text: /not mapped any more when the reference was taken|is replaced with all of/,
  },
  {
    file: 'huge-pmd-unshare-gup-fast.ts',
    bug: 'huge-pmd-unshare-gup-fast',
    architectures: ARM64,
    finding: ['stale-lookup'],
    text: /pinner gets frame .* where it was not mapped any more/,
  },
  {
    file: 'lock-vma-anon-vma-check.ts',
    bug: 'lock-vma-anon-vma-check',
    architectures: BOTH,
    finding: ['vma-without-lock'],
    text: /holds neither mmap_lock nor the lock of the VMA/,
  },
  {
    file: 'mremap-stale-tlb.ts',
    bug: 'mremap-stale-tlb',
    architectures: BOTH,
    finding: ['stale-tlb-entry'],
    text: /still translates page .* when the frame is freed/,
  },
  {
    file: 'nested-tlb-gather.ts',
    bug: 'nested-tlb-gather',
    architectures: BOTH,
    finding: ['stale-tlb-entry'],
    text: /still translates page .* goes back to its program/,
  },
  {
    file: 'new-vma-visible-before-locked.ts',
    bug: 'new-vma-visible-before-locked',
    architectures: BOTH,
    finding: ['vma-tree-change'],
    text: /not write-locked/,
  },
  {
    file: 'pfnmap-stale-tlb.ts',
    bug: 'pfnmap-stale-tlb',
    architectures: BOTH,
    finding: ['stale-tlb-entry'],
    text: /still translates page .* when the frame is freed/,
  },
  {
    file: 'shmem-dirty-cow.ts',
    bug: 'shmem-dirty-cow',
    architectures: BOTH,
    finding: ['gup-page'],
    text: /for writing: a page of a file, and vma 1 of mm of writer is private/,
  },
  {
    file: 'stackrot.ts',
    bug: 'stackrot',
    architectures: BOTH,
    finding: ['vma-tree-change', 'use-after-free'],
    text: /does not hold its mmap_lock for writing|a node of the VMA tree/,
  },
  {
    file: 'vma-refcount-put-mm.ts',
    bug: 'vma-refcount-put-mm',
    architectures: BOTH,
    finding: ['unpinned-mm', 'mm-use-after-free'],
    text: /of mm of short-lived/,
  },
  {
    file: 'vmas-after-split.ts',
    bug: 'vmas-after-split',
    architectures: BOTH,
    finding: ['assertion'],
    text: /believes the page writable/,
  },
  {
    file: 'vmas-after-unlock.ts',
    bug: 'vmas-after-unlock',
    architectures: BOTH,
    finding: ['vma-without-lock'],
    text: /holds neither mmap_lock nor the lock of the VMA/,
  },
  {
    file: 'vmas-dropped-lock.ts',
    bug: 'vmas-dropped-lock',
    architectures: BOTH,
    finding: ['vma-without-lock'],
    text: /holds neither mmap_lock nor the lock of the VMA/,
  },
  {
    file: 'vmsplice-cow-leak.ts',
    bug: 'vmsplice-cow-leak',
    architectures: BOTH,
    finding: ['gup-page'],
    text: /becomes writable while a reference taken by mm of child is held/,
  },
  {
    file: 'wp-page-copy-late-flush.ts',
    bug: 'wp-page-copy-late-flush',
    architectures: BOTH,
    finding: ['stale-tlb-entry', 'break-before-make'],
    text: /takes its place|missing: an invalidation/,
  },
];
