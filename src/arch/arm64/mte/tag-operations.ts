/**
 * The tag instructions of one arm64 CPU, on values: what each makes of pointers, tags and memory. Registers and
 * encodings are execute.ts and encodings.ts.
 * An instruction that faults has changed nothing: of one that reaches into a second page both are translated first.
 * Without access to Allocation Tags (SCTLR_EL1.ATA, ATA0), or of memory that is not Tagged, tags read as 0 and are not
 * written; everything else an instruction does stays.
 * @see Arm ARM (DDI 0487), "A64 Base Instructions" by name; shared pseudocode AArch64.MemTag
 */
import type { PhysicalMemory } from '../../../hardware/physical-memory.ts';
import { TAG_GRANULE, TagMemory } from '../../../hardware/tag-memory.ts';
import { Access } from '../../access.ts';
import { FaultKind, type FaultSlot } from '../../fault.ts';
import type { TagInstructions } from '../../tag-instructions.ts';
import { BlockOperation } from '../data-access.ts';
import type { Arm64Mmu } from '../mmu.ts';
import { GCR_EL1 } from '../system-registers.ts';
import {
  chooseNonExcludedTag,
  ImplementationDefinedGenerator,
  seedAfterTag,
  tagOfSeed,
} from './random-tag.ts';

const { None } = FaultKind;
const WRITE_TAGS = Access.Write | Access.Tag;
const EXCLUDE = GCR_EL1.half('Exclude').lo;
const RRND = GCR_EL1.half('RRND').lo;
const SEED_SHIFT = 8;
const SEED_MASK = 0xffff;
/** All of the seed and the tag of RGSR_EL1, each half. */
const RGSR_HIGH = 0xffffff;

/** The logical tag of a pointer: bits 59:56. @param hi its bits 63:32 */
export const logicalTag = (hi: number): number => (hi >>> 24) & 15;
/** Bits 63:32 of a pointer with another logical tag. */
export const withLogicalTag = (hi: number, tag: number): number => (hi & 0xf0ffffff) | (tag << 24);

export class Arm64TagInstructions implements TagInstructions {
  readonly mmu: Arm64Mmu;
  resultHi = 0;
  resultLo = 0;
  tag = 0;
  flags = 0;
  private readonly memory: PhysicalMemory;
  private readonly generator = new ImplementationDefinedGenerator();
  /** Written by nobody: for a processor without tag storage. */
  private readonly noTags = new TagMemory();

  constructor(mmu: Arm64Mmu) {
    this.mmu = mmu;
    this.memory = mmu.memory;
  }

  get fault(): FaultSlot {
    return this.mmu.fault;
  }

  irg(hi: number, lo: number, access: number, exclude: number): void {
    const { mmu } = this;
    const tag = mmu.tagChecks.allowsTagAccess(access)
      ? this.randomTag((exclude | mmu.state.gcrLo) & EXCLUDE, (mmu.state.gcrLo & RRND) !== 0)
      : 0;
    this.resultHi = withLogicalTag(hi, tag);
    this.resultLo = lo;
  }

  /** RGSR_EL1 moves on, also when every tag is excluded and its generator is the architected one. */
  private randomTag(exclude: number, implementationDefined: boolean): number {
    const { state } = this.mmu;
    if (implementationDefined) {
      const { generator } = this;
      generator.high = state.rgsrHi & RGSR_HIGH;
      generator.low = state.rgsrLo >>> SEED_SHIFT;
      const tag = generator.nextTag(exclude);
      state.rgsrHi = generator.high;
      state.rgsrLo = (generator.low << SEED_SHIFT) | tag;
      return tag;
    }
    const seed = seedAfterTag((state.rgsrLo >>> SEED_SHIFT) & SEED_MASK);
    const tag = chooseNonExcludedTag(state.rgsrLo & 15, tagOfSeed(seed), exclude);
    state.rgsrLo = (state.rgsrLo & ~((SEED_MASK << SEED_SHIFT) | 15)) | (seed << SEED_SHIFT) | tag;
    return tag;
  }

  addg(hi: number, lo: number, access: number, bytes: number, tagOffset: number): void {
    const sum = (lo >>> 0) + bytes;
    this.resultLo = sum | 0;
    this.resultHi = (hi + (sum > 0xffffffff ? 1 : 0)) | 0;
    this.moveTag(hi, access, tagOffset);
  }

  subg(hi: number, lo: number, access: number, bytes: number, tagOffset: number): void {
    const difference = (lo >>> 0) - bytes;
    this.resultLo = difference | 0;
    this.resultHi = (hi - (difference < 0 ? 1 : 0)) | 0;
    this.moveTag(hi, access, tagOffset);
  }

  private moveTag(hi: number, access: number, tagOffset: number): void {
    const { tagChecks, state } = this.mmu;
    const tag = tagChecks.allowsTagAccess(access)
      ? chooseNonExcludedTag(logicalTag(hi), tagOffset, state.gcrLo & EXCLUDE)
      : 0;
    this.resultHi = withLogicalTag(this.resultHi, tag);
  }

