/** What the pages of one range of an x86-64 list have in common: combined rights, key, memory type, G. */
import { Entry } from '../../arch/x86_64/entries.ts';
import type { RangeRules } from './ranges.ts';
import { Combined, leafKey, leafPatIndex, type X86Leaf } from './x86_64-leaves.ts';

export interface X86Rights {
  readonly user: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  /** G in the leaf. */
  readonly global: boolean;
  readonly protectionKey: number;
  /** PAT, PCD and PWT of the leaf as an index into IA32_PAT. */
  readonly patIndex: number;
  /** An entry on the way has a reserved bit set: every access faults. */
  readonly reserved: boolean;
}

/** Sizes by index: 4 KiB, 2 MiB, 1 GiB. */
export const X86_RANGE_RULES: RangeRules<X86Leaf, X86Rights> = {
  code: (leaf) =>
    (((leaf.entryLo & Entry.G) | leaf.combined) << 8) | (leafKey(leaf) << 4) | leafPatIndex(leaf),
  rights: (leaf) => ({
    user: (leaf.combined & Combined.User) !== 0,
    writable: (leaf.combined & Combined.Writable) !== 0,
    executable: (leaf.combined & Combined.NoExecute) === 0,
    global: (leaf.entryLo & Entry.G) !== 0,
    protectionKey: leafKey(leaf),
    patIndex: leafPatIndex(leaf),
    reserved: (leaf.combined & Combined.Reserved) !== 0,
  }),
  sizes: 3,
  sizeIndex: (leaf) => leaf.level - 1,
  accessed: (leaf) => (leaf.entryLo & Entry.A) !== 0,
  dirty: (leaf) => (leaf.entryLo & Entry.D) !== 0,
};
