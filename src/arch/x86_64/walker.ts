/**
 * The page walk of 4-level and 5-level paging: one step per level, each reading one entry, checking it and going on to
 * the next table or to the leaf. It starts at CR3 or, where a paging-structure cache knows the way, further down.
 * Left out: HLAT, nested paging, 32-bit and PAE paging, memory types of the accesses to the tables themselves.
 *
 * Choices where the manual allows several:
 * - Accessed flags of upper-level entries are set as the walk passes them, so they are set also when it ends in a fault;
 *   those of the entry at which a walk faults, and of a leaf that denies the access, are not.
 *
 * @see Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging", "Accessed and Dirty Flags", "Caching Paging Structures"
 */
import type { PagingStructureCaches } from '../../hardware/paging-structure-cache.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import type { Tlb } from '../../hardware/tlb.ts';
import { Access } from '../access.ts';
import { FaultKind, FaultSlot } from '../fault.ts';
import { CacheName, EntrySource, type WalkObserver } from '../walk-observer.ts';
import { Cached, flagsToSet } from './cached-translation.ts';
import { Entry } from './entries.ts';
import {
  fetchIsReported,
  type PermissionControls,
  type PermissionMemo,
  Reason,
  reasonsAgainst,
  Verdict,
} from './permissions.ts';

const { P, RW, US, A, D, PS, ADDRESS_LOW, ADDRESS_HIGH, XD_HIGH } = Entry;

/** Words of a table inside its chunk: bits 21:12 of the address as an index of 32-bit words. */
const TABLE_IN_CHUNK = 0xffc00;
/** Index of an entry's low word inside its table: nine bits of the address, two words an entry. */
const INDEX_MASK = 0x3fe;
/** The combined R/W and U/S at the root: everything allowed. */
const ALL_ALLOWED = RW | US;
/** Offsets of the prefixes that the paging-structure caches are looked up by, in the TLB's page-number tag. */
const PDE_PREFIX = ~0x1ff;
const PDPTE_PREFIX = ~0x3ffff;
const PML4E_PREFIX = ~0x7ffffff;
/** A PML5E covers bits 47:0: the tag's low word falls away and the lowest four bits of the high one. */
const PML5E_PREFIX_HIGH = ~0xf;

/** What the walker reads of the control registers, prepared by the MMU when they change. */
export interface WalkControls {
  rootHi: number;
  rootLo: number;
  la57: boolean;
  /** Reserved bits of the high half of any present entry: from MAXPHYADDR to 51, and XD if EFER.NXE = 0. */
  reservedHigh: number;
  /** Reserved bits of the low half of a PML4E or PML5E: PS, and on AMD bit 8. */
  reservedTop: number;
  /** Reserved bits of the low half of a PDPTE: PS without 1-GByte pages. */
  reservedPdpte: number;
  /** G, if CR4.PGE. */
  globalMask: number;
}

export class Walker implements WalkControls {
  readonly memory: PhysicalMemory;
  readonly memo: PermissionMemo;
  readonly fault = new FaultSlot();
  readonly caches: PagingStructureCaches;
  observer: WalkObserver | null = null;

  rootHi = 0;
  rootLo = 0;
  la57 = false;
  reservedHigh = 0;
  reservedTop = 0;
  reservedPdpte = 0;
  globalMask = 0;

  /** The result: the translation in its cached form. */
  dataHi = 0;
  dataLo = 0;
  /** Walks made, for cost and reports. */
  walks = 0;
  /** Set around a speculative walk: a leaf that denies the access is still a translation, and dirty is not set. */
  speculative = false;

  readonly #controls: PermissionControls;
  readonly #caching: boolean;
  readonly #pde: Tlb;
  readonly #pdpte: Tlb;
  readonly #pml4e: Tlb;
  readonly #pml5e: Tlb;
  /** The TLB tag of the address being walked, for the paging-structure caches. */
  #tagLo = 0;
  #tagHi = 0;