  gmi(hi: number, _lo: number, maskHi: number, maskLo: number): void {
    this.resultHi = maskHi;
    this.resultLo = maskLo | (1 << logicalTag(hi));
  }

  subp(hi: number, lo: number, otherHi: number, otherLo: number): void {
    const a = (hi << 8) >> 8;
    const b = (otherHi << 8) >> 8;
    const borrow = lo >>> 0 < otherLo >>> 0 ? 1 : 0;
    const resultHi = (a - b - borrow) | 0;
    const resultLo = (lo - otherLo) | 0;
    this.resultHi = resultHi;
    this.resultLo = resultLo;
    const notBelow = a === b ? borrow === 0 : a >>> 0 > b >>> 0;
    const overflow = ((a ^ b) & (a ^ resultHi)) >>> 31;
    const zero = (resultHi | resultLo) === 0;
    this.flags = ((resultHi >>> 31) << 3) | (zero ? 4 : 0) | (notBelow ? 2 : 0) | overflow;
  }

  ldg(hi: number, lo: number, access: number): FaultKind {
    const { mmu } = this;
    const aligned = lo & ~15;
    const kind = this.translateTags(hi, aligned, access | Access.Tag);
    if (kind !== None) return kind;
    this.tag = this.reaches(access, mmu.tagged) ? this.tags.tag(mmu.paHi, mmu.paLo) : 0;
    return None;
  }

  stg(hi: number, lo: number, access: number, tag: number): FaultKind {
    return this.store(hi, lo, access, tag, TAG_GRANULE, false);
  }

  st2g(hi: number, lo: number, access: number, tag: number): FaultKind {
    return this.store(hi, lo, access, tag, 2 * TAG_GRANULE, false);
  }

  stzg(hi: number, lo: number, access: number, tag: number): FaultKind {
    return this.store(hi, lo, access, tag, TAG_GRANULE, true);
  }

  stz2g(hi: number, lo: number, access: number, tag: number): FaultKind {
    return this.store(hi, lo, access, tag, 2 * TAG_GRANULE, true);
  }

  stgp(
    hi: number,
    lo: number,
    access: number,
    firstHi: number,
    firstLo: number,
    secondHi: number,
    secondLo: number,
  ): FaultKind {
    const kind = this.store(hi, lo, access, logicalTag(hi), TAG_GRANULE, false);
    if (kind !== None) return kind;
    const { paHi, paLo } = this.mmu;
    this.memory.write64(paHi, paLo, firstHi, firstLo);
    this.memory.write64(paHi, paLo + 8, secondHi, secondLo);
    return None;
  }

  /**
   * One or two granules. The address has to be a multiple of 16 whatever SCTLR_EL1.A says.
   * @see Arm ARM (DDI 0487), shared pseudocode AArch64.MemTag: the Alignment fault comes before translation
   */
  private store(hi: number, lo: number, asked: number, tag: number, bytes: number, zero: boolean): FaultKind {
    const { mmu, memory } = this;
    const access = asked | WRITE_TAGS;
    const kind = mmu.translateAccess(hi, lo, access, bytes, TAG_GRANULE, true);
    if (kind !== None) return kind;
    const { paHi, paLo } = mmu;
    if (!this.isMemory()) return mmu.raise(FaultKind.Bus, hi, lo, access, 0);
    if (bytes > TAG_GRANULE) {
      const otherHi = mmu.crossesPage ? mmu.secondPaHi : paHi;
      const otherLo = mmu.crossesPage ? mmu.secondPaLo : paLo + TAG_GRANULE;
      if (!memory.hasFrame(otherHi * 0x100000 + (otherLo >>> 12))) {
        return mmu.raise(FaultKind.Bus, hi, lo, access, 0);
      }
      const tagged = mmu.crossesPage ? mmu.secondTagged : mmu.tagged;
      this.storeGranule(otherHi, otherLo, access, tagged, tag, zero);
    }
    this.storeGranule(paHi, paLo, access, mmu.tagged, tag, zero);
    return None;
  }

  private storeGranule(
    paHi: number,
    paLo: number,
    access: number,
    tagged: boolean,
    tag: number,
    zero: boolean,
  ): void {
    if (this.reaches(access, tagged)) this.tags.setTag(paHi, paLo, tag);
    if (!zero) return;
    this.memory.write64(paHi, paLo, 0, 0);
    this.memory.write64(paHi, paLo + 8, 0, 0);
  }

