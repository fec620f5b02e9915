/**
 * The arm64 page-table format as Linux reads and writes it, for each granule and for addresses of 48 and 52 bits (4 and
 * 16 KiB: FEAT_LPA2, 64 KiB: FEAT_LPA). A leaf is dirty when software noted it (DIRTY), or when it is writable and
 * RDONLY is clear, which hardware does (FEAT_HAFDBS); taking write permission away moves the latter to the former. A
 * PROT_NONE page keeps its frame and attributes; VALID is clear and NG set; so it is with a huge leaf that is being
 * split, which keeps all other bits as well. Contiguous runs are in `contpte.ts`.
 * Left out: guarded control stacks.
 * @see Linux arch/arm64/include/asm/pgtable.h and pgtable-prot.h, as of 6.18
 */
import type { Halves } from '../../../base/u64.ts';
import {
  ENTRY_KEY_MASK,
  ENTRY_KEY_SHIFT,
  ENTRY_MEMORY_TYPE_SHIFT,
  EntryFlag,
  type Level,
  type PagingFormat,
  tableOf,
} from '../../paging-format.ts';
import type { GranuleShift } from '../entries.ts';
import { LINUX_PTE, LINUX_SWAP_PTE, LINUX_TABLE } from './entry-layout.ts';

type PteField = (typeof LINUX_PTE.names)[number];
const low = (name: PteField): number => LINUX_PTE.half(name).lo;
const high = (name: PteField): number => LINUX_PTE.half(name).hi;
const VALID = low('VALID');
const TYPE = low('TYPE');
const TABLE_BITS = VALID | TYPE;
const USER = low('USER');
const RDONLY = low('RDONLY');
const SHARED = low('SH');
const AF = low('AF');
const NG = low('NG');
const ATTRINDX = low('ATTRINDX');
const ATTRINDX_SHIFT = LINUX_PTE.field('ATTRINDX').low;
const GP = high('GP');
const WRITE = high('WRITE');
const CONT = high('CONT');
const PXN = high('PXN');
const UXN = high('UXN');
const DIRTY = high('DIRTY');
const SPECIAL = high('SPECIAL');
const UFFD_WP = high('UFFD_WP');
const PO_IDX = high('PO_IDX');
const PO_IDX_SHIFT = LINUX_PTE.field('PO_IDX').low - 32;
/** Keys are protection overlay indexes: three bits. */
const KEY_MASK = PO_IDX >>> PO_IDX_SHIFT;
const MEMORY_TYPE_MASK = (ATTRINDX >>> ATTRINDX_SHIFT) << ENTRY_MEMORY_TYPE_SHIFT;

const TABLE_LOW = LINUX_TABLE.half('VALID', 'TYPE', 'AF').lo;
const TABLE_HIGH = LINUX_TABLE.half('PXN').hi;

const SWP_EXCLUSIVE = LINUX_SWAP_PTE.half('SWP_EXCLUSIVE').lo;
const SWP_UFFD_WP = LINUX_SWAP_PTE.half('SWP_UFFD_WP').lo;
const SWAP_TYPE = LINUX_SWAP_PTE.half('TYPE').lo;
const SWAP_TYPE_SHIFT = LINUX_SWAP_PTE.field('TYPE').low;
const SWAP_OFFSET_SHIFT = LINUX_SWAP_PTE.field('OFFSET').low;
const SWAP_OFFSET_LOW_SPAN = 2 ** (32 - SWAP_OFFSET_SHIFT);
const SWAP_OFFSET_HIGH = LINUX_SWAP_PTE.half('OFFSET').hi;

/** Bits that only software looks at: no TLB holds them. */
const SOFTWARE_HIGH = LINUX_PTE.half('DIRTY', 'SPECIAL', 'FREE_57', 'UFFD_WP', 'FREE_59', 'FREE_63').hi;

