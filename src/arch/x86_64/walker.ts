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
import { Access } from '../access.ts';
import { FaultKind } from '../fault.ts';
import { CacheName, EntrySource, type WalkObserver } from '../walk-observer.ts';
import { Cached } from './cached-translation.ts';
import { Entry, PDE_2M, PDPTE_1G } from './entries.ts';
import { type PermissionControls, type PermissionMemo, Right, Verdict } from './permissions.ts';
import { WalkCaches } from './walk-caches.ts';
import { entryOffset, WalkFaults } from './walk-faults.ts';

// Constants of other modules that the hot path reads are named again here: V8 folds a module's own `const`, but loads an
// imported one each time (with imported ones, walks ran at 7 million/s in place of the figures of `bench -- limit`).
const { P, RW, US, A, D, PS, ADDRESS_LOW, ADDRESS_HIGH } = Entry;
const { MEMORY_TYPE_SHIFT, SIZE_SHIFT } = Cached;
const { Allowed, Unknown, Denied } = Verdict;
const KEY = Right.KEY_MASK;
const TYPE_LOW = 3 << MEMORY_TYPE_SHIFT;
const TYPE_HIGH = 4 << MEMORY_TYPE_SHIFT;
const { None } = FaultKind;
const WRITE = Access.Write;

/** Set in an entry as most are. */
const USUAL = P | A;

/** By level of a leaf: its page's address bits in the low half, and the bits that must be 0 there. */
const PAGE_LOW = [0, ADDRESS_LOW, PDE_2M.half('PAGE').lo, PDPTE_1G.half('PAGE').lo];
const RESERVED_IN_PAGE = [0, 0, Entry.RESERVED_2M, Entry.RESERVED_1G];
/** Not the key of any chunk, nor the one that stands for none. */
const NEVER = -2;

/** What a leaf allows, as `Right` bits. @param ands @param ors R/W and U/S, and XD, of the entries above */
const rightsOf = (entryHi: number, entryLo: number, ands: number, ors: number): number =>
  // PKEY 62:59 → 8:5, U/S 2 → 2, R/W 1 → 1, XD 63 → 0, D 6 → 4, R/W 1 (above and not here) → 3.
  ((entryHi >>> 22) & KEY) |
  (ands & entryLo & ALL_ALLOWED) |
  ((ors | entryHi) >>> 31) |
  ((entryLo & D) >> 2) |
  ((ands & ~entryLo & RW) << 2);

/**
 * The dirty-bit rule: the flags that a *successful* access finds set in the leaf or sets there. Accessed always; dirty
 * on a write, in the leaf only, and also when the TLB had the translation with dirty clear. A faulting access changes
 * nothing in the leaf. A shadow-stack write needs dirty = 1 beforehand and so never sets it.
 * @see Intel SDM vol. 3A, "Accessed and Dirty Flags"
 */
const flagsToSet = (access: number): number => ((access & WRITE) !== 0 ? A | D : A);

/** Words of a table inside its chunk: bits 21:12 of the address as an index of 32-bit words. */
const TABLE_IN_CHUNK = 0xffc00;
/** Index of an entry's low word inside its table: nine bits of the address, two words an entry. */
const INDEX_MASK = 0x3fe;
/** The combined R/W and U/S at the root: everything allowed. */
const ALL_ALLOWED = RW | US;
/** What the walker reads of the control registers, prepared by the MMU when they change. */
interface WalkControls {
  /** Bits 51:12 of CR3, without flags. */
  rootHi: number;
  rootLo: number;
  /** 5 with CR4.LA57, else 4. */
  topLevel: number;
  /** Reserved bits of the high half of any present entry: from MAXPHYADDR to 51, and XD if EFER.NXE = 0. */
  reservedHigh: number;
  /** Reserved bits of the low half of a PML4E or PML5E: PS, and on AMD bit 8. */
  reservedTop: number;
  /** Reserved bits of the low half of a PDPTE: PS without 1-GByte pages. */
  reservedPdpte: number;
  /** G, if CR4.PGE. */
  globalMask: number;
}

