/**
 * What each event drops from the TLBs and the paging-structure caches: no more than the manual demands.
 * Operand checks (#GP) and the scope of a register write come before, in control-registers.ts.
 * Left out: VPIDs and other tags of virtualization, task switches, INVLPGB.
 *
 * @see Intel SDM vol. 3A, "Invalidation of TLBs and Paging-Structure Caches"
 */
import { TlbTag } from '../../hardware/tlb.ts';
import type { FlushScope } from './control-registers.ts';
import { EFER } from './registers.ts';
import type { Translation } from './translation.ts';

/** The events, as told to the observer. */
export const FlushEvent = {
  /** INVLPG: the address in the current PCID and in global entries; the current PCID's paging-structure caches. */
  Invlpg: 1,
  /** INVPCID 0: the address in the PCID named, not global entries. */
  InvpcidAddress: 2,
  /** INVPCID 1: all of the PCID named but global entries. */
  InvpcidContext: 3,
  /** INVPCID 2: everything. */
  InvpcidAllGlobal: 4,
  /** INVPCID 3: everything but global entries. */
  InvpcidAll: 5,
  /** MOV to CR3 without bit 63: all of the new PCID but global entries. */
  Cr3: 6,
  /** MOV to CR0: everything, if it cleared PG. */
  Cr0: 7,
  /** MOV to CR4: by the bits it changed, see control-registers.ts. */
  Cr4: 8,
  /** A page fault: the address in the current PCID and in global entries. */
  PageFault: 9,
} as const;
export type FlushEvent = (typeof FlushEvent)[keyof typeof FlushEvent];

export const FLUSH_EVENT_NAMES: Readonly<Record<number, string>> = {
  [FlushEvent.Invlpg]: 'INVLPG',
  [FlushEvent.InvpcidAddress]: 'INVPCID individual-address',
  [FlushEvent.InvpcidContext]: 'INVPCID single-context',
  [FlushEvent.InvpcidAllGlobal]: 'INVPCID all-context including globals',
  [FlushEvent.InvpcidAll]: 'INVPCID all-context',
  [FlushEvent.Cr3]: 'MOV to CR3',
  [FlushEvent.Cr0]: 'MOV to CR0',
  [FlushEvent.Cr4]: 'MOV to CR4',
  [FlushEvent.PageFault]: 'page fault',
};

const TCE = EFER.half('TCE').lo;

const PREFIX_MASK = [0, 0, ~0x1ff, ~0x3ffff, ~0x7ffffff, 0] as const;

/**
 * INVLPG. A non-canonical address drops nothing; linear-address masking does not apply.
 * With AMD's EFER.TCE, only the paging-structure entries that the address uses go.
 * @see Intel SDM vol. 2A, "INVLPG—Invalidate TLB Entries"; AMD APM vol. 2, "Extended Feature Enable Register (EFER)", Translation Cache Extension
 */
export function invlpg(mmu: Translation, hi: number, lo: number): void {
  if (!isCanonical(mmu, hi)) return;
  const context = contextTag(mmu.pcid);
  let dropped = dropPage(mmu, hi, lo, context, true);
  if ((mmu.state.efer & TCE) !== 0) dropped += dropPagingStructure(mmu, hi, lo, context);
  else dropped += mmu.pagingStructure.dropWhere(TlbTag.CONTEXT_MASK, context);
  tell(mmu, FlushEvent.Invlpg, mmu.pcid, hi, lo, dropped);
}

/**
 * INVPCID. @param type 0 to 3 @param pcid bits 11:0 of the descriptor @param hi @param lo its linear address (type 0)
 * Type 0 drops the paging-structure entries that the address uses; on AMD without EFER.TCE it drops all of them, as
 * INVLPG does. AMD does not say of which PCIDs: here those of the PCID named, which is the least that this can mean.
 * @see Intel SDM vol. 2A, "INVPCID—Invalidate Process-Context Identifier"
 * @see AMD APM vol. 2, "Extended Feature Enable Register (EFER)", Translation Cache Extension
 */
export function invpcid(mmu: Translation, type: number, pcid: number, hi: number, lo: number): void {
  const context = contextTag(pcid);
  if (type === 0) {
    let dropped = dropPage(mmu, hi, lo, context, false);
    const allUpper = mmu.features.vendor === 'amd' && (mmu.state.efer & TCE) === 0;
    if (allUpper) dropped += mmu.pagingStructure.dropWhere(TlbTag.CONTEXT_MASK, context);
    else dropped += dropPagingStructure(mmu, hi, lo, context);
    tell(mmu, FlushEvent.InvpcidAddress, pcid, hi, lo, dropped);
  } else if (type === 1) {
    tell(mmu, FlushEvent.InvpcidContext, pcid, 0, 0, dropContext(mmu, context));
  } else if (type === 2) {
    tell(mmu, FlushEvent.InvpcidAllGlobal, 0, 0, 0, mmu.dropAll());
  } else {
    tell(mmu, FlushEvent.InvpcidAll, 0, 0, 0, dropNonGlobal(mmu));
  }
}

