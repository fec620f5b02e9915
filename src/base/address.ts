/**
 * Addresses and page numbers as distinct types, so that one cannot be given where another is meant.
 * A byte address does not fit a double (57 bits and more), so it is a bigint at the edges and two halves inside;
 * a page number (52 bits) and a frame number (40 bits) do fit and are plain numbers.
 */

declare const brand: unique symbol;
type Branded<Base, Name> = Base & { readonly [brand]: Name };

/** A virtual byte address, unsigned 64 bits. */
export type VirtualAddress = Branded<bigint, 'VirtualAddress'>;
/** A physical byte address, at most 52 bits. */
export type PhysicalAddress = Branded<bigint, 'PhysicalAddress'>;
/** A virtual page number: bits 63:12 of a virtual address, unsigned. Pages are 4 KiB unless a format says otherwise. */
export type PageNumber = Branded<number, 'PageNumber'>;
/** A physical frame number: bits 51:12 of a physical address. */
export type FrameNumber = Branded<number, 'FrameNumber'>;

const PAGE_SHIFT = 12;
/** Bytes. */
export const PAGE_SIZE = 1 << PAGE_SHIFT;

/** @throws RangeError when `value` is not an unsigned 64-bit number */
export function virtualAddress(value: bigint): VirtualAddress {
  if (BigInt.asUintN(64, value) !== value) throw new RangeError(`not a 64-bit virtual address: ${value}`);
  return value as VirtualAddress;
}

/** @throws RangeError when `value` is not an unsigned 52-bit number */
export function physicalAddress(value: bigint): PhysicalAddress {
  if (BigInt.asUintN(52, value) !== value) throw new RangeError(`not a 52-bit physical address: ${value}`);
  return value as PhysicalAddress;
}

export const pageOf = (address: VirtualAddress): PageNumber => Number(address >> 12n) as PageNumber;
export const frameOf = (address: PhysicalAddress): FrameNumber => Number(address >> 12n) as FrameNumber;
export const addressOfPage = (page: PageNumber): VirtualAddress => (BigInt(page) << 12n) as VirtualAddress;
export const addressOfFrame = (frame: FrameNumber): PhysicalAddress =>
  (BigInt(frame) << 12n) as PhysicalAddress;
