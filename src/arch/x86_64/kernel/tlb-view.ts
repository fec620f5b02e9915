/**
 * What each CPU's TLBs and paging-structure caches hold, in the words of the generic kernel: which mm an entry belongs to follows from the PCID and
 * Linux's table of slots. Reading changes nothing, not even the order of use.
 * Left out: the rights that cached upper entries combine.
 */
import { TlbTag } from '../../../hardware/tlb.ts';
import type { MmContext } from '../../kernel-arch.ts';
import { EntryFlag } from '../../paging-format.ts';
import type { CachedTable, CachedTranslation, TlbView } from '../../tlb-view.ts';
import { Cached, cachedSize } from '../cached-translation.ts';
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

  cachedTables(cpu: number, contexts: readonly MmContext[]): CachedTable[] {
    const mmu = this.#arch.mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    const owners = this.#owners(cpu, contexts);
    const { levels } = this.#arch.format;
    const found: CachedTable[] = [];
    mmu.pagingStructure.levels.forEach((entries, level) => {
      const cache = TABLE_CACHE_NAMES[level] as string;
      entries.forEach((tagLo, tagHi, dataLo, dataHi) => {
        const place = placeOf(cpu, cache, owners, { tagLo, tagHi, dataLo, dataHi });
        const loaded = owners.get(place.asid)?.loaded ?? false;
        found.push({ ...place, pages: 2 ** (9 * (level - 1)), level: levels.length - level, loaded });
      });
    });
    return found;
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
    frame: (dataHi & Cached.ADDRESS_HIGH) * 2 ** 20 + (dataLo >>> 12),
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
