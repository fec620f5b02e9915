/**
 * What one x86-64 CPU's translation is made of, and what the registers make of it: the caches, the walker, and the
 * controls prepared from `state` whenever a register changed. Translating itself is translation.ts, which extends this.
 */
import { PagingStructureCaches } from '../../hardware/paging-structure-cache.ts';
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { GOLDEN_COVE, NO_CACHE, type Retention, type TlbProfile } from '../../hardware/retention.ts';
import { Tlb, TlbTag } from '../../hardware/tlb.ts';
import type { FaultSlot } from '../fault.ts';
import type { WalkObserver } from '../walk-observer.ts';
import { Cached, cachedMemoryTypeIndex, cachedPageShift } from './cached-translation.ts';
import { Entry } from './entries.ts';
import { type CpuFeatures, INTEL_COMPLETE, topLevelBit8Reserved } from './features.ts';
import { PermissionMemo } from './permissions.ts';
import { CR3, CR3_PCIDE, CR4, EFER } from './registers.ts';
import { type X86MmuOptions, X86State } from './state.ts';
import { Walker } from './walker.ts';

const { ADDRESS_HIGH } = Cached;

const PGE = CR4.half('PGE').lo;
const PCIDE = CR4.half('PCIDE').lo;
const LA57 = CR4.half('LA57').lo;
const LAM_SUP = CR4.half('LAM_SUP').lo;
const NXE = EFER.half('NXE').lo;
const LAM_U57 = CR3.half('LAM_U57').hi;
const LAM_U48 = CR3.half('LAM_U48').hi;
const TABLE_HIGH = CR3.half('TABLE').hi;
const TABLE_LOW = CR3.half('TABLE').lo;
const PCID_MASK = CR3_PCIDE.half('PCID').lo;

/** How far to shift the high half up and down again to sign-extend a 48-bit or 57-bit address. */
const SHIFT_48 = 16;
const SHIFT_57 = 7;
/** The shift that stands for no masking. */
const NOT_MASKED = 0;

export class TranslationControls {
  readonly state = new X86State();
  readonly memory: PhysicalMemory;
  readonly retention: Retention;
  readonly profile: TlbProfile;
  readonly walker: Walker;
  readonly memo: PermissionMemo;
  protected readonly verdicts: Uint8Array;
  readonly fault: FaultSlot;
  features: CpuFeatures;

  /** First level, 4 KiB pages. */
  readonly dataTlb: Tlb;
  readonly fetchTlb: Tlb;
  /** First level, larger pages. */
  readonly largeDataTlb: Tlb;
  readonly largeFetchTlb: Tlb;
  readonly secondTlb: Tlb;
  readonly pagingStructure: PagingStructureCaches;

  paLo = 0;
  /** The translation that was used last, high word: see `Cached`. */
  dataHi = 0;
  secondLevelHits = 0;

  protected attached: WalkObserver | null = null;
  protected adversarial = false;
  /** Shift of the quick canonical check: any address that passes is its own masked form. */
  protected quickShift = SHIFT_48;
  protected canonicalShift = SHIFT_48;
  protected maskShiftUser = NOT_MASKED;
  protected maskShiftSupervisor = NOT_MASKED;
  /** The PCID in its place in a tag, with VALID. */
  protected contextTag: number = TlbTag.VALID;
  /** A large page may be cached somewhere. */
  protected hasLarge = false;
  /** The second level holds pages of this size field at most. */
  protected readonly secondLargest: number;

  constructor(memory: PhysicalMemory, options: X86MmuOptions = {}) {
    const { features = INTEL_COMPLETE, retention = 'profile', profile = GOLDEN_COVE } = options;
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
    this.secondLargest = Math.floor((profile.secondLargestShift - 12) / 9);
    this.pagingStructure = new PagingStructureCaches(profile, retention);
    this.memo = new PermissionMemo(this.state);
    this.verdicts = this.memo.verdicts;
    this.walker = new Walker(memory, this.memo, this.state, this.pagingStructure);
    this.fault = this.walker.fault;
    this.updateControls();
  }

  get observer(): WalkObserver | null {
    return this.attached;
  }

  set observer(observer: WalkObserver | null) {
    this.attached = observer;
    this.walker.attach(observer);
  }

  /** Bits 51:32 of the physical address. */
  get paHi(): number {
    return this.dataHi & ADDRESS_HIGH;
  }

  /** Index into IA32_PAT of the last translation: PAT·4 + PCD·2 + PWT of its leaf. */
  get memoryTypeIndex(): number {
    return cachedMemoryTypeIndex(this.dataHi);
  }

  /** log2 of the page size of the last translation: 12, 21 or 30. */
  get pageShift(): number {
    return cachedPageShift(this.dataHi);
  }

  /** The current PCID, 0 while CR4.PCIDE = 0. */
  get pcid(): number {
    return (this.contextTag & TlbTag.CONTEXT_MASK) >> TlbTag.CONTEXT_SHIFT;
  }

  /** To be called after any change of `state` or `features`; drops nothing. */
  updateControls(): void {
    const { state, features, walker } = this;
    const la57 = (state.cr4 & LA57) !== 0;
    const pcid = (state.cr4 & PCIDE) !== 0 ? state.cr3Lo & PCID_MASK : 0;
    this.contextTag = TlbTag.VALID | (pcid << TlbTag.CONTEXT_SHIFT);
    this.canonicalShift = la57 ? SHIFT_57 : SHIFT_48;
    this.maskShiftUser = NOT_MASKED;
    if ((state.cr3Hi & LAM_U57) !== 0) this.maskShiftUser = SHIFT_57;
    else if ((state.cr3Hi & LAM_U48) !== 0) this.maskShiftUser = SHIFT_48;
    this.maskShiftSupervisor = (state.cr4 & LAM_SUP) === 0 ? NOT_MASKED : this.canonicalShift;
    this.quickShift = this.maskShiftUser === SHIFT_48 ? SHIFT_48 : this.canonicalShift;

    walker.rootHi = state.cr3Hi & TABLE_HIGH;
    walker.rootLo = state.cr3Lo & TABLE_LOW;
    walker.topLevel = la57 ? 5 : 4;
    const beyondMax = TABLE_HIGH & ~((1 << (features.maxPhysAddr - 32)) - 1);
    walker.reservedHigh = (state.efer & NXE) !== 0 ? beyondMax : beyondMax | Entry.XD_HIGH;
    walker.reservedTop = Entry.PS | (topLevelBit8Reserved(features) ? Entry.BIT_8 : 0);
    walker.reservedPdpte = features.page1g ? 0 : Entry.PS;
    walker.globalMask = (state.cr4 & PGE) !== 0 ? Entry.G : 0;
    walker.prepare();
    this.memo.setAlignmentCheck(state.alignmentCheck);
    this.memo.forgetIfChanged();
  }

  /** RFLAGS.AC alone: STAC, CLAC, POPF. Cheap. */
  setAlignmentCheck(on: boolean): void {
    this.state.alignmentCheck = on;
    this.memo.setAlignmentCheck(on);
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
    Object.assign(this.state, new X86State());
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

  /** Every TLB; the paging-structure caches are apart. */
  get tlbs(): readonly Tlb[] {
    return [this.dataTlb, this.fetchTlb, this.largeDataTlb, this.largeFetchTlb, this.secondTlb];
  }
}
