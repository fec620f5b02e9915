/**
 * What one TLBI drops from the TLBs and walk caches of one CPU: exactly the entries it names, though the architecture lets
 * it drop more. By VA and by ASID, non-global entries and table entries have to match the ASID; a global leaf (nG = 0)
 * matches every ASID by VA, and none by ASID. The last-level forms spare table entries. The Contiguous bit changes
 * nothing: each descriptor is an entry of its own.
 * Left out: entries that combine several blocks, TLB lockdown, walk caches indexed by physical address (FEAT_nTLBPA).
 *
 * Choices where the manual allows several:
 * - A level hint leaves alone leaves of other levels and table entries of its own and later levels; only table entries
 *   above it and leaves of it have to go.
 * - A broadcast by VA reaches entries of whatever granule the receiving CPU made them with.
 *
 * @see Arm ARM (DDI 0487), "TLB maintenance instruction scope", "Operation of the TLB maintenance instructions"
 */
import type { Tlb } from '../../hardware/tlb.ts';
import type { CachedPlace } from '../break-before-make.ts';
import { leafShift } from './cached-translation.ts';
import { firstWordMask, granuleCode, granuleShiftOf, setOf, Tag } from './tlb-tag.ts';
import { TLBI_OPERATIONS } from './tlbi.ts';
import { ANY_LEVEL, type TlbiScope } from './tlbi-operands.ts';
import type { Translation } from './translation.ts';

/** The name of a scope number, as observers are told it. */
export const flushEventName = (event: number): string =>
  `TLBI ${TLBI_OPERATIONS[event]?.name ?? `operation ${event}`}`;

/**
 * Which of a CPU's caches: for its own TLBI a CPU may go on fetching with old translations until it synchronizes its
 * context, after its data accesses have stopped using them.
 */
export type CachePart = 'all' | 'data' | 'fetch';

/** Drops what `scope` names from the caches of one CPU. @returns how many entries were dropped */
export function invalidate(mmu: Translation, scope: TlbiScope, part: CachePart = 'all'): number {
  const { operation } = scope;
  let dropped = 0;
  for (const tlb of mmu.tlbs) {
    const fetches = tlb === mmu.fetchTlb || tlb === mmu.largeFetchTlb;
    if (part !== 'all' && fetches !== (part === 'fetch')) continue;
    dropped += dropLeaves(tlb, scope);
  }
  if (!operation.lastLevel && part !== 'fetch') dropped += dropTables(mmu, scope);
  return dropped;
}

/** Tells the CPU's observer, if there is one. */
export function tellInvalidation(mmu: Translation, scope: TlbiScope, dropped: number): void {
  const { observer } = mmu;
  if (observer === null) return;
  const { operation, asid, first, last } = scope;
  const addressed = operation.type === 'VA' || operation.type === 'VAA';
  // VA[63:55] are the same; 2^44 is bit 56 of the address.
  const page = addressed ? (first >= 2 ** 43 ? first + 2 ** 52 - 2 ** 44 : first) : 0;
  const hi = Math.floor(page / 2 ** 20) | 0;
  const lo = ((page % 2 ** 20) * 4096) | 0;
  const pages = addressed ? Math.max(0, last - first + 1) : 0;
  observer.flush(operation.index, asid, hi, lo, dropped, pages);
}

/**
 * Does the TLBI name what is cached of an entry that stands there? The same rule as `invalidate` has, for checks. The
 * granule of a range and of a level hint is taken to be that of the tables.
 */
export function names(scope: TlbiScope, place: CachedPlace): boolean {
  const { operation } = scope;
  const { address, shift, level, leaf, asid } = place;
  if (!leaf && operation.lastLevel) return false;
  const isGlobal = leaf && place.global;
  if (operation.type === 'ASID') return asid === scope.asid && !isGlobal;
  if (scope.asid >= 0 && asid !== scope.asid && !isGlobal) return false;
  if (scope.level !== ANY_LEVEL && (leaf ? level !== scope.level : level >= scope.level)) return false;
  return overlaps(scope, Number((address >> 12n) & 0xfff_ffff_ffffn), shift);
}

const ASID_OR_GLOBAL = Tag.ASID_MASK | Tag.GLOBAL;

