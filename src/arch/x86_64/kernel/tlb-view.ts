/**
 * What each CPU's TLBs and paging-structure caches hold, in the words of the generic kernel: which mm an entry belongs to follows from the PCID and
 * Linux's table of slots. Reading changes nothing, not even the order of use.
 * Left out: the rights that cached upper entries combine.
 */
import { type Tlb, TlbTag } from '../../../hardware/tlb.ts';
import type { MmContext } from '../../kernel-arch.ts';
import { EntryFlag } from '../../paging-format.ts';
import type { CachedTable, CachedTranslation, TlbView, TranslationVisitor } from '../../tlb-view.ts';
import { Cached, cachedSize } from '../cached-translation.ts';
import type { X86Mmu } from '../mmu.ts';
import { Right } from '../permissions.ts';
import type { X86KernelCpu } from './switch-mm.ts';
import { DYNAMIC_ASIDS, type X86MmContext } from './tlb-state.ts';
import type { X86KernelArch } from './x86-kernel-arch.ts';

/** In the order of `X86Mmu.tlbs`. */
const TLB_NAMES = ['L1 DTLB', 'L1 ITLB', 'L1 DTLB (large pages)', 'L1 ITLB (large pages)', 'L2 TLB'] as const;

/** By level as x86 counts them, of the cached entry. */
const TABLE_CACHE_NAMES = ['', '', 'PDE cache', 'PDPTE cache', 'PML4E cache', 'PML5E cache'] as const;

export class X86TlbView implements TlbView {
  readonly #arch: X86KernelArch;

  constructor(arch: X86KernelArch) {
    this.#arch = arch;
  }

  cachedTranslations(cpu: number, contexts: readonly MmContext[]): CachedTranslation[] {
    const mmu = this.#arch.mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    const owners = this.#owners(cpu, contexts);
    const found: CachedTranslation[] = [];
    mmu.tlbs.forEach((tlb, index) => {
      const cache = TLB_NAMES[index] as string;
      tlb.forEach((tagLo, tagHi, dataLo, dataHi) => {
        found.push(translationOf(cpu, cache, owners, { tagLo, tagHi, dataLo, dataHi }));
      });
    });
    return found;
  }

  cachedTables(cpu: number, contexts: readonly MmContext[], frame?: number): CachedTable[] {
    const mmu = this.#arch.mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    const owners = this.#owners(cpu, contexts);
    const { levels } = this.#arch.format;
    const found: CachedTable[] = [];
    mmu.pagingStructure.levels.forEach((entries, level) => {
      const cache = TABLE_CACHE_NAMES[level] as string;
      entries.forEach((tagLo, tagHi, dataLo, dataHi) => {
        if (frame !== undefined && frameOf(dataLo, dataHi) !== frame) return;
        const place = placeOf(cpu, cache, owners, { tagLo, tagHi, dataLo, dataHi });
        const loaded = owners.get(place.asid)?.loaded ?? false;
        found.push({ ...place, pages: 2 ** (9 * (level - 1)), level: levels.length - level, loaded });
      });
    });
    return found;
  }

  visitTranslations(cpu: number, context: MmContext, page: number, visit: TranslationVisitor): void {
    const { state, hasPcid } = this.#arch.cpus[cpu] as X86KernelCpu;
    const { contextId, tlbGeneration } = context as X86MmContext;
    const { tlbs } = this.#arch.mmus[cpu] as X86Mmu;
    for (let slot = 0; slot < DYNAMIC_ASIDS; slot++) {
      if (state.contextIds[slot] !== contextId) continue;
      const current = (state.generations[slot] as number) >= tlbGeneration;
      const loaded = state.loadedMm === context && state.loadedAsid === slot;
      // A lazy CPU is not interrupted; until it has left that state it runs no program and compares generations first.
      const running = loaded && !state.isLazy && !state.leavesLazy;
      if (current || running) visitEntries(tlbs, cpu, hasPcid ? slot + 1 : 0, page, visit);
    }
  }

