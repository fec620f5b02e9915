/**
 * What each CPU's TLBs and walk caches hold, in the words of the generic kernel: which mm an entry belongs to follows from
 * its ASID and Linux's generations. Reading changes nothing, not even the order of use.
 * With permission indirection the bits of a leaf mean to Linux what they mean without.
 * Left out: the upper address range (the kernel's own), rights that cached table descriptors combine, permission overlays
 * (Linux's tables here have none), pages that only EL0 may execute and not read as user pages.
 */

import type { Tlb } from '../../../hardware/tlb.ts';
import type { CachedPlace } from '../../break-before-make.ts';
import type { MmContext } from '../../kernel-arch.ts';
import { EntryFlag } from '../../paging-format.ts';
import type { CachedTable, CachedTranslation, TlbView, TranslationVisitor } from '../../tlb-view.ts';
import { Cached, leafShift } from '../cached-translation.ts';
import { firstPage, names } from '../invalidation.ts';
import type { Arm64Mmu } from '../mmu.ts';
import { Right } from '../permissions.ts';
import { TCR_EL1 } from '../registers.ts';
import { granuleCode, granuleShiftOf, setOf, Tag } from '../tlb-tag.ts';
import type { TlbiScope } from '../tlbi-operands.ts';
import type { Arm64KernelArch } from './arm64-kernel-arch.ts';
import type { Arm64MmContext } from './asid.ts';

/** In the order of `Translation.tlbs`; the instruction TLBs are those at odd places below 4. */
const TLB_NAMES = ['L1 DTLB', 'L1 ITLB', 'L1 DTLB (blocks)', 'L1 ITLB (blocks)', 'L2 TLB'] as const;
const isFetchTlb = (index: number): boolean => index === 1 || index === 3;

const HARDWARE_DIRTY = TCR_EL1.half('HA', 'HD').hi;

export class Arm64TlbView implements TlbView {
  readonly #arch: Arm64KernelArch;

  constructor(arch: Arm64KernelArch) {
    this.#arch = arch;
  }

  cachedTranslations(cpu: number, contexts: readonly MmContext[]): CachedTranslation[] {
    const { mmus, domain } = this.#arch;
    const mmu = mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    const owners = this.#owners(cpu, contexts);
    const hardwareDirty = (mmu.state.tcrHi & HARDWARE_DIRTY) === HARDWARE_DIRTY;
    const found: CachedTranslation[] = [];
    mmu.tlbs.forEach((tlb, index) => {
      const pending = domain.pendingFor(cpu, isFetchTlb(index) ? 'fetch' : 'data');
      tlb.forEach((tagLo, tagHi, dataLo, dataHi) => {
        if ((tagHi & Tag.UPPER_RANGE) !== 0) return;
        const size = (tagHi & Tag.SIZE_MASK) >> Tag.SIZE_SHIFT;
        const place = placeOf(tagLo, tagHi, size, true);
        found.push({
          ...describe(cpu, TLB_NAMES[index] as string, owners, pending, place),
          frame: frameOf(dataLo, dataHi),
          flags: entryFlags(dataLo, dataHi, hardwareDirty),
        });
      });
    });
    return found;
  }

  cachedTables(cpu: number, contexts: readonly MmContext[], frame?: number): CachedTable[] {
    const { mmus, domain, format } = this.#arch;
    const mmu = mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    const owners = this.#owners(cpu, contexts);
    const pending = domain.pendingFor(cpu, 'data');
    const found: CachedTable[] = [];
    mmu.pagingStructure.levels.forEach((entries, seamLevel) => {
      entries.forEach((tagLo, tagHi, dataLo, dataHi) => {
        if ((tagHi & Tag.UPPER_RANGE) !== 0) return;
        if (frame !== undefined && frameOf(dataLo, dataHi) !== frame) return;
        const place = placeOf(tagLo, tagHi, seamLevel - 1, false);
        const described = describe(cpu, `level ${4 - seamLevel} walk cache`, owners, pending, place);
        found.push({
          ...described,
          frame: frameOf(dataLo, dataHi),
          level: format.levels.length - seamLevel,
          loaded: owners.get(place.asid)?.loaded ?? false,
        });
      });
    });
    return found;
  }

  visitTranslations(cpu: number, context: MmContext, page: number, visit: TranslationVisitor): void {
    const { mmus, cpus, asids, format } = this.#arch;
    const { id } = context as Arm64MmContext;
    const running = cpus[cpu]?.activeMm === context;
    if (id === 0 || !(running || asids.isCurrent(id))) return;
    // A CPU that has yet to empty its TLB for a new generation does so before it runs anything else.
    if (!running && asids.cpus[cpu]?.flushPending === true) return;
    const mmu = mmus[cpu] as Arm64Mmu;
    const hardwareDirty = (mmu.state.tcrHi & HARDWARE_DIRTY) === HARDWARE_DIRTY;
    const found: EntryVisitor = (dataLo, dataHi, inside) =>
      visit(cpu, frameOf(dataLo, dataHi) + inside, entryFlags(dataLo, dataHi, hardwareDirty));
    visitEntries(mmu.tlbs, asids.asidOf(context as Arm64MmContext), page, format.pageShift, found);
  }