/** Bits of the high half that stand for one flag each. */
const HIGH_BIT_OF_FLAG: readonly (readonly [flag: number, bit: number])[] = [
  [EntryFlag.Special, SPECIAL],
  [EntryFlag.UffdWp, UFFD_WP],
  [EntryFlag.Cont, CONT],
  [EntryFlag.Guarded, GP],
];
/** Bits of the high half that are set when the flag is not. */
const HIGH_BIT_AGAINST_FLAG: readonly (readonly [flag: number, bit: number])[] = [
  [EntryFlag.Exec, UXN],
  [EntryFlag.PrivilegedExec, PXN],
];

const LOW_BITS = 0xfff;
/** What bits 11:0 of a leaf say by themselves. With 52-bit addresses bits 9:8 belong to those, and say nothing here. */
const FLAGS_OF_LOW_BITS = tableOf(LOW_BITS + 1, (bits) => {
  let flags: number = EntryFlag.Present;
  if ((bits & USER) !== 0) flags |= EntryFlag.User | EntryFlag.Read;
  if ((bits & AF) !== 0) flags |= EntryFlag.Young;
  if ((bits & (VALID | NG)) === VALID) flags |= EntryFlag.Global;
  return flags | (((bits & ATTRINDX) >>> ATTRINDX_SHIFT) << ENTRY_MEMORY_TYPE_SHIFT);
});

/** Bits 58:50: the attributes in the high half, but for the key. */
const HIGH_SHIFT = LINUX_PTE.field('GP').low - 32;
const HIGH_BITS = 0x1ff;
const FLAGS_OF_HIGH_BITS = tableOf(HIGH_BITS + 1, (bits) => {
  const hi = bits << HIGH_SHIFT;
  let flags = 0;
  if ((hi & WRITE) !== 0) flags |= EntryFlag.Write;
  if ((hi & DIRTY) !== 0) flags |= EntryFlag.Dirty;
  for (const [flag, bit] of HIGH_BIT_OF_FLAG) if ((hi & bit) !== 0) flags |= flag;
  for (const [flag, bit] of HIGH_BIT_AGAINST_FLAG) if ((hi & bit) === 0) flags |= flag;
  return flags;
});

export interface Arm64PagingFormatOptions {
  /** log2 of the bytes of a page: 12, 14 or 16. */
  readonly granule: GranuleShift;
  /** Bits of virtual and of physical addresses. */
  readonly addressSize: 48 | 52;
}

/** Names from the last level up; how many there are follows from granule and address size. */
const LEVEL_NAMES = ['pte', 'pmd', 'pud', 'p4d', 'pgd'] as const;

/**
 * Linux's levels: as many as the address needs. The root is called pgd whatever is folded into it.
 * @see arch/arm64/include/asm/pgtable-hwdef.h, ARM64_HW_PGTABLE_LEVELS
 */
function levelsOf(granule: GranuleShift, addressSize: number): readonly Level[] {
  const indexBits = granule - 3;
  const count = Math.ceil((addressSize - granule) / indexBits);
  return Array.from({ length: count }, (_, index) => {
    const up = count - 1 - index;
    const shift = granule + up * indexBits;
    return {
      name: index === 0 ? 'pgd' : (LEVEL_NAMES[up] as Level['name']),
      shift,
      indexBits: Math.min(indexBits, addressSize - shift),
      // pud_sect: with 4 KiB pages only; larger ones have blocks at the pmd alone.
      leafAllowed: up === 0 || up === 1 || (up === 2 && granule === 12 && index > 0),
    };
  });
}

/** @see the file comment */
export class Arm64PagingFormat implements PagingFormat {
  readonly name: string;
  readonly pageShift: GranuleShift;
  readonly addressSize: 48 | 52;
  readonly levels: readonly Level[];
  readonly frameLimit: number;
  readonly swapTypeLimit = 32;
  readonly swapOffsetLimit = 2 ** 50;
  readonly #last: number;
  /** Frames in 4 GiB of addresses. */
  readonly #framesPerHigh: number;
  readonly #pageBytes: number;
  /** Address bits in place, by half. */
  readonly #addressHigh: number;
  readonly #addressLow: number;
  /** Where bits 51:50 (LPA2) or 51:48 (LPA) stand in the low half, and how far they are shifted; 0 without. */
  readonly #wideMask: number;
  readonly #wideShift: number;
  /** Inner shareable, where the entry says so. */
  readonly #shared: number;