/** Leaf entries. */
function dropLeaves(tlb: Tlb, scope: TlbiScope): number {
  const { operation, asid, first, last } = scope;
  if (operation.type === 'VMALL') return tlb.dropAll();
  const own = asid << Tag.ASID_SHIFT;
  if (operation.type === 'ASID') return tlb.dropWhere(ASID_OR_GLOBAL, own);
  if (first === last) return dropLeavesAt(tlb, scope);
  return tlb.dropMatching(
    (tagLo, tagHi) =>
      (asid < 0 || (tagHi & Tag.GLOBAL) !== 0 || (tagHi & Tag.ASID_MASK) === own) &&
      matchesLevel(scope, sizeOf(tagHi), granuleOf(tagHi)) &&
      overlaps(scope, firstPage(tagLo, tagHi), leafShift(granuleOf(tagHi), sizeOf(tagHi))),
  );
}

/** Leaf entries of one address: looked for where they would be found. */
function dropLeavesAt(tlb: Tlb, scope: TlbiScope): number {
  const { asid, first } = scope;
  const place = placeOf(first);
  if (place === null) return 0;
  let dropped = 0;
  for (const granule of [12, 14, 16]) {
    for (let size = 0; size <= 3; size++) {
      if (!matchesLevel(scope, size, granule)) continue;
      const shift = leafShift(granule, size);
      // At most 2^42 bytes (a level 1 block of 64 KiB granules): no bit of the second tag word is inside the page.
      const pageLo = place.lo & firstWordMask(shift);
      const set = setOf(place.lo, place.high, shift);
      const tag =
        Tag.VALID | place.high | (size << Tag.SIZE_SHIFT) | (granuleCode(granule) << Tag.GRANULE_SHIFT);
      if (asid < 0) {
        dropped += tlb.dropFrom(pageLo, ~ASID_OR_GLOBAL, tag, set);
      } else {
        dropped += tlb.drop(pageLo, tag | (asid << Tag.ASID_SHIFT), set);
        dropped += tlb.drop(pageLo, tag | Tag.GLOBAL, set);
      }
    }
  }
  return dropped;
}

/** Entries of the walk caches: each belongs to one ASID. */
function dropTables(mmu: Translation, scope: TlbiScope): number {
  const { operation, asid } = scope;
  const { pagingStructure } = mmu;
  if (operation.type === 'VMALL') return pagingStructure.dropAll();
  const own = asid << Tag.ASID_SHIFT;
  if (operation.type === 'ASID') return pagingStructure.dropWhere(Tag.ASID_MASK, own);
  let dropped = 0;
  pagingStructure.levels.forEach((cache, seamLevel) => {
    const size = seamLevel - 1;
    // The seam counts from 1, the last level; a hint of level L names table entries of levels before L.
    if (scope.level !== ANY_LEVEL && 4 - seamLevel >= scope.level) return;
    dropped += cache.dropMatching((tagLo, tagHi) => {
      if (asid >= 0 && (tagHi & Tag.ASID_MASK) !== own) return false;
      const granule = granuleOf(tagHi);
      if (scope.granule !== 0 && scope.granule !== granule) return false;
      return overlaps(scope, firstPage(tagLo, tagHi), leafShift(granule, size));
    });
  });
  return dropped;
}

/** May the leaf be of this size and granule, as far as the level hint and a range's granule say? */
function matchesLevel({ level, granule }: TlbiScope, size: number, entryGranule: number): boolean {
  return (level === ANY_LEVEL || level === 3 - size) && (granule === 0 || granule === entryGranule);
}

const sizeOf = (tagHi: number): number => (tagHi & Tag.SIZE_MASK) >> Tag.SIZE_SHIFT;
const granuleOf = (tagHi: number): number => granuleShiftOf((tagHi & Tag.GRANULE_MASK) >> Tag.GRANULE_SHIFT);

/** VA[55:12] of the first byte that an entry with this tag translates. */
export function firstPage(tagLo: number, tagHi: number): number {
  const page = (tagHi & Tag.PAGE_HIGH_MASK) * 2 ** 32 + (tagLo >>> 0);
  // Tags hold VA[52:12]; VA[55:53] are as VA[52].
  return (tagHi & Tag.UPPER_RANGE) !== 0 ? page + (2 ** 44 - 2 ** 41) : page;
}

/** Does an entry of 2^shift bytes from a page on translate any address of the scope? */
function overlaps({ first, last }: TlbiScope, page: number, shift: number): boolean {
  return first <= page + 2 ** (shift - 12) - 1 && last >= page;
}

/** VA[43:12] and VA[52:44] of an address that a tag can hold; null for one that no walk translates. */
function placeOf(page: number): { readonly lo: number; readonly high: number } | null {
  const top = Math.floor(page / 2 ** 40);
  if (top !== 0 && top !== 0xf) return null;
  // `|` takes the low 32 bits, which is what the tag wants of a number of up to 44 bits.
  return { lo: page | 0, high: Math.floor(page / 2 ** 32) & Tag.PAGE_HIGH_MASK };
}
