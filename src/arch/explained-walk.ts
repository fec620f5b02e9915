/**
 * One translation explained, as plain data in the same shape for every architecture: the registers that decided, every
 * entry with all its fields, what caches gave and kept, the rules, and the outcome. Each architecture's `explain.ts`
 * makes it from the events of its one walker; `src/report/walk-text.ts` prints it.
 */
import type { DecodedField } from './decode-kind.ts';

/** A register that the translation depends on. */
export interface ExplainedRegister {
  /** As in the manual: `CR3`, `TCR_EL1`. */
  readonly name: string;
  readonly value: bigint;
  /** Flags that are set by name, numbers that are not 0; null where only the whole value says anything. */
  readonly summary: string | null;
}

/** An entry the walk used. */
export interface ExplainedEntry {
  readonly kind: 'entry';
  /** As the architecture counts: x86-64 5 (PML5E) to 1 (PTE), arm64 -1 to 3 (pages). */
  readonly level: number;
  /** `PML4E`, `level 2 descriptor`. */
  readonly name: string;
  /** `memory`, or the cache that gave it. */
  readonly source: string;
  /** Physical address of the entry; null when it came from a cache. */
  readonly address: bigint | null;
  readonly value: bigint;
  /** `PDE (2-MByte page)`, `stage 1 block descriptor, level 2, 16 KiB granule` and so on. */
  readonly form: string;
  /** Flags that are set and numbers that are not 0, on one line. */
  readonly summary: string;
  /** Every field from bit 63 down; empty for a cached entry, of which only address and rights were kept. */
  readonly fields: readonly DecodedField[];
}

/** What else happened, in words. `choice`: what registers and address decided before or between entries. */
export interface ExplainedNote {
  readonly kind: 'choice' | 'update' | 'hit' | 'rewalk' | 'fill' | 'flush';
  /** As of an entry; null where it concerns no level. */
  readonly level: number | null;
  readonly text: string;
}

export type ExplainedStep = ExplainedEntry | ExplainedNote;

export interface ExplainedTranslation {
  readonly kind: 'translation';
  readonly physicalAddress: bigint;
  /** Bytes mapped by the leaf. */
  readonly pageBytes: bigint;
  /** `WB`, `Normal, Inner and Outer Write-Back …`, and how it came about. */
  readonly memoryType: string;
  readonly memoryTypeRule: string;
}

export interface ExplainedFault {
  readonly kind: 'fault';
  /** `#PF`, `Data Abort`. */
  readonly name: string;
  /** One line: `#PF(0x7) P WR US`. */
  readonly headline: string;
  /** What the processor reports of the cause: the error code, ESR_EL1. */
  readonly syndrome: {
    readonly name: string;
    readonly value: bigint;
    /** Names of the bits set, `P WR US`. */
    readonly summary: string;
    /** Empty where the value has no fields. */
    readonly fields: readonly DecodedField[];
  };
  /** The register with the address that faulted (CR2, FAR_EL1); null when the fault leaves it alone. */
  readonly address: { readonly name: string; readonly value: bigint } | null;
}

export interface ExplainedWalk {
  /** As given, before masking. */
  readonly address: bigint;
  /** `Access` bits. */
  readonly access: number;
  readonly accessWords: string;
  /** Each index into a table, root first. */
  readonly indices: readonly { readonly name: string; readonly index: number }[];
  /** Bytes of the smallest page: what is below the last index is the offset in it. */
  readonly granuleBytes: bigint;
  readonly registers: readonly ExplainedRegister[];
  readonly steps: readonly ExplainedStep[];
  /** The rules that decided, in the manual's terms: for a fault every reason that holds. */
  readonly rules: readonly string[];
  readonly outcome: ExplainedTranslation | ExplainedFault;
}
