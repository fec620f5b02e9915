/**
 * Translation by one arm64 CPU at EL1&0, stage 1. (First version: the API, so that others can build on it; every translation is a Translation fault.)
 */

import { PagingStructureCaches } from '../../hardware/paging-structure-cache.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { GOLDEN_COVE, NO_CACHE, type Retention, type TlbProfile } from '../../hardware/retention.ts';
import { Tlb } from '../../hardware/tlb.ts';
import { FaultKind, FaultSlot } from '../fault.ts';
import type { WalkObserver } from '../walk-observer.ts';
import {
  Cached,
  cachedAttributeIndex,
  cachedPageShift,
  cachedShareability,
  cachedSize,
} from './cached-translation.ts';
import { ARM64_COMPLETE, type Arm64Features } from './features.ts';
import { type Arm64MmuOptions, Arm64State } from './state.ts';

export class Translation {
  readonly state = new Arm64State();
  readonly memory: PhysicalMemory;
  readonly retention: Retention;
  readonly profile: TlbProfile;
  readonly fault = new FaultSlot();
  features: Arm64Features;
  /** First level, pages; then blocks; then the second level, all sizes. */
  readonly dataTlb: Tlb;
  readonly fetchTlb: Tlb;
  readonly largeDataTlb: Tlb;
  readonly largeFetchTlb: Tlb;
  readonly secondTlb: Tlb;
  readonly pagingStructure: PagingStructureCaches;
  /** The translation used last, high word: see `Cached`; `dataHi < 0` is Tagged Normal memory. */
  dataHi = 0;
  paLo = 0;
  secondLevelHits = 0;
  observer: WalkObserver | null = null;

  constructor(memory: PhysicalMemory, options: Arm64MmuOptions = {}) {
    const { features = ARM64_COMPLETE, retention = 'profile', profile = GOLDEN_COVE } = options;
    this.memory = memory;
    this.features = features;
    this.retention = retention;
    this.profile = profile;
    const make = (geometry: { sets: number; ways: number }): Tlb =>
      new Tlb(retention === 'none' ? NO_CACHE : geometry);
    this.dataTlb = make(profile.data);
    this.fetchTlb = make(profile.fetch);
    this.largeDataTlb = make(profile.dataLarge);
    this.largeFetchTlb = make(profile.fetchLarge);
    this.secondTlb = make(profile.second);
    this.pagingStructure = new PagingStructureCaches(profile, retention);
  }

  /** Bits 51:32 of the output address of the last translation. */
  get paHi(): number {
    return this.dataHi & Cached.ADDRESS_HIGH;
  }

  /** The byte of MAIR_EL1 that describes the memory last translated to. */
  get memoryAttribute(): number {
    const index = cachedAttributeIndex(this.dataHi);
    const half = index < 4 ? this.state.mairLo : this.state.mairHi;
    return (half >>> (8 * (index & 3))) & 0xff;
  }

  /** SH of the memory last translated to, as descriptors encode it, whatever the memory type. */
  get shareability(): number {
    return cachedShareability(this.dataHi);
  }

  /** Is the memory last translated to Tagged Normal memory? */
  get tagged(): boolean {
    return this.dataHi < 0;
  }

  /** log2 of the bytes of the page or block last translated through. */
  get pageShift(): number {
    return cachedPageShift(this.dataHi);
  }

  /** The level of the leaf last translated through, 1 for a page (the last level) as in `FaultSlot.level`. */
  get leafLevel(): number {
    return cachedSize(this.dataHi) + 1;
  }

  /** Translates a byte address. @returns 0 with `paHi`/`paLo`; or a fault kind, with the cause in `fault` */
  translate(_hi: number, _lo: number, _access: number): FaultKind {
    return FaultKind.NotPresent;
  }

  /**
   * As `translate`, for an access that is not aligned to its size: a fault if the memory is of a Device type. That is
   * checked after the Access flag and before permissions, hence here.
   */
  translateUnaligned(hi: number, lo: number, access: number): FaultKind {
    return this.translate(hi, lo, access);
  }

  /**
   * As `translate`, and nothing is changed in memory: a clear Access flag that hardware would set and dirty state that
   * it would set count as set. For address translation instructions. Does not use or fill the TLBs.
   */
  probe(hi: number, lo: number, access: number): FaultKind {
    return this.translate(hi, lo, access);
  }

  /** As `translate`, by walking from TTBRn_EL1: no cache is asked or filled. */
  walkUncached(hi: number, lo: number, access: number): FaultKind {
    return this.translate(hi, lo, access);
  }

  /** A translation made ahead of any access: fills caches, sets the Access flag, never dirty state, never faults. */
  speculativeFill(_hi: number, _lo: number, _fetch = false): boolean {
    return false;
  }

  /** To be called after any change of `state` or `features`; drops nothing. */
  updateControls(): void {}

  /** PSTATE.PAN and PSTATE.UAO alone. Cheap. */
  setPan(on: boolean): void {
    this.state.pan = on;
  }
  setUao(on: boolean): void {
    this.state.uao = on;
  }

  /** The current ASID, of the register that TCR_EL1.A1 names, 8 or 16 bits. */
  get asid(): number {
    return 0;
  }

  /** As after power-up: every cache empty, without telling the observer. Registers stay. */
  reset(): void {
    this.dropAll();
    this.secondLevelHits = 0;
  }

  /** Empties every cache. @returns how many entries were dropped */
  dropAll(): number {
    let dropped = this.pagingStructure.dropAll();
    for (const tlb of this.tlbs) dropped += tlb.dropAll();
    return dropped;
  }

  /** Every TLB; the paging-structure caches are apart. */
  get tlbs(): readonly Tlb[] {
    return [this.dataTlb, this.fetchTlb, this.largeDataTlb, this.largeFetchTlb, this.secondTlb];
  }
}
