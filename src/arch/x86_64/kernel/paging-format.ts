/**
 * The x86-64 page-table format as Linux reads and writes it, with 4 or 5 levels. Leaves without P that still hold a page
 * (PROT_NONE) carry their frame inverted, against speculation through not-present entries (L1TF). A dirty leaf
 * without RW keeps its dirt in a software bit, as the pair RW = 0, D = 1 is a shadow-stack page.
 * A huge leaf that is being split has neither P nor PROT_NONE; PSE tells it from other entries, none of which has it.
 * Left out: memory encryption bits.
 * @see Linux arch/x86/include/asm/pgtable.h, pgtable_64.h, pgtable-invert.h
 */
import type { Halves } from '../../../base/u64.ts';
import {
  ENTRY_KEY_MASK,
  ENTRY_KEY_SHIFT,
  ENTRY_MEMORY_TYPE_SHIFT,
  EntryFlag,
  type Level,
  type PagingFormat,
} from '../../paging-format.ts';
import { LINUX_PTE, LINUX_SWAP_PTE } from './entry-layout.ts';

type PteField = (typeof LINUX_PTE.names)[number];
const low = (name: PteField): number => LINUX_PTE.half(name).lo;
const high = (name: PteField): number => LINUX_PTE.half(name).hi;
const PRESENT = low('PRESENT');
const RW = low('RW');
const USER = low('USER');
const PWT = low('PWT');
const PCD = low('PCD');
const ACCESSED = low('ACCESSED');
const DIRTY = low('DIRTY');
const PSE = low('PSE_PAT');
const PROTNONE = low('GLOBAL_PROTNONE');
const SPECIAL = low('SPECIAL');
const UFFD_WP = low('UFFD_WP');
const SOFT_DIRTY = low('SOFT_DIRTY');
const SAVED_DIRTY = high('SAVED_DIRTY');
const PKEY = high('PKEY');
const PKEY_SHIFT = LINUX_PTE.field('PKEY').low - 32;
const NX = high('NX');
const FREE = high('FREE');
const PFN_LOW = low('PFN');
const PFN_HIGH = high('PFN');
/** PAT index bit 2 of a huge leaf: the lowest bit of the field that holds the frame. */
const PAT_LARGE = 1 << LINUX_PTE.field('PFN').low;
/** What the hardware may set in an entry that is none (Knights Landing erratum); Linux looks past it. */
const ERRATUM = ACCESSED | DIRTY;
const TABLE = PRESENT | RW | USER | ACCESSED | DIRTY;

/** Bits 11:0 of a leaf and the flag each stands for by itself. DIRTY is not one when packing: see the file comment. */
const FLAG_OF_BIT: readonly (readonly [bit: number, flag: number])[] = [
  [RW, EntryFlag.Write],
  [USER, EntryFlag.User],
  [PWT, 1 << ENTRY_MEMORY_TYPE_SHIFT],
  [PCD, 2 << ENTRY_MEMORY_TYPE_SHIFT],
  [ACCESSED, EntryFlag.Young],
  [SPECIAL, EntryFlag.Special],
  [UFFD_WP, EntryFlag.UffdWp],
  [SOFT_DIRTY, EntryFlag.SoftDirty],
];
const PAT_FLAG = 4 << ENTRY_MEMORY_TYPE_SHIFT;
const LOW_BITS = 0xfff;

/** What bits 11:0 of a leaf say by themselves: an entry is unpacked with one look-up instead of a dozen branches. */
const FLAGS_OF_LOW_BITS = flagsOfLowBits();

/** Plain loops, as this runs whenever the package is imported. */
function flagsOfLowBits(): Int32Array {
  const table = new Int32Array(LOW_BITS + 1).fill(EntryFlag.Present | EntryFlag.Read);
  for (const [bit, flag] of FLAG_OF_BIT) addFlag(table, bit, bit, flag);
  addFlag(table, DIRTY, DIRTY, EntryFlag.Dirty);
  addFlag(table, PROTNONE | PRESENT, PROTNONE, EntryFlag.Protnone);
  addFlag(table, PROTNONE | PRESENT, PROTNONE | PRESENT, EntryFlag.Global);
  return table;
}

function addFlag(table: Int32Array, mask: number, value: number, flag: number): void {
  for (let bits = 0; bits < table.length; bits++) {
    if ((bits & mask) === value) table[bits] = (table[bits] as number) | flag;
  }
}

/** Bits 11:0 for the flags, without DIRTY, PSE and PAT. */
function lowBitsOf(flags: number): number {
  let bits = (flags & EntryFlag.Protnone) !== 0 ? PROTNONE : PRESENT;
  if ((flags & EntryFlag.Global) !== 0) bits |= PROTNONE;
  if ((flags & EntryFlag.Invalid) !== 0) bits = 0;
  for (const [bit, flag] of FLAG_OF_BIT) if ((flags & flag) !== 0) bits |= bit;
  if ((flags & EntryFlag.ShadowStack) !== 0) bits &= ~RW;
  return bits;
}