export class Walker extends WalkFaults implements WalkControls {
  private readonly verdicts: Uint8Array;
  private readonly caches: WalkCaches;

  rootHi = 0;
  rootLo = 0;
  topLevel = 4;
  reservedHigh = 0;
  reservedTop = 0;
  reservedPdpte = 0;
  globalMask = 0;

  /** The result: the translation in its cached form. */
  dataHi = 0;
  dataLo = 0;
  /** Walks made, for cost and reports; modulo 2^32. */
  walks = 0;
  /** Set around a speculative walk: a leaf that denies the access is still a translation, and dirty is not set. */
  speculative = false;

  /** Does this walk fill the paging-structure caches? (TypeScript's `private` here and in the other hot classes: with
   * `#` names the L1 hit ran at 48 in place of 60 million/s on Node 20.) */
  private keeping = false;
  /** Where a walk begins: the first table's address with R/W and U/S so far in `startLo` and XD so far in `startHi`, and
   * its level. */
  private startHi = 0;
  private startLo = 0;
  private startLevel = 4;
  /** The root's chunk of memory where `walkQuickly` may be tried, else a key that no chunk has. */
  private quickKey = NEVER;

  constructor(
    memory: PhysicalMemory,
    memo: PermissionMemo,
    controls: PermissionControls,
    caches: PagingStructureCaches,
  ) {
    super(memory, memo, controls);
    this.verdicts = memo.verdicts;
    this.caches = new WalkCaches(caches);
  }

  /** Tells `observer` of every step from now on; null for none. */
  attach(observer: WalkObserver | null): void {
    this.observer = observer;
    this.prepare();
  }

  /** To be called after a change of the controls. */
  prepare(): void {
    const quick = this.topLevel === 4 && this.observer === null;
    this.quickKey = quick ? (this.rootHi << 10) | (this.rootLo >>> 22) : NEVER;
  }

  /**
   * Walks a canonical address, from as far down as the paging-structure caches know.
   * @param tagLo @param tagHi its tag for caches (page number, PCID), see `TlbTag`
   * @returns 0, with the translation in `dataHi`/`dataLo`; or a fault kind, with `fault` filled in
   */
  walk(hi: number, lo: number, access: number, tagLo: number, tagHi: number): FaultKind {
    if (!this.caches.exist) return this.walkFromRoot(hi, lo, access);
    this.walks = (this.walks + 1) | 0;
    this.keeping = true;
    const found = this.caches.find(tagLo, tagHi);
    if (found === 0) this.startAtRoot();
    else this.startAfter(found);
    return this.walkTables(hi, lo, access);
  }

  /** Walks a canonical address from CR3: no paging-structure cache is asked or filled. */
  walkFromRoot(hi: number, lo: number, access: number): FaultKind {
    this.walks = (this.walks + 1) | 0;
    if (this.quickKey === this.memory.tableKey && this.walkQuickly(hi, lo, access) !== 0) return None;
    this.startAtRoot();
    this.keeping = false;
    return this.walkTables(hi, lo, access);
  }

  private startAtRoot(): void {
    this.startHi = this.rootHi;
    this.startLo = this.rootLo | ALL_ALLOWED;
    this.startLevel = this.topLevel;
  }

  /** The entry of `level` that a paging-structure cache gave says where to begin. */
  private startAfter(level: number): void {
    this.startLo = this.caches.dataLo;
    this.startHi = this.caches.dataHi;
    this.startLevel = level - 1;
    if (this.observer === null) return;
    this.observer.entry(level, EntrySource.Cache, 0, 0, this.startHi, this.startLo);
  }

