/** Ranges of an address space, as calls with several of them take them. */
import type { Word } from './units.ts';

/** A range of an address space. */
export interface MemoryRange {
  readonly address: bigint;
  readonly bytes: Word;
}
