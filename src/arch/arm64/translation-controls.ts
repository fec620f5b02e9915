/**
 * What one arm64 CPU's translation is made of, and what the registers make of it: the caches, the walker, and the
 * controls prepared from `state` whenever a register changed. Translating itself is translation.ts, which extends this.
 */
import { PagingStructureCaches } from '../../hardware/paging-structure-cache.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { NEOVERSE_V2, NO_CACHE, type Retention, type TlbProfile } from '../../hardware/retention.ts';
import { Tlb } from '../../hardware/tlb.ts';
import type { FaultSlot } from '../fault.ts';
import type { WalkObserver } from '../walk-observer.ts';
import { AddressRange, hardwareUpdates } from './address-range.ts';
import {
  Cached,
  cachedAttributeIndex,
  cachedPageShift,
  cachedShareability,
  cachedSize,
} from './cached-translation.ts';
import { ARM64_COMPLETE, type Arm64Features } from './features.ts';
import {
  attributeOf,
  DEVICE_NGNRNE,
  dataAttribute,
  isDevice,
  NORMAL_NON_CACHEABLE,
  NORMAL_WRITE_THROUGH,
  TAGGED_NORMAL,
} from './memory-attributes.ts';
import { PermissionMemo } from './permissions.ts';
import { type Arm64MmuOptions, Arm64State } from './state.ts';
import { SCTLR_EL1, TCR2_EL1 } from './system-registers.ts';
import { Tag } from './tlb-tag.ts';
import { Walker } from './walker.ts';

const M = SCTLR_EL1.half('M').lo;
const C = SCTLR_EL1.half('C').lo;
const I = SCTLR_EL1.half('I').lo;
const WXN = SCTLR_EL1.half('WXN').lo;
const EPAN = SCTLR_EL1.half('EPAN').hi;
const POE = TCR2_EL1.half('POE').lo;
const E0POE = TCR2_EL1.half('E0POE').lo;
const TOP_BYTE = 0xff000000 | 0;

/** What `translate` looks into while the MMU is off. */
const EMPTY = NO_CACHE;

export class TranslationControls {
  readonly state = new Arm64State();
  readonly memory: PhysicalMemory;
  readonly retention: Retention;
  readonly profile: TlbProfile;
  readonly walker: Walker;
  readonly memo = new PermissionMemo();
  readonly fault: FaultSlot;
  features: Arm64Features;

  /** First level, pages of the granule. */
  readonly dataTlb: Tlb;
  readonly fetchTlb: Tlb;
  /** First level, blocks. */
  readonly largeDataTlb: Tlb;
  readonly largeFetchTlb: Tlb;
  readonly secondTlb: Tlb;
  /** Walk caches: table descriptors by level. */
  readonly pagingStructure: PagingStructureCaches;
  /** The two address ranges, as the registers describe them. */
  readonly lower = new AddressRange(false);
  readonly upper = new AddressRange(true);

  paLo = 0;
  /** The translation that was used last, high word: see `Cached`; `dataHi < 0` is Tagged Normal memory. */
  dataHi = 0;
  secondLevelHits = 0;

  protected attached: WalkObserver | null = null;
  protected adversarial = false;
  /** The MMU is on and keeps no translation: every access walks. */
  protected uncached = false;
  /** SCTLR_EL1.M. */
  protected on = false;
  /** The first-level TLBs, or empty ones while the MMU is off: nothing is found in them then. */
  protected dataLookup: Tlb;
  protected fetchLookup: Tlb;
  protected readonly verdicts: Uint8Array;
  /** The class of each access, see `PermissionMemo.classes`. */
  protected classes: Uint16Array;
  /** A block may be cached somewhere. */
  protected hasLarge = false;
  /** MAIR_EL1 as data accesses see it. */
  protected readonly attributeBytes = new Uint8Array(8);
  /** The memory type of the last translation made while the MMU was off. */
  protected flatAttribute = DEVICE_NGNRNE;
  private readonly nothing = new Tlb(EMPTY);