  /**
   * The usual 4-level walk to a 4-KByte page and nothing else: all entries present and accessed, no large page, nothing
   * reserved, all tables in the root's chunk of memory, the access allowed and nothing to set. It only reads, and judges
   * all four entries together at the end (an index made from an entry that is not usual still lies in the chunk); where
   * anything is different, `walkTables` does the walk from the start. It is here for speed: with `walkTables` alone,
   * which can also stop, set, tell and keep at each level, walks run at 46 in place of 60 million/s.
   * @returns 1, with the translation in `dataHi`/`dataLo`; 0 when the walk is not a usual one
   */
  private walkQuickly(hi: number, lo: number, access: number): number {
    const chunk = this.memory.tableChunk;
    const { rootHi, rootLo } = this;

    let index = ((rootLo >>> 2) & TABLE_IN_CHUNK) | ((hi >>> 6) & INDEX_MASK);
    const pml4eLo = chunk[index] as number;
    const pml4eHi = chunk[index + 1] as number;
    index = ((pml4eLo >>> 2) & TABLE_IN_CHUNK) | (((hi << 3) | (lo >>> 29)) & INDEX_MASK);
    const pdpteLo = chunk[index] as number;
    const pdpteHi = chunk[index + 1] as number;
    index = ((pdpteLo >>> 2) & TABLE_IN_CHUNK) | ((lo >>> 20) & INDEX_MASK);
    const pdeLo = chunk[index] as number;
    const pdeHi = chunk[index + 1] as number;
    index = ((pdeLo >>> 2) & TABLE_IN_CHUNK) | ((lo >>> 11) & INDEX_MASK);
    const pteLo = chunk[index] as number;
    const pteHi = chunk[index + 1] as number;

    const ands = pml4eLo & pdpteLo & pdeLo;
    const ors = pml4eHi | pdpteHi | pdeHi;
    const elsewhereHi = (pml4eHi ^ rootHi) | (pdpteHi ^ rootHi) | (pdeHi ^ rootHi);
    const elsewhereLo = (pml4eLo ^ rootLo) | (pdpteLo ^ rootLo) | (pdeLo ^ rootLo);
    const unusual =
      (~(ands & pteLo) & USUAL) |
      (pml4eLo & this.reservedTop) |
      ((pdpteLo | pdeLo) & PS) |
      ((ors | pteHi) & this.reservedHigh) |
      (elsewhereHi & ADDRESS_HIGH) |
      (elsewhereLo >>> 22);
    if (unusual !== 0) return 0;
    const rights = rightsOf(pteHi, pteLo, ands, ors);
    if (this.verdicts[this.memo.accessIndex(access) | rights] !== Allowed) return 0;
    this.dataLo = (pteLo & ADDRESS_LOW) | rights;
    // PCD 4 and PWT 3 → 21:20, PAT 7 → 22, G 8 → 25.
    this.dataHi =
      (pteHi & ADDRESS_HIGH) |
      ((pteLo << 17) & TYPE_LOW) |
      ((pteLo << 15) & TYPE_HIGH) |
      ((pteLo & this.globalMask) << 17);
    return 1;
  }

  /**
   * The walk, one entry per turn, from the table in `startHi`/`startLo`. `ands` are R/W and U/S of all entries so far
   * ANDed, `ors` their XD ORed, each in its place; the other bits of both mean nothing.
   */
  private walkTables(hi: number, lo: number, access: number): FaultKind {
    const memory = this.memory;
    let ands = this.startLo;
    let ors = this.startHi;
    this.tableHi = ors & ADDRESS_HIGH;
    this.tableLo = ands & ADDRESS_LOW;
    for (let level = this.startLevel; ; level--) {
      const { tableHi, tableLo } = this;
      if (((tableHi << 10) | (tableLo >>> 22)) !== memory.tableKey && !memory.selectTable(tableHi, tableLo)) {
        return this.bus(hi, lo, access, level);
      }
      const index = ((tableLo >>> 2) & TABLE_IN_CHUNK) | (entryOffset(hi, lo, level) >>> 2);
      const entryLo = memory.tableChunk[index] as number;
      const entryHi = memory.tableChunk[index + 1] as number;
      if ((((entryLo ^ P) & (P | this.reservedLow(level))) | (entryHi & this.reservedHigh)) !== 0) {
        return this.stop(hi, lo, access, level, index, entryHi, entryLo);
      }
      if (level === 1 || (level <= 3 && (entryLo & PS) !== 0)) {
        return this.leaf(hi, lo, access, level, index, entryHi, entryLo, ands, ors);
      }
      ands &= entryLo;
      ors |= entryHi;
      this.pass(level, index, entryHi, entryLo, ands, ors);
      this.tableHi = entryHi & ADDRESS_HIGH;
      this.tableLo = entryLo & ADDRESS_LOW;
    }
  }