  namesTable(cpu: number, frame: number): boolean {
    const { levels } = (this.#arch.mmus[cpu] as X86Mmu).pagingStructure;
    for (const entries of levels) if (entries.used && holdsFrame(entries, frame)) return true;
    return false;
  }

  invalidationOf(page: number, asid: number): string {
    const address = `0x${(BigInt(page) << 12n).toString(16)}`;
    return asid < 0 ? `INVLPG ${address}` : `INVLPG ${address} (PCID ${asid})`;
  }

  /** Whose entries each PCID tags on a CPU. */
  #owners(cpu: number, contexts: readonly MmContext[]): Map<number, Owner> {
    const { state, hasPcid } = this.#arch.cpus[cpu] as X86KernelCpu;
    const owners = new Map<number, Owner>();
    for (const context of contexts as readonly X86MmContext[]) {
      for (let slot = 0; slot < DYNAMIC_ASIDS; slot++) {
        if (state.contextIds[slot] !== context.contextId) continue;
        const trusted = (state.generations[slot] as number) >= context.tlbGeneration;
        const loaded = state.loadedMm === context && state.loadedAsid === slot;
        owners.set(hasPcid ? slot + 1 : 0, { mm: context.name, trusted, loaded });
      }
    }
    return owners;
  }
}

/** log2 of the pages of a translation, by its size field. */
const SIZE_BITS = [0, 9, 18] as const;

/** Of the TLBs in the order of `TLB_NAMES`, those of each size of pages. */
function visitEntries(
  tlbs: readonly Tlb[],
  cpu: number,
  pcid: number,
  page: number,
  visit: TranslationVisitor,
): void {
  for (let index = 0; index < tlbs.length; index++) {
    const tlb = tlbs[index] as Tlb;
    if (!tlb.used) continue;
    const smallest = index === 2 || index === 3 ? 1 : 0;
    const largest = index < 2 ? 0 : 2;
    for (let size = smallest; size <= largest; size++) {
      const pages = 2 ** (SIZE_BITS[size] as number);
      const inside = page % pages;
      const first = page - inside;
      const tagLo = first | 0;
      const high = Math.floor(first / 2 ** 32) & TlbTag.PAGE_HIGH_MASK;
      const tagHi = TlbTag.VALID | (pcid << TlbTag.CONTEXT_SHIFT) | (size << TlbTag.SIZE_SHIFT) | high;
      const at = tlb.find(tagLo, tagHi, tagLo >>> (SIZE_BITS[size] as number));
      if (at < 0) continue;
      const dataLo = tlb.entries[at + 2] as number;
      const dataHi = tlb.entries[at + 3] as number;
      visit(cpu, frameOf(dataLo, dataHi) + inside, entryFlags(dataLo, dataHi));
    }
  }
}

const frameOf = (dataLo: number, dataHi: number): number =>
  (dataHi & Cached.ADDRESS_HIGH) * 2 ** 20 + (dataLo >>> 12);

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

interface TlbEntry {
  readonly tagLo: number;
  readonly tagHi: number;
  readonly dataLo: number;
  readonly dataHi: number;
}

function translationOf(
  cpu: number,
  cache: string,
  owners: ReadonlyMap<number, Owner>,
  entry: TlbEntry,
): CachedTranslation {
  const { dataLo, dataHi } = entry;
  return {
    ...placeOf(cpu, cache, owners, entry),
    pages: 2 ** (9 * cachedSize(dataHi)),
    flags: entryFlags(dataLo, dataHi),
  };
}

/** What both kinds of entry say in the same bits. */
function placeOf(
  cpu: number,
  cache: string,
  owners: ReadonlyMap<number, Owner>,
  { tagLo, tagHi, dataLo, dataHi }: TlbEntry,
) {
  const isGlobal = (tagHi & TlbTag.GLOBAL) !== 0;
  const asid = isGlobal ? -1 : (tagHi & TlbTag.CONTEXT_MASK) >>> TlbTag.CONTEXT_SHIFT;
  const owner = owners.get(asid);
  return {
    cpu,
    cache,
    page: signExtendedPage((tagHi & TlbTag.PAGE_HIGH_MASK) * 2 ** 32 + (tagLo >>> 0)),
    frame: frameOf(dataLo, dataHi),
    asid,
    mm: owner?.mm ?? null,
    trusted: owner?.trusted ?? false,
  };
}

/** The tag keeps bits 56:12 of the address; above them it is the sign. */
function signExtendedPage(page: number): number {
  return page >= 2 ** 44 ? page + (2 ** 52 - 2 ** 45) : page;
}

function entryFlags(dataLo: number, dataHi: number): number {
  let flags: number = EntryFlag.Present | EntryFlag.Read;
  if ((dataLo & Right.User) !== 0) flags |= EntryFlag.User;
  if ((dataLo & Right.Writable) !== 0) flags |= EntryFlag.Write;
  if ((dataLo & Right.ExecuteDisable) === 0) flags |= EntryFlag.Exec;
  if ((dataLo & Right.Dirty) !== 0) flags |= EntryFlag.Dirty;
  if ((dataHi & Cached.GLOBAL) !== 0) flags |= EntryFlag.Global;
  return flags;
}