  constructor(memory: PhysicalMemory, options: Arm64MmuOptions = {}) {
    const { features = ARM64_COMPLETE, retention = 'profile', profile = NEOVERSE_V2 } = options;
    this.memory = memory;
    this.features = features;
    this.retention = retention;
    this.profile = profile;
    this.adversarial = retention === 'adversarial';
    const make = (geometry: { sets: number; ways: number }): Tlb => {
      if (retention === 'none') return new Tlb(NO_CACHE);
      return this.adversarial ? new Tlb({ sets: 64, ways: 4 }, true) : new Tlb(geometry);
    };
    this.dataTlb = make(profile.data);
    this.fetchTlb = make(profile.fetch);
    this.largeDataTlb = make(profile.dataLarge);
    this.largeFetchTlb = make(profile.fetchLarge);
    this.secondTlb = this.adversarial ? new Tlb(NO_CACHE) : make(profile.second);
    this.pagingStructure = new PagingStructureCaches(profile, retention);
    this.dataLookup = this.nothing;
    this.fetchLookup = this.nothing;
    this.verdicts = this.memo.verdicts;
    this.classes = this.memo.classes;
    this.walker = new Walker(memory, this.memo, this.pagingStructure);
    this.fault = this.walker.fault;
    this.updateControls();
  }

  get observer(): WalkObserver | null {
    return this.attached;
  }

  set observer(observer: WalkObserver | null) {
    this.attached = observer;
    this.walker.attach(observer);
    this.walker.prepare(this.lower);
    this.walker.prepare(this.upper);
  }

  /** Bits 51:32 of the output address of the last translation. */
  get paHi(): number {
    return this.dataHi & Cached.ADDRESS_HIGH;
  }