  constructor({ granule, addressSize }: Arm64PagingFormatOptions) {
    this.name = `arm64 ${2 ** (granule - 10)} KiB, ${addressSize}-bit`;
    this.pageShift = granule;
    this.addressSize = addressSize;
    this.levels = levelsOf(granule, addressSize);
    this.frameLimit = 2 ** (addressSize - granule);
    this.#last = this.levels.length - 1;
    this.#pageBytes = 2 ** granule;
    this.#framesPerHigh = 2 ** (32 - granule);
    const lpa2 = addressSize === 52 && granule !== 16;
    const lpa = addressSize === 52 && granule === 16;
    this.#addressHigh = lpa2 ? 0x3_ffff : 0xffff;
    this.#addressLow = -this.#pageBytes | 0;
    this.#wideMask = lpa2 ? 0x300 : lpa ? 0xf000 : 0;
    // From bit 18 (50 − 32) to 8, or from 16 (48 − 32) to 12.
    this.#wideShift = lpa2 ? 10 : 4;
    this.#shared = lpa2 ? 0 : SHARED;
  }

  isNone(hi: number, lo: number): boolean {
    return hi === 0 && lo === 0;
  }

  isTable(_hi: number, lo: number, level: number): boolean {
    return level < this.#last && (lo & TABLE_BITS) === TABLE_BITS;
  }

  flagsOf(hi: number, lo: number, level: number): number {
    if (this.isTable(hi, lo, level)) return EntryFlag.Present;
    if ((lo & VALID) !== 0 || (lo & NG) !== 0) return this.#leafFlags(hi, lo, level);
    if (hi === 0 && lo === 0) return 0;
    let flags: number = EntryFlag.Swap;
    if ((lo & SWP_UFFD_WP) !== 0) flags |= EntryFlag.UffdWp;
    if ((lo & SWP_EXCLUSIVE) !== 0) flags |= EntryFlag.SwapExclusive;
    return flags;
  }

  #leafFlags(hi: number, lo: number, level: number): number {
    const flags = accessFlags(hi, lo) | (((hi & PO_IDX) >>> PO_IDX_SHIFT) << ENTRY_KEY_SHIFT);
    if (level === this.#last) return flags;
    const hidden = (lo & VALID) === 0 && (flags & EntryFlag.Protnone) === 0;
    return flags | (hidden ? EntryFlag.Huge | EntryFlag.Invalid : EntryFlag.Huge);
  }