  /** Reserved bits of the low half of an entry of a level, as far as they do not depend on PS. */
  private reservedLow(level: number): number {
    if (level <= 2) return 0;
    return level === 3 ? this.reservedPdpte : this.reservedTop;
  }

  /** A present entry that maps a page: the translation in its cached form, unless an address bit inside the page is set. */
  private leaf(
    hi: number,
    lo: number,
    access: number,
    level: number,
    index: number,
    entryHi: number,
    entryLo: number,
    ands: number,
    ors: number,
  ): FaultKind {
    if ((entryLo & RESERVED_IN_PAGE[level]!) !== 0)
      return this.stop(hi, lo, access, level, index, entryHi, entryLo);
    const found = rightsOf(entryHi, entryLo, ands, ors);
    const verdictIndex = this.memo.accessIndex(access) | found;
    const rights = this.grant(hi, lo, access, level, index, entryHi, entryLo, found, verdictIndex);
    if (rights < 0) return FaultKind.Permission;
    this.dataLo = (entryLo & PAGE_LOW[level]!) | rights;
    const typeHigh = level === 1 ? entryLo << 15 : entryLo << 10;
    this.dataHi =
      (entryHi & ADDRESS_HIGH) |
      ((entryLo << 17) & TYPE_LOW) |
      (typeHigh & TYPE_HIGH) |
      ((level - 1) << SIZE_SHIFT) |
      ((entryLo & this.globalMask) << 17);
    return None;
  }

  /**
   * A present leaf without reserved bits: permission, then accessed and dirty.
   * @returns the rights to cache, with dirty as it is now; -1 when the access is denied, with the fault set
   */
  private grant(
    hi: number,
    lo: number,
    access: number,
    level: number,
    index: number,
    entryHi: number,
    entryLo: number,
    rights: number,
    verdictIndex: number,
  ): number {
    let verdict = this.verdicts[verdictIndex] as number;
    if (verdict === Unknown) verdict = this.memo.decide(verdictIndex);
    let set = flagsToSet(access);
    if (verdict === Denied) {
      if (!this.speculative) return this.deny(hi, lo, access, level, index, entryHi, entryLo, rights);
      set = A;
    }
    const flags = entryLo | set;
    if (flags !== entryLo) this.memory.tableChunk[index] = flags;
    if (this.observer !== null) this.tellEntry(level, index, entryHi, entryLo, flags);
    return rights | ((flags & D) >> 2);
  }

  /** A table entry is used: sets accessed, tells of it, and keeps it with the rights combined so far. */
  private pass(
    level: number,
    index: number,
    entryHi: number,
    entryLo: number,
    ands: number,
    ors: number,
  ): void {
    if ((entryLo & A) === 0) this.memory.tableChunk[index] = entryLo | A;
    if (this.observer !== null) this.tellEntry(level, index, entryHi, entryLo, entryLo | A);
    if (!this.keeping || !this.caches.keep(level, entryHi, entryLo, ands, ors)) return;
    if (this.observer === null) return;
    this.observer.fill(CacheName.PagingStructure, level, this.caches.dataHi, this.caches.dataLo);
  }
}
