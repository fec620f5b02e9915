/**
 * What a program or the kernel may ask of one CPU's memory tagging (arm64 MTE): the tag instructions on values, through
 * the MMU, with faults as values. Nothing is allocated per call; results are in the fields. A pointer is int32 halves
 * with its logical tag in bits 59:56; `access` says who asks: `Access.User` at EL0,
 * 0 at EL1; what else the access is, the instruction says itself.
 * None of these accesses is itself tag checked, except `zeroBlock` (DC ZVA).
 * A frame's tags as a whole (what Linux copies at copy-on-write, clears at first use and keeps in swap) need no MMU:
 * `PhysicalMemory.tags`, see hardware/tag-memory.ts: `copyFrame`, `clearFrame`, `fillFrame`, `readFrame`, `writeFrame`.
 * @see Arm ARM (DDI 0487), "A64 Base Instructions", the instructions by name
 */
import type { FaultKind, FaultSlot } from './fault.ts';

export interface TagInstructions {
  /** The pointer or word that `irg`, `addg`, `subg`, `gmi`, `subp` and `ldgm` made. */
  readonly resultHi: number;
  readonly resultLo: number;
  /** The tag that `ldg` read, 0 to 15. */
  readonly tag: number;
  /** The flags that SUBPS and CMPP set, after `subp`: N<<3 | Z<<2 | C<<1 | V. */
  readonly flags: number;
  /** The cause, after a call that did not return `FaultKind.None`. */
  readonly fault: FaultSlot;

  /** IRG: the pointer with a random tag. @param exclude bit n: not tag n; GCR_EL1.Exclude adds to it */
  irg(hi: number, lo: number, access: number, exclude: number): void;
  /** ADDG: the pointer plus `bytes` (0 to 1008), its tag moved on by `tagOffset` (0 to 15) tags that are not excluded. */
  addg(hi: number, lo: number, access: number, bytes: number, tagOffset: number): void;
  /** SUBG: as `addg`, with `bytes` taken away; the tag moves up all the same. */
  subg(hi: number, lo: number, access: number, bytes: number, tagOffset: number): void;
  /** GMI: the mask with the bit of the pointer's tag set. */
  gmi(hi: number, lo: number, maskHi: number, maskLo: number): void;
  /** SUBP, SUBPS: the difference of two pointers, each sign-extended from bit 55; `flags` as SUBPS sets them. */
  subp(hi: number, lo: number, otherHi: number, otherLo: number): void;

  /** LDG: reads the Allocation Tag of the granule around the address into `tag`. */
  ldg(hi: number, lo: number, access: number): FaultKind;
  /** STG: gives the granule at the address, which is a multiple of 16, a tag. */
  stg(hi: number, lo: number, access: number, tag: number): FaultKind;
  /** ST2G: as `stg`, two granules. */
  st2g(hi: number, lo: number, access: number, tag: number): FaultKind;
  /** STZG: as `stg`, and zeroes the granule. */
  stzg(hi: number, lo: number, access: number, tag: number): FaultKind;
  /** STZ2G: as `st2g`, and zeroes both granules. */
  stz2g(hi: number, lo: number, access: number, tag: number): FaultKind;
  /** STGP: stores two words of 8 bytes and gives the granule the tag of the pointer. */
  stgp(
    hi: number,
    lo: number,
    access: number,
    firstHi: number,
    firstLo: number,
    secondHi: number,
    secondLo: number,
  ): FaultKind;
  /** LDGM: reads the tags of the block of GMID_EL1.BS around the address. UNDEFINED at EL0. */
  ldgm(hi: number, lo: number, access: number): FaultKind;
  /** STGM: writes the tags of that block, in the form of `ldgm`. UNDEFINED at EL0. */
  stgm(hi: number, lo: number, access: number, tagsHi: number, tagsLo: number): FaultKind;
  /** STZGM: gives the block of DCZID_EL0.BS around the address one tag and zeroes it. UNDEFINED at EL0. */
  stzgm(hi: number, lo: number, access: number, tag: number): FaultKind;

  /** DC ZVA: zeroes the block of DCZID_EL0.BS around the address; tag checked as a store of the whole block. */
  zeroBlock(hi: number, lo: number, access: number): FaultKind;
  /** DC GVA: gives every granule of that block the tag of the pointer. */
  tagBlock(hi: number, lo: number, access: number): FaultKind;
  /** DC GZVA: as `tagBlock`, and zeroes the block. */
  tagAndZeroBlock(hi: number, lo: number, access: number): FaultKind;
}
