/**
 * What a check of break-before-make has to know of an architecture: what a table entry is, which changes of a live entry
 * have to go through an invalid one, and which cached entries an invalidation reached. x86-64 has no such rule; see
 * arch/arm64/break-before-make.ts. Addresses are byte addresses; levels count up to the last one, of pages.
 */
import type { MmContext } from './kernel-arch.ts';

/** An entry that a TLB may hold, and where it stands. */
export interface LiveEntry {
  /** First byte of the virtual addresses that it maps, VA[55] copied upwards. */
  readonly address: bigint;
  readonly level: number;
  readonly value: bigint;
}

/** `cacheable` of a leaf: as it stands a TLB may hold it (arm64: its Access flag is set). */
export type EntryForm =
  | { readonly kind: 'invalid' }
  | { readonly kind: 'table'; readonly table: bigint }
  | { readonly kind: 'leaf'; readonly cacheable: boolean; readonly global: boolean };

export interface LiveTableRules {
  readonly rootLevel: number;
  readonly lastLevel: number;
  /** Bytes of a table below the root, and of the root. */
  readonly tableBytes: number;
  readonly rootBytes: number;
  /** log2 of the bytes that an entry of the level maps. */
  entryShift(level: number): number;
  form(value: bigint, level: number): EntryForm;
  /** Must a leaf that is valid and not `cacheable` be taken as live, as the hardware makes it so without being told? */
  readonly becomesCacheable: boolean;
  /**
   * What about the change needs break-before-make, in the manual's words; empty when nothing does. The two entries map
   * some address both; one of them may be a table.
   * @param sameContents do two ranges of physical memory hold the same bytes?
   */
  forbiddenChanges(
    old: LiveEntry,
    next: LiveEntry,
    sameContents: (first: bigint, second: bigint, bytes: number) => boolean,
  ): readonly string[];
  /** What may happen after such a change, and what happens here. */
  readonly outcome: string;
}

/** A cached entry that an invalidation may reach. */
export interface CachedPlace {
  readonly address: bigint;
  /** log2 of the bytes that it maps. */
  readonly shift: number;
  readonly level: number;
  readonly leaf: boolean;
  readonly global: boolean;
  readonly asid: number;
}

/** One invalidation instruction. */
export interface Invalidation {
  /** As the manual writes it. */
  readonly name: string;
  /** The CPUs that it reaches. */
  readonly targets: readonly number[];
  reaches(place: CachedPlace): boolean;
}

/** The page tables of an architecture's part of the kernel, for the check. */
export interface LiveTables {
  readonly rules: LiveTableRules;
  /** ASID of what TLBs may hold of an address space; null while it never had one, so that there can be nothing. */
  asidOf(context: MmContext): number | null;
  /** From now on the observer hears what the CPUs execute; nobody else does. */
  observe(observer: InvalidationObserver): void;
}

/** Told about invalidations and barriers as CPUs execute them. */
export interface InvalidationObserver {
  issued(cpu: number, invalidation: Invalidation): void;
  /**
   * A barrier. @param publishes the CPU's earlier writes to tables are visible to all walkers now
   * @param completed what is complete by it, each as it was issued
   */
  barrier(cpu: number, publishes: boolean, completed: readonly Invalidation[]): void;
}