  frameOf(hi: number, lo: number, _level: number): number {
    const frameHigh = (hi & this.#addressHigh) | ((lo & this.#wideMask) << this.#wideShift);
    const frameLow = lo & this.#addressLow & ~(this.#wideMask & 0xf000);
    return frameHigh * this.#framesPerHigh + (frameLow >>> this.pageShift);
  }

  /** The address bits of a frame, in place. */
  #packAddress(frame: number, out: Halves): void {
    const addressHigh = Math.floor(frame / this.#framesPerHigh);
    out.hi = addressHigh & this.#addressHigh;
    out.lo =
      ((frame % this.#framesPerHigh) * this.#pageBytes) |
      ((addressHigh >>> this.#wideShift) & this.#wideMask);
  }

  pack(frame: number, flags: number, level: number, out: Halves): void {
    this.#packAddress(frame, out);
    const dirty = (flags & EntryFlag.Dirty) !== 0;
    const write = (flags & EntryFlag.Write) !== 0;
    out.lo |= VALID | this.#shared;
    if (level === this.#last) out.lo |= TYPE;
    if ((flags & EntryFlag.User) !== 0) out.lo |= USER;
    if (!(write && dirty)) out.lo |= RDONLY;
    if ((flags & EntryFlag.Young) !== 0) out.lo |= AF;
    if ((flags & EntryFlag.Global) === 0) out.lo |= NG;
    out.lo |= ((flags & MEMORY_TYPE_MASK) >>> ENTRY_MEMORY_TYPE_SHIFT) << ATTRINDX_SHIFT;
    if (write) out.hi |= WRITE;
    if (dirty) out.hi |= DIRTY;
    for (const [flag, bit] of HIGH_BIT_OF_FLAG) if ((flags & flag) !== 0) out.hi |= bit;
    for (const [flag, bit] of HIGH_BIT_AGAINST_FLAG) if ((flags & flag) === 0) out.hi |= bit;
    out.hi |= (((flags & ENTRY_KEY_MASK) >>> ENTRY_KEY_SHIFT) & KEY_MASK) << PO_IDX_SHIFT;
    if ((flags & EntryFlag.Protnone) !== 0) hideFromHardware(out);
  }

  packTable(frame: number, _level: number, out: Halves): void {
    this.#packAddress(frame, out);
    out.lo |= TABLE_LOW;
    out.hi |= TABLE_HIGH;
  }

  packSwap(type: number, offset: number, flags: number, out: Halves): void {
    let lo = ((offset % SWAP_OFFSET_LOW_SPAN) << SWAP_OFFSET_SHIFT) | (type << SWAP_TYPE_SHIFT);
    if ((flags & EntryFlag.UffdWp) !== 0) lo |= SWP_UFFD_WP;
    if ((flags & EntryFlag.SwapExclusive) !== 0) lo |= SWP_EXCLUSIVE;
    out.lo = lo;
    out.hi = Math.floor(offset / SWAP_OFFSET_LOW_SPAN) & SWAP_OFFSET_HIGH;
  }

  swapTypeOf(_hi: number, lo: number): number {
    return (lo & SWAP_TYPE) >>> SWAP_TYPE_SHIFT;
  }

  swapOffsetOf(hi: number, lo: number): number {
    return (hi & SWAP_OFFSET_HIGH) * SWAP_OFFSET_LOW_SPAN + (lo >>> SWAP_OFFSET_SHIFT);
  }

  change(hi: number, lo: number, _level: number, set: number, clear: number, out: Halves): void {
    out.hi = hi;
    out.lo = lo;
    if ((lo & (VALID | NG)) === 0) {
      changeSwap(set, clear, out);
      return;
    }
    const hidden = (accessFlags(hi, lo) & ~clear & EntryFlag.Protnone) !== 0;
    if ((clear & EntryFlag.Dirty) !== 0) makeClean(out);
    if ((clear & EntryFlag.Write) !== 0) writeProtect(out);
    clearFlags(clear, out);
    setFlags(set, out);
    // Write before Dirty: what becomes both needs RDONLY clear.
    if ((set & EntryFlag.Write) !== 0) makeWritable(out);
    if ((set & EntryFlag.Dirty) !== 0) makeDirty(out);
    if (hidden || (set & EntryFlag.Protnone) !== 0) hideFromHardware(out);
    if ((set & EntryFlag.Invalid) !== 0) out.lo = (out.lo & ~VALID) | NG;
  }

  /**
   * A TLB may hold any valid entry whose Access flag is set, with all its attributes. RDONLY of a writable entry is the
   * hardware's to clear.
   * @see Linux arch/arm64/include/asm/tlbflush.h, `pte_needs_flush` of later kernels; 6.18 flushes whatever mprotect
   *   looked at
   */
  needsFlush(oldHi: number, oldLo: number, newHi: number, newLo: number, _level: number): boolean {
    if ((oldLo & VALID) === 0) return false;
    let diffLow = oldLo ^ newLo;
    if ((oldLo & AF) === 0) diffLow &= ~AF;
    if ((oldHi & newHi & WRITE) !== 0 && (newLo & RDONLY) === 0) diffLow &= ~RDONLY;
    return diffLow !== 0 || ((oldHi ^ newHi) & ~SOFTWARE_HIGH) !== 0;
  }
}

/** Every flag but the key and Huge: by two look-ups, and what only both halves together say. */
function accessFlags(hi: number, lo: number): number {
  let flags =
    (FLAGS_OF_LOW_BITS[lo & LOW_BITS] as number) |
    (FLAGS_OF_HIGH_BITS[(hi >>> HIGH_SHIFT) & HIGH_BITS] as number);
  if ((lo & RDONLY) === 0 && (hi & WRITE) !== 0) flags |= EntryFlag.Dirty;
  // No data access at EL0 but execution: execute-only. Everything else can be read by somebody.
  if ((lo & USER) === 0 && (hi & UXN) !== 0) {
    flags |= (lo & VALID) !== 0 ? EntryFlag.Read : EntryFlag.Read | EntryFlag.Protnone;
  }
  return flags;
}

/** `PAGE_NONE`: no VALID, and no access by the other bits either, which tells it from other invalid entries. */
function hideFromHardware(out: Halves): void {
  out.lo = (out.lo & ~(VALID | USER)) | NG;
  out.hi |= UXN;
}

/** @see `pte_mkclean` */
function makeClean(out: Halves): void {
  out.hi &= ~DIRTY;
  out.lo |= RDONLY;
}

/** What the hardware noted moves to where it stays. @see `pte_wrprotect` */
function writeProtect(out: Halves): void {
  if ((out.hi & WRITE) !== 0 && (out.lo & RDONLY) === 0) out.hi |= DIRTY;
  out.hi &= ~WRITE;
  out.lo |= RDONLY;
}

/** @see `pte_mkwrite_novma`, since 6.18: a clean page stays clean */
function makeWritable(out: Halves): void {
  out.hi |= WRITE;
  if ((out.hi & DIRTY) !== 0) out.lo &= ~RDONLY;
}

/** @see `pte_mkdirty` */
function makeDirty(out: Halves): void {
  out.hi |= DIRTY;
  if ((out.hi & WRITE) !== 0) out.lo &= ~RDONLY;
}

function clearFlags(clear: number, out: Halves): void {
  if ((clear & EntryFlag.Protnone) !== 0) out.lo |= VALID;
  if ((clear & EntryFlag.User) !== 0) out.lo &= ~USER;
  if ((clear & EntryFlag.Young) !== 0) out.lo &= ~AF;
  if ((clear & EntryFlag.Global) !== 0) out.lo |= NG;
  for (const [flag, bit] of HIGH_BIT_OF_FLAG) if ((clear & flag) !== 0) out.hi &= ~bit;
  for (const [flag, bit] of HIGH_BIT_AGAINST_FLAG) if ((clear & flag) !== 0) out.hi |= bit;
  out.hi &= ~((((clear & ENTRY_KEY_MASK) >>> ENTRY_KEY_SHIFT) & KEY_MASK) << PO_IDX_SHIFT);
  out.lo &= ~(((clear & MEMORY_TYPE_MASK) >>> ENTRY_MEMORY_TYPE_SHIFT) << ATTRINDX_SHIFT);
}

function setFlags(set: number, out: Halves): void {
  if ((set & EntryFlag.User) !== 0) out.lo |= USER;
  if ((set & EntryFlag.Young) !== 0) out.lo |= AF;
  if ((set & EntryFlag.Global) !== 0 && (out.lo & VALID) !== 0) out.lo &= ~NG;
  for (const [flag, bit] of HIGH_BIT_OF_FLAG) if ((set & flag) !== 0) out.hi |= bit;
  for (const [flag, bit] of HIGH_BIT_AGAINST_FLAG) if ((set & flag) !== 0) out.hi &= ~bit;
  out.hi |= (((set & ENTRY_KEY_MASK) >>> ENTRY_KEY_SHIFT) & KEY_MASK) << PO_IDX_SHIFT;
  out.lo |= ((set & MEMORY_TYPE_MASK) >>> ENTRY_MEMORY_TYPE_SHIFT) << ATTRINDX_SHIFT;
}

function changeSwap(set: number, clear: number, out: Halves): void {
  if ((clear & EntryFlag.UffdWp) !== 0) out.lo &= ~SWP_UFFD_WP;
  if ((clear & EntryFlag.SwapExclusive) !== 0) out.lo &= ~SWP_EXCLUSIVE;
  if ((set & EntryFlag.UffdWp) !== 0) out.lo |= SWP_UFFD_WP;
  if ((set & EntryFlag.SwapExclusive) !== 0) out.lo |= SWP_EXCLUSIVE;
}
