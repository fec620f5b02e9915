/**
 * Shapes of arm64 page tables: granules, address sizes, registers, where descriptors have their addresses. Computed plainly
 * from the Arm ARM with bigint: nothing here is shared with what is tested.
 */
import type { CorePage } from '../core/make-core.ts';

export interface HalfShape {
  /** log2 of the granule. */
  readonly granule: 12 | 14 | 16;
  readonly addressBits: number;
}

export interface Shape {
  readonly name: string;
  readonly lower: HalfShape;
  readonly upper: HalfShape;
  /** TCR_EL1.DS. */
  readonly ds?: boolean;
  /** TCR_EL1.IPS; default 5, 48 bits. 6: 52 bits. */
  readonly ips?: number;
  readonly pie?: boolean;
  readonly ha?: boolean;
  readonly hd?: boolean;
  /** Further bits of TCR_EL1 and SCTLR_EL1. */
  readonly tcr?: bigint;
  readonly sctlr?: bigint;
}

export const TcrBit = {
  A1: 1n << 22n,
  AS: 1n << 36n,
  TBI0: 1n << 37n,
  TBI1: 1n << 38n,
  HA: 1n << 39n,
  HD: 1n << 40n,
  HPD0: 1n << 41n,
  HPD1: 1n << 42n,
  E0PD1: 1n << 56n,
  DS: 1n << 59n,
} as const;
export const SctlrBit = { M: 1n, C: 4n, WXN: 1n << 19n, EPAN: 1n << 57n } as const;

export const IPS_BITS = [32n, 36n, 40n, 42n, 44n, 48n, 52n];

export interface Registers {
  readonly tcr: bigint;
  readonly tcr2: bigint;
  readonly sctlr: bigint;
  readonly ttbr0: bigint;
  readonly ttbr1: bigint;
  readonly pir: bigint;
  readonly pire0: bigint;
}

/** One page or block that the tables were made to map. */
export interface MadeLeaf {
  readonly va: bigint;
  readonly pa: bigint;
  readonly bytes: bigint;
  readonly level: number;
  /** In a contiguous run that is well formed. */
  readonly contiguous: boolean;
}

export interface MadeTables {
  readonly shape: Shape;
  readonly registers: Registers;
  readonly words: ReadonlyMap<bigint, bigint>;
  readonly leaves: readonly MadeLeaf[];
  readonly pages: readonly CorePage[];
}

/** Bits of the addresses at which a table can be. */
export function physicalBits({ ips = 5 }: Shape, wide: boolean): bigint {
  const bits = IPS_BITS[ips] ?? 48n;
  return bits > 48n && !wide ? 48n : bits;
}

export const wideOf = (shape: Shape, { granule }: HalfShape): boolean =>
  granule === 16 ? shape.ips === 6 : shape.ds === true;

/** TCR_EL1 from the shape; TG1 is encoded in another order than TG0. */
export function tcrOf({ lower, upper, ds, ips = 5, ha, hd, tcr = 0n }: Shape): bigint {
  const tg0 = { 12: 0n, 14: 2n, 16: 1n }[lower.granule];
  const tg1 = { 12: 2n, 14: 1n, 16: 3n }[upper.granule];
  return (
    BigInt(64 - lower.addressBits) |
    (BigInt(64 - upper.addressBits) << 16n) |
    (tg0 << 14n) |
    (tg1 << 30n) |
    (BigInt(ips) << 32n) |
    (ha ? TcrBit.HA : 0n) |
    (hd ? TcrBit.HD : 0n) |
    (ds ? TcrBit.DS : 0n) |
    tcr
  );
}

/** A descriptor's address bits. */
export function placed(address: bigint, wide: boolean, granule: number): bigint {
  if (!wide) return address;
  if (granule === 16) return (address & 0xffff_ffff_0000n) | ((address >> 48n) << 12n);
  return (address & ((1n << 50n) - 1n)) | ((address >> 50n) << 8n);
}

/** The address that a descriptor holds. */
export function addressIn(descriptor: bigint, wide: boolean, granule: number): bigint {
  const below = (1n << BigInt(granule)) - 1n;
  if (!wide) return descriptor & 0xffff_ffff_ffffn & ~below;
  if (granule === 16) return (descriptor & 0xffff_ffff_0000n) | (((descriptor >> 12n) & 15n) << 48n);
  return (descriptor & ((1n << 50n) - 1n) & ~below) | (((descriptor >> 8n) & 3n) << 50n);
}

export const startLevelOf = ({ granule, addressBits }: HalfShape): number => {
  let level = 3;
  for (let covered = granule + (granule - 3); covered < addressBits; covered += granule - 3) level--;
  return level;
};
export const shiftOf = (granule: number, level: number): bigint =>
  BigInt(granule + (3 - level) * (granule - 3));

/** May there be blocks? Table "block sizes by granule": 52-bit addresses add one level. */
export function hasBlocks({ granule }: HalfShape, level: number, wide: boolean): boolean {
  const levels = { 12: wide ? [0, 1, 2] : [1, 2], 14: wide ? [1, 2] : [2], 16: wide ? [1, 2] : [2] }[granule];
  return levels.includes(level);
}

/** Entries of a contiguous run. */
export function runEntries(granule: number, level: number): number {
  if (granule === 12) return level >= 1 ? 16 : 0;
  if (granule === 14) return level === 3 ? 128 : level === 2 ? 32 : 0;
  return level >= 2 ? 32 : 0;
}
