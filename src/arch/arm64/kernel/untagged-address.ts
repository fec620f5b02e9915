/**
 * Addresses without their top byte. The processor ignores the top byte of user addresses (TCR_EL1.TBI0 = 1), so every
 * process may have bits there, and what the kernel makes of an address of another process is the same for all.
 * @see Linux arch/arm64/include/asm/memory.h, `__untagged_addr`; Documentation/arch/arm64/tagged-address-abi.rst
 */

/** `__untagged_addr`: the top byte goes, unless bit 55 says that it is a kernel address, which stays as it is. */
export function untaggedAddress(address: bigint): bigint {
  return address & BigInt.asUintN(64, BigInt.asIntN(56, address));
}

/** The same of the high half, as an int32. */
export function untaggedHigh(hi: number): number {
  return hi & ((hi << 8) >> 8);
}