const SWP_SOFT_DIRTY = LINUX_SWAP_PTE.half('SWP_SOFT_DIRTY').lo;
const SWP_UFFD_WP = LINUX_SWAP_PTE.half('SWP_UFFD_WP').lo;
const SWP_EXCLUSIVE = LINUX_SWAP_PTE.half('SWP_EXCLUSIVE').lo;
const SWAP_OFFSET_SHIFT = LINUX_SWAP_PTE.field('OFFSET').low;
const SWAP_TYPE_SHIFT = LINUX_SWAP_PTE.field('TYPE').low - 32;
const SWAP_OFFSET_LOW_BITS = 32 - SWAP_OFFSET_SHIFT;
const SWAP_OFFSET_HIGH_MASK = LINUX_SWAP_PTE.half('OFFSET').hi;

/** Changes of these need a flush when the bit was set and is cleared. */
const FLUSH_ON_CLEAR = PRESENT | DIRTY;
/** Changes of these need one either way. */
const FLUSH_ON_CHANGE_LOW = RW | USER | PWT | PCD | PSE | PROTNONE;
const FLUSH_ON_CHANGE_HIGH = PKEY | NX;

const LEVELS: readonly Level[] = [
  { name: 'pgd', shift: 48, indexBits: 9, leafAllowed: false },
  { name: 'p4d', shift: 39, indexBits: 9, leafAllowed: false },
  { name: 'pud', shift: 30, indexBits: 9, leafAllowed: true },
  { name: 'pmd', shift: 21, indexBits: 9, leafAllowed: true },
  { name: 'pte', shift: 12, indexBits: 9, leafAllowed: true },
];
/** With 4 levels the p4d is folded into the pgd. */
const LEVELS_4: readonly Level[] = [{ ...(LEVELS[1] as Level), name: 'pgd' }, ...LEVELS.slice(2)];

export interface X86PagingFormatOptions {
  readonly levels: 4 | 5;
  /** CPU with user shadow stacks: RW = 0, D = 1 is one. Without, it is a read-only dirty page. */
  readonly shadowStacks: boolean;
}

/** @see the file comment */
export class X86PagingFormat implements PagingFormat {
  readonly name: string;
  readonly pageShift = 12;
  readonly levels: readonly Level[];
  readonly frameLimit = 2 ** 40;
  readonly swapTypeLimit = 32;
  /** Offsets are held inverted: the highest that fits would, with type 0, be no entry at all. */
  readonly swapOffsetLimit = 2 ** 50 - 1;
  readonly #last: number;
  readonly #shadowStacks: boolean;

  constructor(options: X86PagingFormatOptions) {
    this.name = `x86-64 ${options.levels}-level`;
    this.levels = options.levels === 5 ? LEVELS : LEVELS_4;
    this.#last = this.levels.length - 1;
    this.#shadowStacks = options.shadowStacks;
  }

  isNone(hi: number, lo: number): boolean {
    return hi === 0 && (lo & ~ERRATUM) === 0;
  }

  isTable(_hi: number, lo: number, level: number): boolean {
    return level < this.#last && (lo & (PRESENT | PSE)) === PRESENT;
  }

  /** A leaf: `pte_present`, or `pmd_present` that is not a table. */
  #isLeaf(lo: number, level: number): boolean {
    if (level === this.#last) return (lo & (PRESENT | PROTNONE)) !== 0;
    return (lo & PSE) !== 0;
  }

