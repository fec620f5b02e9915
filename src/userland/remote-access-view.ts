/** What remote accesses of a run did, for assertions and reports. */
import type { Kernel } from '../kernel/kernel.ts';
import type { DesignName } from '../kernel/remote/design-names.ts';

/** Counts, since the run began and of all processes. Linux has no such counters. */
export interface RemoteAccessView {
  /** How accesses to another process's memory lock in this run (`design` of the scenario, `--design`). */
  readonly design: DesignName;
  /** The design in a few words. */
  readonly title: string;
  /** What is wrong with it, of a design that is wrong on purpose; else null. */
  readonly wrong: string | null;
  /**
   * Transfers of `access_remote_vm`, strings that BPF reads, chunks of pages that process_vm_readv or process_vm_writev pins,
   * pages that KVM's worker or a device asks for.
   */
  readonly calls: number;
  /** Bytes that transfers, strings, process_vm_readv and process_vm_writev copied; again for what is begun anew. */
  readonly bytes: number;
  /** Look-ups in the tree of VMAs. */
  readonly vmaLookups: number;
  /** Walks of page tables down to one entry. */
  readonly walks: number;
  /** How often a transfer, or what was left of it, was given to mmap_lock: by reason, those that happened. */
  readonly fallbacks: Readonly<Record<string, number>>;
}

export function remoteAccessView({ remoteAccess, remoteCounters }: Kernel): RemoteAccessView {
  const { calls, bytes, vmaLookups, walks } = remoteCounters;
  return {
    design: remoteAccess?.name ?? 'v0',
    title: remoteAccess?.title ?? '',
    wrong: remoteAccess?.wrong ?? null,
    calls,
    bytes,
    vmaLookups,
    walks,
    fallbacks: Object.fromEntries(remoteCounters.fallbackReasons()),
  };
}