  namesTable(cpu: number, frame: number): boolean {
    const { levels } = (this.#arch.mmus[cpu] as Arm64Mmu).pagingStructure;
    for (const entries of levels) if (entries.used && holdsFrame(entries, frame)) return true;
    return false;
  }

  invalidationOf(page: number, asid: number): string {
    const address = `0x${(BigInt(page) << 12n).toString(16)}`;
    return asid < 0 ? `TLBI VAAE1IS ${address}` : `TLBI VAE1IS ${address} (ASID ${asid})`;
  }

  /**
   * Whose entries each ASID tags on a CPU. An mm of an older generation has no ASID but on a CPU that runs it; on a CPU
   * that has yet to empty its TLB for a new generation nothing is trusted but what it runs.
   */
  #owners(cpu: number, contexts: readonly MmContext[]): ReadonlyMap<number, Owner> {
    const { asids, cpus } = this.#arch;
    const active = cpus[cpu]?.activeMm;
    const flushPending = asids.cpus[cpu]?.flushPending ?? false;
    const owners = new Map<number, Owner>();
    for (const context of contexts as readonly Arm64MmContext[]) {
      const loaded = context === active;
      if (context.id === 0 || !(loaded || asids.isCurrent(context.id))) continue;
      const asid = asids.asidOf(context);
      if (!loaded && owners.has(asid)) continue;
      owners.set(asid, { mm: context.name, trusted: loaded || !flushPending, loaded });
    }
    return owners;
  }
}

type EntryVisitor = (dataLo: number, dataHi: number, inside: number) => void;

/** Of the TLBs in the order of `TLB_NAMES`, those of each size of pages and blocks. */
function visitEntries(
  tlbs: readonly Tlb[],
  asid: number,
  page: number,
  granuleShift: number,
  visit: EntryVisitor,
): void {
  const granule = granuleCode(granuleShift) << Tag.GRANULE_SHIFT;
  for (let index = 0; index < tlbs.length; index++) {
    const tlb = tlbs[index] as Tlb;
    if (!tlb.used) continue;
    const smallest = index === 2 || index === 3 ? 1 : 0;
    const largest = index < 2 ? 0 : 3;
    for (let size = smallest; size <= largest; size++) {
      const shift = leafShift(granuleShift, size);
      const inside = page % 2 ** (shift - 12);
      const first = page - inside;
      const tagLo = first | 0;
      const high = Math.floor(first / 2 ** 32) & Tag.PAGE_HIGH_MASK;
      const tagHi = Tag.VALID | (asid << Tag.ASID_SHIFT) | (size << Tag.SIZE_SHIFT) | granule | high;
      const at = tlb.find(tagLo, tagHi, setOf(tagLo, tagHi, shift));
      if (at >= 0) visit(tlb.entries[at + 2] as number, tlb.entries[at + 3] as number, inside);
    }
  }
}

function holdsFrame(tlb: Tlb, frame: number): boolean {
  let found = false;
  tlb.forEach((_tagLo, _tagHi, dataLo, dataHi) => {
    if (frameOf(dataLo, dataHi) === frame) found = true;
  });
  return found;
}

interface Owner {
  readonly mm: string;
  readonly trusted: boolean;
  readonly loaded: boolean;
}

/** Where the entry stands that was cached. */
function placeOf(tagLo: number, tagHi: number, size: number, leaf: boolean): CachedPlace {
  const granule = granuleShiftOf((tagHi & Tag.GRANULE_MASK) >> Tag.GRANULE_SHIFT);
  return {
    address: BigInt(firstPage(tagLo, tagHi)) << 12n,
    shift: leafShift(granule, size),
    level: 3 - size,
    leaf,
    global: (tagHi & Tag.GLOBAL) !== 0,
    asid: (tagHi & Tag.ASID_MASK) >>> Tag.ASID_SHIFT,
  };
}

function describe(
  cpu: number,
  cache: string,
  owners: ReadonlyMap<number, Owner>,
  pending: readonly TlbiScope[],
  place: CachedPlace,
) {
  const owner = place.global ? undefined : owners.get(place.asid);
  return {
    cpu,
    cache,
    page: Number(place.address >> 12n),
    pages: 2 ** (place.shift - 12),
    asid: place.global ? -1 : place.asid,
    mm: owner?.mm ?? null,
    trusted: (owner?.trusted ?? false) && !pending.some((scope) => names(scope, place)),
  };
}

/** Output address or table, as a frame of 4 KiB. */
const frameOf = (dataLo: number, dataHi: number): number =>
  (dataHi & Cached.ADDRESS_HIGH) * 2 ** 20 + (dataLo >>> 12);

function entryFlags(dataLo: number, dataHi: number, hardwareDirty: boolean): number {
  let flags: number = EntryFlag.Present | EntryFlag.Read;
  const dirty = (dataLo & Right.ReadOnly) === 0;
  if ((dataLo & Right.El0) !== 0) flags |= EntryFlag.User;
  if (dirty || (hardwareDirty && (dataLo & Right.Dbm) !== 0)) flags |= EntryFlag.Write;
  if ((dataLo & Right.Uxn) === 0) flags |= EntryFlag.Exec;
  if (dirty) flags |= EntryFlag.Dirty;
  if ((dataHi & Cached.GLOBAL) !== 0) flags |= EntryFlag.Global;
  return flags;
}