  constructor(
    memory: PhysicalMemory,
    memo: PermissionMemo,
    controls: PermissionControls,
    caches: PagingStructureCaches,
    caching: boolean,
  ) {
    this.memory = memory;
    this.memo = memo;
    this.#controls = controls;
    this.caches = caches;
    this.#caching = caching;
    [this.#pde, this.#pdpte, this.#pml4e, this.#pml5e] = caches.levels.slice(2) as [Tlb, Tlb, Tlb, Tlb];
  }

  /**
   * Walks a canonical address.
   * @param tagLo @param tagHi its tag for caches (page number, PCID), see `TlbTag`
   * @returns 0, with the translation in `dataHi`/`dataLo`; or a fault kind, with `fault` filled in
   */
  walk(hi: number, lo: number, access: number, tagLo: number, tagHi: number): FaultKind {
    this.walks++;
    if (this.#caching) {
      this.#tagLo = tagLo;
      this.#tagHi = tagHi;
      return this.#walkFromCaches(hi, lo, access, tagLo, tagHi);
    }
    return this.#walkFromRoot(hi, lo, access);
  }

  #walkFromRoot(hi: number, lo: number, access: number): FaultKind {
    if (this.la57) return this.#readPml5e(hi, lo, access);
    return this.#readPml4e(hi, lo, access, this.rootHi, this.rootLo, ALL_ALLOWED, 0);
  }

