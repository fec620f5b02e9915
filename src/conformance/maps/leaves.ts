/**
 * What the lists of mappings of all architectures have in common: a page that a table maps, a table that the dump does
 * not hold, and who is told of them. Pages and frames number 4 KiB throughout, whatever the granule.
 */

/** One page or block; the visitor's argument is one object used again and again. */
export interface MappedLeaf {
  /** Virtual page number: bits 63:12 of the address, unsigned. */
  readonly page: number;
  /** Frame number of the page's first byte. */
  readonly frame: number;
  /** How many 4 KiB it covers. */
  readonly pages: number;
}

/** A table that an entry names but the memory does not hold: nothing is known of what it maps. */
export interface MissingTable {
  /** First page and number of pages that it would cover. */
  readonly page: number;
  readonly pages: number;
  readonly frame: number;
  /** What names it, in the architecture's words: `the PDE`, `the level 2 descriptor`, `CR3`, `TTBR1_EL1`. */
  readonly namedBy: string;
  /** Level of the entry that names it, as the architecture counts; one above the top level for a register. */
  readonly level: number;
  /** Physical address of that entry; null for a register. */
  readonly entryAddress: bigint | null;
}

export interface TableReader {
  /** 1024 int32, the low half of each entry first; undefined when there is no such memory. */
  table(frame: number): Int32Array | undefined;
}

/** Told of every leaf and every missing table, in ascending order of virtual address. */
export interface LeafVisitor<Leaf extends MappedLeaf = MappedLeaf> {
  leaf(leaf: Readonly<Leaf>): void;
  missing(missing: MissingTable): void;
}