  /**
   * A tag stands in the result where bits 7:4 of its granule's address say, so that blocks smaller than 256 bytes fill
   * a part of it.
   */
  ldgm(hi: number, lo: number, access: number): FaultKind {
    const bytes = this.multipleBlockBytes;
    const kind = this.translateBlock(hi, lo & ~(bytes - 1), access | Access.Tag);
    if (kind !== None) return kind;
    const { mmu } = this;
    this.resultHi = 0;
    this.resultLo = 0;
    if (!this.reaches(access, mmu.tagged)) return None;
    for (let at = 0; at < bytes; at += TAG_GRANULE) {
      const tag = this.tags.tag(mmu.paHi, mmu.paLo + at);
      const index = ((mmu.paLo + at) >>> 4) & 15;
      if (index < 8) this.resultLo |= tag << (4 * index);
      else this.resultHi |= tag << (4 * (index - 8));
    }
    return None;
  }

  stgm(hi: number, lo: number, access: number, tagsHi: number, tagsLo: number): FaultKind {
    const bytes = this.multipleBlockBytes;
    const kind = this.translateBlock(hi, lo & ~(bytes - 1), access | WRITE_TAGS);
    if (kind !== None) return kind;
    const { mmu } = this;
    if (!this.reaches(access, mmu.tagged)) return None;
    for (let at = 0; at < bytes; at += TAG_GRANULE) {
      const index = ((mmu.paLo + at) >>> 4) & 15;
      this.tags.setTag(
        mmu.paHi,
        mmu.paLo + at,
        index < 8 ? tagsLo >>> (4 * index) : tagsHi >>> (4 * (index - 8)),
      );
    }
    return None;
  }

  stzgm(hi: number, lo: number, access: number, tag: number): FaultKind {
    const bytes = this.mmu.zeroBlockBytes;
    const kind = this.translateBlock(hi, lo & ~(bytes - 1), access | WRITE_TAGS);
    if (kind !== None) return kind;
    this.fillBlock(access, bytes, tag);
    this.mmu.zeroTranslated(lo, bytes);
    return None;
  }

  zeroBlock(hi: number, lo: number, access: number): FaultKind {
    return this.mmu.zeroBlock(hi, lo, access);
  }

  tagBlock(hi: number, lo: number, access: number): FaultKind {
    return this.tagBlockBy(BlockOperation.Tag, hi, lo, access);
  }

  tagAndZeroBlock(hi: number, lo: number, access: number): FaultKind {
    return this.tagBlockBy(BlockOperation.TagAndZero, hi, lo, access);
  }

  /** DC GVA and DC GZVA: as DC ZVA, and not tag checked. */
  private tagBlockBy(operation: BlockOperation, hi: number, lo: number, asked: number): FaultKind {
    const { mmu } = this;
    const access = asked | WRITE_TAGS | Access.ZeroBlock;
    const kind = mmu.translateBlock(hi, lo, access, operation);
    if (kind !== None) return kind;
    if (!this.isMemory()) return mmu.raise(FaultKind.Bus, hi, lo, access, 0);
    this.fillBlock(access, mmu.zeroBlockBytes, logicalTag(hi));
    if (operation === BlockOperation.TagAndZero) mmu.zeroTranslated(lo, mmu.zeroBlockBytes);
    return None;
  }

  /** Gives every granule of the aligned block around the address translated last one tag. */
  private fillBlock(access: number, bytes: number, tag: number): void {
    const { mmu } = this;
    if (!this.reaches(access, mmu.tagged)) return;
    const start = mmu.paLo & ~(bytes - 1);
    for (let at = 0; at < bytes; at += TAG_GRANULE) this.tags.setTag(mmu.paHi, start + at, tag);
  }

  /** LDGM, STGM and STZGM: UNDEFINED at EL0, and without FEAT_MTE2. The address is aligned to the block. */
  private translateBlock(hi: number, lo: number, access: number): FaultKind {
    const { mmu } = this;
    if ((access & Access.User) !== 0 || mmu.features.mte < 2) {
      return mmu.raise(FaultKind.Undefined, hi, lo, access, 0);
    }
    return this.translateTags(hi, lo, access);
  }

  private translateTags(hi: number, lo: number, access: number): FaultKind {
    const { mmu } = this;
    const kind = mmu.translate(hi, lo, access);
    if (kind !== None) return kind;
    return this.isMemory() ? None : mmu.raise(FaultKind.Bus, hi, lo, access, 0);
  }

  /** Is there memory at the address translated last? */
  private isMemory(): boolean {
    const { paHi, paLo } = this.mmu;
    return this.memory.hasFrame(paHi * 0x100000 + (paLo >>> 12));
  }

  /** Bytes whose tags LDGM and STGM transfer. */
  private get multipleBlockBytes(): number {
    return 4 << this.mmu.features.gmidBs;
  }

  private get tags(): TagMemory {
    return this.memory.tags ?? this.noTags;
  }

  /** Does this access get at the tags of memory that is Tagged or not? */
  private reaches(access: number, tagged: boolean): boolean {
    return tagged && this.mmu.tagChecks.allowsTagAccess(access);
  }
}