  /** Goes on from the lowest level that a paging-structure cache knows. */
  #walkFromCaches(hi: number, lo: number, access: number, tagLo: number, tagHi: number): FaultKind {
    let at = this.#pde.find(tagLo & PDE_PREFIX, tagHi, tagLo >>> 9);
    if (at >= 0) {
      const { entries } = this.#pde;
      const tableLo = entries[at + 2] as number;
      const tableHi = entries[at + 3] as number;
      this.#pde.touch(at);
      if (this.observer !== null) this.observer.entry(2, EntrySource.Cache, 0, 0, tableHi, tableLo);
      return this.#readPte(hi, lo, access, tableHi & ADDRESS_HIGH, tableLo & ADDRESS_LOW, tableLo, tableHi);
    }
    at = this.#pdpte.find(tagLo & PDPTE_PREFIX, tagHi, tagLo >>> 18);
    if (at >= 0) {
      const { entries } = this.#pdpte;
      const tableLo = entries[at + 2] as number;
      const tableHi = entries[at + 3] as number;
      this.#pdpte.touch(at);
      if (this.observer !== null) this.observer.entry(3, EntrySource.Cache, 0, 0, tableHi, tableLo);
      return this.#readPde(hi, lo, access, tableHi & ADDRESS_HIGH, tableLo & ADDRESS_LOW, tableLo, tableHi);
    }
    return this.#walkFromUpperCaches(hi, lo, access, tagLo, tagHi);
  }

  #walkFromUpperCaches(hi: number, lo: number, access: number, tagLo: number, tagHi: number): FaultKind {
    let at = this.#pml4e.find(tagLo & PML4E_PREFIX, tagHi, tagLo >>> 27);
    if (at >= 0) {
      const tableLo = this.#pml4e.entries[at + 2] as number;
      const tableHi = this.#pml4e.entries[at + 3] as number;
      this.#pml4e.touch(at);
      if (this.observer !== null) this.observer.entry(4, EntrySource.Cache, 0, 0, tableHi, tableLo);
      return this.#readPdpte(hi, lo, access, tableHi & ADDRESS_HIGH, tableLo & ADDRESS_LOW, tableLo, tableHi);
    }
    at = this.la57 ? this.#pml5e.find(0, tagHi & PML5E_PREFIX_HIGH, tagHi >>> 4) : -1;
    if (at >= 0) {
      const tableLo = this.#pml5e.entries[at + 2] as number;
      const tableHi = this.#pml5e.entries[at + 3] as number;
      this.#pml5e.touch(at);
      if (this.observer !== null) this.observer.entry(5, EntrySource.Cache, 0, 0, tableHi, tableLo);
      return this.#readPml4e(hi, lo, access, tableHi & ADDRESS_HIGH, tableLo & ADDRESS_LOW, tableLo, tableHi);
    }
    return this.#walkFromRoot(hi, lo, access);
  }

  // Each step below takes the table's address and, in `allowed`, the R/W and U/S flags of all entries so far ANDed, in
  // their places (other bits of it mean nothing), and in `disabled` their XD flags ORed, in bit 31.

  #readPml5e(hi: number, lo: number, access: number): FaultKind {
    const { memory, rootHi, rootLo } = this;
    if (((rootHi << 10) | (rootLo >>> 22)) !== memory.tableKey && !memory.selectTable(rootHi, rootLo)) {
      return this.#bus(hi, lo, access, 5, rootHi, rootLo | ((hi >>> 13) & 0xff8));
    }
    const chunk = memory.tableChunk;
    const index = ((rootLo >>> 2) & TABLE_IN_CHUNK) | ((hi >>> 15) & INDEX_MASK);
    const entryLo = chunk[index] as number;
    const entryHi = chunk[index + 1] as number;
    if (this.observer !== null) this.#observe(5, rootHi, rootLo, index, entryHi, entryLo);
    if ((entryLo & P) === 0 || (entryHi & this.reservedHigh) !== 0 || (entryLo & this.reservedTop) !== 0) {
      return this.#stop(hi, lo, access, 5, rootHi, rootLo, index, entryHi, entryLo);
    }
    if ((entryLo & A) === 0) this.#setFlags(chunk, 5, rootHi, rootLo, index, entryLo, A);
    if (this.#caching)
      this.#keep(this.#pml5e, 5, 0, this.#tagHi & PML5E_PREFIX_HIGH, entryLo, entryHi, this.#tagHi >>> 4);
    return this.#readPml4e(hi, lo, access, entryHi & ADDRESS_HIGH, entryLo & ADDRESS_LOW, entryLo, entryHi);
  }

  #readPml4e(
    hi: number,
    lo: number,
    access: number,
    tableHi: number,
    tableLo: number,
    allowed: number,
    disabled: number,
  ): FaultKind {
    const memory = this.memory;
    if (((tableHi << 10) | (tableLo >>> 22)) !== memory.tableKey && !memory.selectTable(tableHi, tableLo)) {
      return this.#bus(hi, lo, access, 4, tableHi, tableLo | ((hi >>> 4) & 0xff8));
    }
    const chunk = memory.tableChunk;
    const index = ((tableLo >>> 2) & TABLE_IN_CHUNK) | ((hi >>> 6) & INDEX_MASK);
    const entryLo = chunk[index] as number;
    const entryHi = chunk[index + 1] as number;
    if (this.observer !== null) this.#observe(4, tableHi, tableLo, index, entryHi, entryLo);
    if ((entryLo & P) === 0 || (entryHi & this.reservedHigh) !== 0 || (entryLo & this.reservedTop) !== 0) {
      return this.#stop(hi, lo, access, 4, tableHi, tableLo, index, entryHi, entryLo);
    }
    if ((entryLo & A) === 0) this.#setFlags(chunk, 4, tableHi, tableLo, index, entryLo, A);
    const nowAllowed = allowed & entryLo;
    const nowDisabled = disabled | entryHi;
    const nextHi = entryHi & ADDRESS_HIGH;
    const nextLo = entryLo & ADDRESS_LOW;
    if (this.#caching) {
      const tagLo = this.#tagLo;
      this.#keep(
        this.#pml4e,
        4,
        tagLo & PML4E_PREFIX,
        this.#tagHi,
        nextLo | (nowAllowed & ALL_ALLOWED),
        nextHi | (nowDisabled & XD_HIGH),
        tagLo >>> 27,
      );
    }
    return this.#readPdpte(hi, lo, access, nextHi, nextLo, nowAllowed, nowDisabled);
  }

  #readPdpte(
    hi: number,
    lo: number,
    access: number,
    tableHi: number,
    tableLo: number,
    allowed: number,
    disabled: number,
  ): FaultKind {
    const memory = this.memory;
    const at = (hi << 2) | (lo >>> 30);
    if (((tableHi << 10) | (tableLo >>> 22)) !== memory.tableKey && !memory.selectTable(tableHi, tableLo)) {
      return this.#bus(hi, lo, access, 3, tableHi, tableLo | ((at << 3) & 0xff8));
    }
    const chunk = memory.tableChunk;
    const index = ((tableLo >>> 2) & TABLE_IN_CHUNK) | ((at << 1) & INDEX_MASK);
    const entryLo = chunk[index] as number;
    const entryHi = chunk[index + 1] as number;
    if (this.observer !== null) this.#observe(3, tableHi, tableLo, index, entryHi, entryLo);
    if ((entryLo & P) === 0 || (entryHi & this.reservedHigh) !== 0 || (entryLo & this.reservedPdpte) !== 0) {
      return this.#stop(hi, lo, access, 3, tableHi, tableLo, index, entryHi, entryLo);
    }
    if ((entryLo & PS) !== 0) {
      if ((entryLo & Entry.RESERVED_1G) !== 0)
        return this.#stop(hi, lo, access, 3, tableHi, tableLo, index, entryHi, entryLo);
      return this.#leaf(hi, lo, access, 3, tableHi, tableLo, index, entryHi, entryLo, allowed, disabled);
    }
    if ((entryLo & A) === 0) this.#setFlags(chunk, 3, tableHi, tableLo, index, entryLo, A);
    const nowAllowed = allowed & entryLo;
    const nowDisabled = disabled | entryHi;
    const nextHi = entryHi & ADDRESS_HIGH;
    const nextLo = entryLo & ADDRESS_LOW;
    if (this.#caching) {
      const tagLo = this.#tagLo;
      this.#keep(
        this.#pdpte,
        3,
        tagLo & PDPTE_PREFIX,
        this.#tagHi,
        nextLo | (nowAllowed & ALL_ALLOWED),
        nextHi | (nowDisabled & XD_HIGH),
        tagLo >>> 18,
      );
    }
    return this.#readPde(hi, lo, access, nextHi, nextLo, nowAllowed, nowDisabled);
  }

  #readPde(
    hi: number,
    lo: number,
    access: number,
    tableHi: number,
    tableLo: number,
    allowed: number,
    disabled: number,
  ): FaultKind {
    const memory = this.memory;
    if (((tableHi << 10) | (tableLo >>> 22)) !== memory.tableKey && !memory.selectTable(tableHi, tableLo)) {
      return this.#bus(hi, lo, access, 2, tableHi, tableLo | ((lo >>> 18) & 0xff8));
    }
    const chunk = memory.tableChunk;
    const index = ((tableLo >>> 2) & TABLE_IN_CHUNK) | ((lo >>> 20) & INDEX_MASK);
    const entryLo = chunk[index] as number;
    const entryHi = chunk[index + 1] as number;
    if (this.observer !== null) this.#observe(2, tableHi, tableLo, index, entryHi, entryLo);
    if ((entryLo & P) === 0 || (entryHi & this.reservedHigh) !== 0) {
      return this.#stop(hi, lo, access, 2, tableHi, tableLo, index, entryHi, entryLo);
    }
    if ((entryLo & PS) !== 0) {
      if ((entryLo & Entry.RESERVED_2M) !== 0)
        return this.#stop(hi, lo, access, 2, tableHi, tableLo, index, entryHi, entryLo);
      return this.#leaf(hi, lo, access, 2, tableHi, tableLo, index, entryHi, entryLo, allowed, disabled);
    }
    if ((entryLo & A) === 0) this.#setFlags(chunk, 2, tableHi, tableLo, index, entryLo, A);
    const nowAllowed = allowed & entryLo;
    const nowDisabled = disabled | entryHi;
    const nextHi = entryHi & ADDRESS_HIGH;
    const nextLo = entryLo & ADDRESS_LOW;
    if (this.#caching) {
      const tagLo = this.#tagLo;
      this.#keep(
        this.#pde,
        2,
        tagLo & PDE_PREFIX,
        this.#tagHi,
        nextLo | (nowAllowed & ALL_ALLOWED),
        nextHi | (nowDisabled & XD_HIGH),
        tagLo >>> 9,
      );
    }
    return this.#readPte(hi, lo, access, nextHi, nextLo, nowAllowed, nowDisabled);
  }

  #readPte(
    hi: number,
    lo: number,
    access: number,
    tableHi: number,
    tableLo: number,
    allowed: number,
    disabled: number,
  ): FaultKind {
    const memory = this.memory;
    if (((tableHi << 10) | (tableLo >>> 22)) !== memory.tableKey && !memory.selectTable(tableHi, tableLo)) {
      return this.#bus(hi, lo, access, 1, tableHi, tableLo | ((lo >>> 9) & 0xff8));
    }
    const index = ((tableLo >>> 2) & TABLE_IN_CHUNK) | ((lo >>> 11) & INDEX_MASK);
    const entryLo = memory.tableChunk[index] as number;
    const entryHi = memory.tableChunk[index + 1] as number;
    if (this.observer !== null) this.#observe(1, tableHi, tableLo, index, entryHi, entryLo);
    if ((entryLo & P) === 0 || (entryHi & this.reservedHigh) !== 0) {
      return this.#stop(hi, lo, access, 1, tableHi, tableLo, index, entryHi, entryLo);
    }
    return this.#leaf(hi, lo, access, 1, tableHi, tableLo, index, entryHi, entryLo, allowed, disabled);
  }

  /** A present leaf without reserved bits: permission, accessed and dirty, and the translation in its cached form. */
  #leaf(
    hi: number,
    lo: number,
    access: number,
    level: number,
    tableHi: number,
    tableLo: number,
    index: number,
    entryHi: number,
    entryLo: number,
    allowed: number,
    disabled: number,
  ): FaultKind {
    // Entry bits to `Right` bits: PKEY 62:59 → 3:0, U/S 2 → 4, R/W 1 → 5, XD 63 → 6, D 6 → 7, R/W 1 (above, not here) → 8.
    const all = allowed & entryLo;
    const rights =
      ((entryHi >>> 27) & 0xf) |
      ((all & US) << 2) |
      ((all & RW) << 4) |
      (((disabled | entryHi) >>> 31) << 6) |
      ((entryLo & D) << 1) |
      ((allowed & ~entryLo & RW) << 7);
    const memo = this.memo;
    const verdictIndex = memo.accessIndex(access) | rights;
    let verdict = memo.verdicts[verdictIndex] as number;
    if (verdict === Verdict.Unknown) verdict = memo.decide(verdictIndex);
    let set = flagsToSet(access);
    if (verdict === Verdict.Denied) {
      if (!this.speculative)
        return this.#deny(hi, lo, access, level, tableHi, tableLo, index, entryHi, entryLo, rights);
      set = A;
    }
    const flags = entryLo | set;
    if (flags !== entryLo)
      this.#setFlags(this.memory.tableChunk, level, tableHi, tableLo, index, entryLo, set);
    const typeIndex = ((entryLo >>> 3) & 3) | ((level === 1 ? entryLo >>> 5 : entryLo >>> 10) & 4);
    const pageMask = level === 1 ? ADDRESS_LOW : level === 2 ? ~0x1fffff : ~0x3fffffff;
    this.dataLo = (entryLo & pageMask) | rights | ((flags & D) << 1);
    this.dataHi =
      (entryHi & ADDRESS_HIGH) |
      (typeIndex << Cached.MEMORY_TYPE_SHIFT) |
      ((level - 1) << Cached.SIZE_SHIFT) |
      ((entryLo & this.globalMask) !== 0 ? Cached.GLOBAL : 0);
    return FaultKind.None;
  }

  /** Keeps an upper-level entry in its paging-structure cache. */
  #keep(
    cache: Tlb,
    level: number,
    tagLo: number,
    tagHi: number,
    dataLo: number,
    dataHi: number,
    set: number,
  ): void {
    cache.insert(tagLo, tagHi, dataLo, dataHi, set);
    if (this.observer !== null && cache.ways !== 0)
      this.observer.fill(CacheName.PagingStructure, level, dataHi, dataLo);
  }

  /** Sets accessed or dirty in memory. The table's frame holds a present entry, so it has been written before. */
  #setFlags(
    chunk: Int32Array,
    level: number,
    tableHi: number,
    tableLo: number,
    index: number,
    entryLo: number,
    set: number,
  ): void {
    chunk[index] = entryLo | set;
    if (this.observer !== null) {
      this.observer.update(level, tableHi, tableLo | ((index << 2) & 0xfff), entryLo, entryLo | set);
    }
  }

  #observe(
    level: number,
    tableHi: number,
    tableLo: number,
    index: number,
    entryHi: number,
    entryLo: number,
  ): void {
    this.observer?.entry(
      level,
      EntrySource.Memory,
      tableHi,
      tableLo | ((index << 2) & 0xfff),
      entryHi,
      entryLo,
    );
  }

  /** An entry that is not present or has a reserved bit set. Reserved bits are not looked at where P = 0. */
  #stop(
    hi: number,
    lo: number,
    access: number,
    level: number,
    tableHi: number,
    tableLo: number,
    index: number,
    entryHi: number,
    entryLo: number,
  ): FaultKind {
    const kind = (entryLo & P) === 0 ? FaultKind.NotPresent : FaultKind.Reserved;
    return this.#fail(
      kind,
      hi,
      lo,
      access,
      level,
      tableHi,
      tableLo | ((index << 2) & 0xfff),
      entryHi,
      entryLo,
      0,
    );
  }

  #deny(
    hi: number,
    lo: number,
    access: number,
    level: number,
    tableHi: number,
    tableLo: number,
    index: number,
    entryHi: number,
    entryLo: number,
    rights: number,
  ): FaultKind {
    const reasons = this.reasons(rights, access);
    return this.#fail(
      FaultKind.Permission,
      hi,
      lo,
      access,
      level,
      tableHi,
      tableLo | ((index << 2) & 0xfff),
      entryHi,
      entryLo,
      reasons,
    );
  }

  #bus(
    hi: number,
    lo: number,
    access: number,
    level: number,
    entryAddressHi: number,
    entryAddressLo: number,
  ): FaultKind {
    return this.#fail(FaultKind.Bus, hi, lo, access, level, entryAddressHi, entryAddressLo, 0, 0, 0);
  }

  /** Every `Reason` against an access, as things stand. */
  reasons(rights: number, access: number): number {
    return reasonsAgainst(rights, access, this.memo.alignmentCheckBit !== 0, this.#controls);
  }

  #fail(
    kind: FaultKind,
    hi: number,
    lo: number,
    access: number,
    level: number,
    entryAddressHi: number,
    entryAddressLo: number,
    entryHi: number,
    entryLo: number,
    reasons: number,
  ): FaultKind {
    this.setFault(kind, hi, lo, access, reasons);
    const fault = this.fault;
    fault.level = level;
    fault.entryAddressHi = entryAddressHi;
    fault.entryAddressLo = entryAddressLo;
    fault.entryHi = entryHi;
    fault.entryLo = entryLo;
    return kind;
  }

  /** Fills in the fault slot for a fault that no entry decided. */
  setFault(kind: FaultKind, hi: number, lo: number, access: number, reasons: number): void {
    const fault = this.fault;
    fault.kind = kind;
    fault.addressHi = hi;
    fault.addressLo = lo;
    fault.access = access;
    const reported = (access & Access.Fetch) !== 0 && fetchIsReported(this.#controls);
    fault.reasons = reported ? reasons | Reason.FetchIsReported : reasons;
    fault.level = 0;
    fault.entryAddressHi = 0;
    fault.entryAddressLo = 0;
    fault.entryHi = 0;
    fault.entryLo = 0;
  }
}
