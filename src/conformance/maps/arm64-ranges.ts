/** What the pages of one range of an arm64 list have in common: permissions at both levels, memory type, nG, GP. */
import { type Arm64Leaf, contiguousShift, Descriptor } from './arm64-leaves.ts';
import { type Arm64RightsOracle, Right } from './arm64-mmu.ts';
import type { Arm64Region } from './arm64-regions.ts';
import type { RangeRules } from './ranges.ts';

export interface ArmPermissions {
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
}

export interface Arm64Rights {
  /** Combined over the levels and all controls but PSTATE.PAN. */
  readonly el1: ArmPermissions;
  readonly el0: ArmPermissions;
  /** nG in the leaf. */
  readonly notGlobal: boolean;
  /** GP in the leaf: indirect branches into it need a landing pad (FEAT_BTI). */
  readonly guarded: boolean;
  /** AttrIndx, and the byte of MAIR_EL1 that it chooses. */
  readonly attributeIndex: number;
  readonly attribute: number;
  /** An address on the way is too wide for the output size: every access faults. */
  readonly addressSize: boolean;
  /** log2 of the bytes of the granule. */
  readonly granule: number;
}

/** Sizes of leaves by index: levels 3, 2, 1, 0, and then the same in contiguous runs. */
const LEVELS = 4;
const MAIR_BYTES = 8;

/** log2 of the bytes of a leaf of this `sizeIndex`, and of its run; 0 when it is in none. */
export function sizeOfIndex(granule: number, index: number): { readonly leaf: number; readonly run: number } {
  const above = index % LEVELS;
  const leaf = granule + above * (granule - 3);
  return { leaf, run: index < LEVELS ? 0 : leaf + contiguousShift(granule, 3 - above) };
}

const permissions = (rights: number, read: number, write: number, execute: number): ArmPermissions => ({
  read: (rights & read) !== 0,
  write: (rights & write) !== 0,
  execute: (rights & execute) !== 0,
});

/** The rules of one half of the address space. */
export class Arm64RangeRules implements RangeRules<Arm64Leaf, Arm64Rights> {
  readonly sizes = 2 * LEVELS;
  readonly #oracle: Arm64RightsOracle;
  readonly #region: Arm64Region;
  readonly #mair: bigint;
  /** `Right` bits of the leaf whose code was asked last. */
  #rights = 0;

  constructor(oracle: Arm64RightsOracle, region: Arm64Region, mair: bigint) {
    this.#oracle = oracle;
    this.#region = region;
    this.#mair = mair;
  }

  code(leaf: Readonly<Arm64Leaf>): number {
    this.#rights = this.#oracle.rightsOf(leaf);
    const flags = (leaf.entryLo & Descriptor.NG ? 1 : 0) | (leaf.entryHi & Descriptor.GP_HIGH ? 2 : 0);
    return (this.#rights << 5) | (flags << 3) | attributeIndex(leaf);
  }

  rights(leaf: Readonly<Arm64Leaf>): Arm64Rights {
    const rights = this.#rights;
    const index = attributeIndex(leaf);
    return {
      el1: permissions(rights, Right.EL1_READ, Right.EL1_WRITE, Right.EL1_EXECUTE),
      el0: permissions(rights, Right.EL0_READ, Right.EL0_WRITE, Right.EL0_EXECUTE),
      notGlobal: (leaf.entryLo & Descriptor.NG) !== 0,
      guarded: (leaf.entryHi & Descriptor.GP_HIGH) !== 0,
      attributeIndex: index,
      attribute: Number((this.#mair >> BigInt(MAIR_BYTES * index)) & 0xffn),
      addressSize: (rights & Right.ADDRESS_SIZE) !== 0,
      granule: this.#region.granule,
    };
  }

  sizeIndex({ level, contiguous }: Readonly<Arm64Leaf>): number {
    return 3 - level + (contiguous ? LEVELS : 0);
  }

  accessed({ entryLo }: Readonly<Arm64Leaf>): boolean {
    return (entryLo & Descriptor.AF) !== 0;
  }

  /**
   * Hardware tracks dirty state where DBM = 1: AP[2] = 0 is dirty, AP[2] = 1 clean. With permission indirection nDirty
   * says it of whatever may be written.
   */
  dirty({ entryHi, entryLo }: Readonly<Arm64Leaf>): boolean {
    if ((entryLo & Descriptor.READ_ONLY) !== 0) return false;
    if (this.#region.indirect) return (this.#rights & (Right.EL1_WRITE | Right.EL0_WRITE)) !== 0;
    return (entryHi & Descriptor.DBM_HIGH) !== 0;
  }
}

const attributeIndex = ({ entryLo }: Readonly<Arm64Leaf>): number => (entryLo >>> 2) & 7;