  /**
   * The memory type of the last translation as a byte of MAIR_EL1, as data accesses see it: with SCTLR_EL1.C = 0 all
   * Normal memory is Non-cacheable.
   */
  get memoryAttribute(): number {
    return this.on ? (this.attributeBytes[cachedAttributeIndex(this.dataHi)] as number) : this.flatAttribute;
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

  /** The current ASID, 8 or 16 bits; with TCR2_EL1.A2 = 1 that of the lower range. */
  get asid(): number {
    return (this.lower.contextTag & Tag.ASID_MASK) >>> Tag.ASID_SHIFT;
  }

  /** To be called after any change of `state` or `features`; drops nothing. */
  updateControls(): void {
    const { state, features, walker } = this;
    this.on = (state.sctlrLo & M) !== 0;
    this.uncached = this.on && this.retention === 'none';
    this.dataLookup = this.on ? this.dataTlb : this.nothing;
    this.fetchLookup = this.on ? this.fetchTlb : this.nothing;
    this.updateAttributes();
    walker.hardwareAccessFlag = hardwareUpdates(state, features).accessFlag;
    for (const range of this.ranges) {
      range.update(state, features);
      walker.prepare(range);
    }
    this.updatePermissions();
    this.setMode();
  }

  private updateAttributes(): void {
    const { state, features, walker } = this;
    const cacheable = (state.sctlrLo & C) !== 0;
    for (let index = 0; index < 8; index++) {
      const attribute = dataAttribute(attributeOf(state.mairHi, state.mairLo, index), cacheable);
      this.attributeBytes[index] = attribute;
      let cached = index << Cached.ATTRIBUTE_SHIFT;
      if (isDevice(attribute)) cached |= Cached.DEVICE;
      if (attribute === TAGGED_NORMAL && features.mte >= 2) cached |= Cached.TAGGED;
      walker.attributes[index] = cached;
    }
  }

  private updatePermissions(): void {
    const { state, features } = this;
    const { controls } = this.memo;
    controls.wxn = (state.sctlrLo & WXN) !== 0;
    controls.epan = features.pan >= 3 && (state.sctlrHi & EPAN) !== 0;
    controls.hardwareDirty = hardwareUpdates(state, features).dirty;
    const overlays = features.tcr2 && features.s1poe;
    controls.poe = overlays && (state.tcr2Lo & POE) !== 0;
    controls.e0poe = overlays && (state.tcr2Lo & E0POE) !== 0;
    controls.pirHi = state.pirHi;
    controls.pirLo = state.pirLo;
    controls.pire0Hi = state.pire0Hi;
    controls.pire0Lo = state.pire0Lo;
    controls.porEl1Hi = state.porEl1Hi;
    controls.porEl1Lo = state.porEl1Lo;
    controls.porEl0Hi = state.porEl0Hi;
    controls.porEl0Lo = state.porEl0Lo;
    controls.e0pd0 = this.lower.e0pd;
    controls.e0pd1 = this.upper.e0pd;
    this.memo.forgetIfChanged();
  }

  /** PSTATE.PAN alone: MSR PAN, exception entry. Cheap. Without FEAT_PAN there is none. */
  setPan(on: boolean): void {
    this.state.pan = on;
    this.setMode();
  }

  /** PSTATE.UAO alone. Cheap. */
  setUao(on: boolean): void {
    this.state.uao = on;
    this.setMode();
  }

  private setMode(): void {
    const { state, features } = this;
    this.memo.setMode(state.pan && features.pan >= 1, state.uao && features.uao);
    this.classes = this.memo.classes;
    this.walker.classes = this.memo.classes;
  }

  /** As after power-up: every cache empty, without telling the observer. Registers stay; set them and `updateControls`. */
  reset(): void {
    this.dropAll();
    this.walker.walks = 0;
    this.secondLevelHits = 0;
  }

  /**
   * As it was made, but that nothing is prepared: `state` is to be set, and `updateControls` to be called. What is remembered
   * of permissions stays, as it depends on the registers alone.
   */
  renew(): void {
    Object.assign(this.state, new Arm64State());
    this.observer = null;
    this.hasLarge = false;
    this.pagingStructure.renew();
    for (const tlb of this.tlbs) tlb.renew();
    this.walker.walks = 0;
    this.secondLevelHits = 0;
  }

  /** Empties every cache. @returns how many entries were dropped */
  dropAll(): number {
    this.hasLarge = false;
    let dropped = this.pagingStructure.dropAll();
    for (const tlb of this.tlbs) dropped += tlb.dropAll();
    return dropped;
  }

  /** Every TLB; the walk caches are apart. */
  get tlbs(): readonly Tlb[] {
    return [this.dataTlb, this.fetchTlb, this.largeDataTlb, this.largeFetchTlb, this.secondTlb];
  }

  private get ranges(): readonly AddressRange[] {
    return [this.lower, this.upper];
  }

  /** The range of an address: bit 55 says which, whatever the bits above it. @param hi the address's high half */
  rangeOf(hi: number): AddressRange {
    return (hi & BIT_55) === 0 ? this.lower : this.upper;
  }

  /**
   * The high half of an address that is branched to: with TBI for instructions the top byte becomes a sign extension.
   * @see Arm ARM (DDI 0487), "AArch64.BranchAddr"
   */
  branchAddress(hi: number): number {
    return this.rangeOf(hi).topByteIgnoredForFetch ? (hi << 8) >> 8 : hi;
  }

  /** The memory type of accesses while the MMU is off. */
  protected flatType(fetch: boolean): number {
    if (!fetch) return DEVICE_NGNRNE;
    return (this.state.sctlrLo & I) !== 0 ? NORMAL_WRITE_THROUGH : NORMAL_NON_CACHEABLE;
  }

  /** Bits of an address above the implemented physical addresses, in the high half: must be 0 while the MMU is off. */
  protected beyondImplemented(range: AddressRange): number {
    const beyond = ~(2 ** (this.features.physicalAddressBits - 32) - 1);
    return range.topByteIgnored ? beyond & ~TOP_BYTE : beyond;
  }
}

const BIT_55 = 1 << 23;