  flagsOf(hi: number, lo: number, level: number): number {
    if (this.isTable(hi, lo, level)) return EntryFlag.Present;
    if (this.#isLeaf(lo, level)) return this.#leafFlags(hi, lo, level);
    if (this.isNone(hi, lo)) return 0;
    let flags: number = EntryFlag.Swap;
    if ((lo & SWP_SOFT_DIRTY) !== 0) flags |= EntryFlag.SoftDirty;
    if ((lo & SWP_UFFD_WP) !== 0) flags |= EntryFlag.UffdWp;
    if ((lo & SWP_EXCLUSIVE) !== 0) flags |= EntryFlag.SwapExclusive;
    return flags;
  }

  #leafFlags(hi: number, lo: number, level: number): number {
    let flags = FLAGS_OF_LOW_BITS[lo & LOW_BITS] as number;
    if (hi >= 0) flags |= EntryFlag.Exec;
    if ((hi & SAVED_DIRTY) !== 0) flags |= EntryFlag.Dirty;
    if (this.#shadowStacks && (lo & (RW | DIRTY)) === DIRTY) flags |= EntryFlag.ShadowStack;
    let pat = (lo & PSE) !== 0;
    if (level !== this.#last) {
      flags |= EntryFlag.Huge;
      if ((lo & (PRESENT | PROTNONE)) === 0) flags |= EntryFlag.Invalid;
      pat = (lo & PAT_LARGE) !== 0;
    }
    if (pat) flags |= 4 << ENTRY_MEMORY_TYPE_SHIFT;
    return flags | (((hi & PKEY) >>> PKEY_SHIFT) << ENTRY_KEY_SHIFT);
  }

  frameOf(hi: number, lo: number, level: number): number {
    const invert = (lo & PRESENT) === 0 ? -1 : 0;
    const huge = level !== this.#last && (lo & PSE) !== 0;
    const frameHigh = (hi ^ invert) & PFN_HIGH;
    const frameLow = (lo ^ invert) & (huge ? PFN_LOW & ~PAT_LARGE : PFN_LOW);
    return frameHigh * 0x10_0000 + (frameLow >>> 12);
  }

  pack(frame: number, flags: number, level: number, out: Halves): void {
    const hidden = (flags & (EntryFlag.Protnone | EntryFlag.Invalid)) !== 0;
    const huge = level !== this.#last;
    const invert = hidden ? -1 : 0;
    const frameLow = ((frame % 0x10_0000) * 0x1000) | 0;
    let lo = ((frameLow ^ invert) & (huge ? PFN_LOW & ~PAT_LARGE : PFN_LOW)) | lowBitsOf(flags);
    let hi = (Math.floor(frame / 0x10_0000) ^ invert) & PFN_HIGH;
    if (huge) lo |= PSE;
    if ((flags & PAT_FLAG) !== 0) lo |= huge ? PAT_LARGE : PSE;
    if ((flags & EntryFlag.Exec) === 0) hi |= NX;
    hi |= ((flags & ENTRY_KEY_MASK) >>> ENTRY_KEY_SHIFT) << PKEY_SHIFT;
    if ((flags & EntryFlag.ShadowStack) !== 0) lo |= DIRTY;
    else if ((flags & EntryFlag.Dirty) !== 0) {
      if ((flags & EntryFlag.Write) !== 0) lo |= DIRTY;
      else hi |= SAVED_DIRTY;
    }
    out.lo = lo;
    out.hi = hi;
  }

  packTable(frame: number, _level: number, out: Halves): void {
    out.lo = ((frame % 0x10_0000) * 0x1000) | 0 | TABLE;
    out.hi = Math.floor(frame / 0x10_0000);
  }

  packSwap(type: number, offset: number, flags: number, out: Halves): void {
    const lowPart = offset % 2 ** SWAP_OFFSET_LOW_BITS;
    const highPart = Math.floor(offset / 2 ** SWAP_OFFSET_LOW_BITS);
    let lo = ~lowPart << SWAP_OFFSET_SHIFT;
    if ((flags & EntryFlag.SoftDirty) !== 0) lo |= SWP_SOFT_DIRTY;
    if ((flags & EntryFlag.UffdWp) !== 0) lo |= SWP_UFFD_WP;
    if ((flags & EntryFlag.SwapExclusive) !== 0) lo |= SWP_EXCLUSIVE;
    out.lo = lo;
    out.hi = (~highPart & SWAP_OFFSET_HIGH_MASK) | (type << SWAP_TYPE_SHIFT);
  }

  swapTypeOf(hi: number, _lo: number): number {
    return hi >>> SWAP_TYPE_SHIFT;
  }

  swapOffsetOf(hi: number, lo: number): number {
    return (~hi & SWAP_OFFSET_HIGH_MASK) * 2 ** SWAP_OFFSET_LOW_BITS + (~lo >>> SWAP_OFFSET_SHIFT);
  }

  change(hi: number, lo: number, level: number, set: number, clear: number, out: Halves): void {
    const flags = this.flagsOf(hi, lo, level);
    if ((flags & EntryFlag.Swap) !== 0) {
      this.packSwap(this.swapTypeOf(hi, lo), this.swapOffsetOf(hi, lo), (flags & ~clear) | set, out);
      return;
    }
    let changed = (flags & ~clear) | set;
    // RW = 1 and a shadow stack exclude each other: what was asked for last wins.
    if ((set & EntryFlag.Write) !== 0) changed &= ~EntryFlag.ShadowStack;
    this.pack(this.frameOf(hi, lo, level), changed, level, out);
    out.hi |= hi & FREE;
  }

  needsFlush(oldHi: number, oldLo: number, newHi: number, newLo: number, level: number): boolean {
    if ((oldLo & PRESENT) === 0) return false;
    if (this.frameOf(oldHi, oldLo, level) !== this.frameOf(newHi, newLo, level)) return true;
    const diffLow = oldLo ^ newLo;
    const diffHigh = oldHi ^ newHi;
    const onClear = level === this.#last ? FLUSH_ON_CLEAR : FLUSH_ON_CLEAR | ACCESSED;
    if ((diffLow & onClear & oldLo) !== 0) return true;
    if (level !== this.#last && (diffLow & PAT_LARGE) !== 0) return true;
    return (diffLow & FLUSH_ON_CHANGE_LOW) !== 0 || (diffHigh & FLUSH_ON_CHANGE_HIGH) !== 0;
  }
}