/**
 * MOV to CR3, after the new value is in `mmu.state` and `updateControls` was called. With CR4.PCIDE = 1 and bit 63 of
 * the operand (`keep`) nothing is dropped; else what is cached for the new PCID (000H without PCIDs), but not global
 * entries.
 */
export function flushForCr3(mmu: Translation, keep: boolean): void {
  if (keep) return;
  tell(mmu, FlushEvent.Cr3, mmu.pcid, 0, 0, dropContext(mmu, contextTag(mmu.pcid)));
}

/**
 * Drops what a register write has to drop; which scope that is, control-registers.ts says. To be called after the new
 * value is in force.
 */
export function applyFlush(mmu: Translation, event: FlushEvent, scope: FlushScope): void {
  if (scope.kind === 'none') return;
  if (scope.kind === 'everything') {
    tell(mmu, event, 0, 0, 0, mmu.dropAll());
    return;
  }
  let dropped = dropContext(mmu, contextTag(scope.pcid));
  if (scope.kind === 'pcid-and-global') {
    for (const tlb of mmu.tlbs) dropped += tlb.dropWhere(TlbTag.GLOBAL, TlbTag.GLOBAL);
  }
  tell(mmu, event, scope.pcid, 0, 0, dropped);
}

/**
 * A page fault at an address drops the TLB entries and the paging-structure entries that would be used for it, also
 * global ones, so that the same access cannot fault again for a reason that is no longer in memory.
 */
export function pageFaultFlush(mmu: Translation, hi: number, lo: number): void {
  const context = contextTag(mmu.pcid);
  const dropped = dropPage(mmu, hi, lo, context, true) + dropPagingStructure(mmu, hi, lo, context);
  if (dropped > 0) tell(mmu, FlushEvent.PageFault, mmu.pcid, hi, lo, dropped);
}

const contextTag = (pcid: number): number => pcid << TlbTag.CONTEXT_SHIFT;

function isCanonical(mmu: Translation, hi: number): boolean {
  const shift = mmu.walker.topLevel === 5 ? 7 : 16;
  return (hi << shift) >> shift === hi;
}

/** Drops the TLB entries of the page around an address, whatever its size. */
function dropPage(mmu: Translation, hi: number, lo: number, context: number, global: boolean): number {
  const tagLo = (lo >>> 12) | (hi << 20);
  const pageHigh = ((hi >>> 12) & TlbTag.PAGE_HIGH_MASK) | TlbTag.VALID;
  let dropped = 0;
  for (const tlb of mmu.tlbs) {
    if (!tlb.used) continue;
    for (let size = 0; size <= 2; size++) {
      const pageLo = tagLo & ~((1 << (9 * size)) - 1);
      const sized = pageHigh | (size << TlbTag.SIZE_SHIFT);
      const set = tagLo >>> (9 * size);
      dropped += tlb.drop(pageLo, sized | context, set);
      if (global) dropped += tlb.drop(pageLo, sized | TlbTag.GLOBAL, set);
    }
  }
  return dropped;
}

/** Drops the paging-structure entries that a walk of the address would use. */
function dropPagingStructure(mmu: Translation, hi: number, lo: number, context: number): number {
  const tagLo = (lo >>> 12) | (hi << 20);
  const tagHi = ((hi >>> 12) & TlbTag.PAGE_HIGH_MASK) | TlbTag.VALID | context;
  let dropped = 0;
  for (let level = 2; level <= 4; level++) {
    const cache = mmu.pagingStructure.levels[level];
    const prefix = PREFIX_MASK[level] as number;
    if (cache?.used) dropped += cache.drop(tagLo & prefix, tagHi, tagLo >>> (9 * (level - 1)));
  }
  const top = mmu.pagingStructure.levels[5];
  if (top?.used) dropped += top.drop(0, tagHi & ~0xf, tagHi >>> 4);
  return dropped;
}

/** Everything of one PCID but global TLB entries. */
function dropContext(mmu: Translation, context: number): number {
  let dropped = mmu.pagingStructure.dropWhere(TlbTag.CONTEXT_MASK, context);
  for (const tlb of mmu.tlbs) dropped += tlb.dropWhere(TlbTag.CONTEXT_MASK | TlbTag.GLOBAL, context);
  return dropped;
}

/** Everything but global TLB entries. */
function dropNonGlobal(mmu: Translation): number {
  let dropped = mmu.pagingStructure.dropAll();
  for (const tlb of mmu.tlbs) dropped += tlb.dropWhere(TlbTag.GLOBAL, 0);
  return dropped;
}

function tell(
  mmu: Translation,
  event: FlushEvent,
  pcid: number,
  hi: number,
  lo: number,
  dropped: number,
): void {
  if (mmu.observer !== null) mmu.observer.flush(event, pcid, hi, lo, dropped);
}
