/**
 * One arm64 CPU's MMU: reads and writes of data through its translation, with tag checks. Nothing is allocated per
 * access. What an access goes through beside translation is data-access.ts; the tag instructions are in mte/.
 * Left out: big-endian data (SCTLR_EL1.EE, E0E), exclusives, acquire and release, MOPS and vector accesses.
 */
import { Access } from '../access.ts';
import { FaultKind } from '../fault.ts';
import type { Mmu } from '../mmu.ts';
import { type AtomicOperation, atomicHigh, atomicLow } from './atomic-operation.ts';
import { Cached } from './cached-translation.ts';
import { checkWithinPage, DataAccess } from './data-access.ts';
import { UnalignedWord } from './unaligned-word.ts';

export { Arm64State } from './state.ts';

// Named again here, as V8 folds a module's own constants and loads imported ones each time.
const { ADDRESS_HIGH } = Cached;
const { None } = FaultKind;
const { Write: WRITE, Atomic: ATOMIC, ZeroBlock: ZERO_BLOCK } = Access;

const ZEROS = new Uint8Array(2048);

export class Arm64Mmu extends DataAccess implements Mmu {
  valueHi = 0;
  valueLo = 0;

  read64(hi: number, lo: number, access: number): FaultKind {
    if ((lo & 7) !== 0) return this.readUnaligned(hi, lo, access);
    const kind = this.translate(hi, lo, access);
    if (kind !== None) return kind;
    if ((this.dataHi & this.checksMask) !== 0 && !this.tagPasses(hi, access)) {
      if (this.tagsDiffer(hi, lo, access) !== None) return FaultKind.TagCheck;
    }
    const memory = this.memory;
    const paLo = this.paLo;
    const paHi = this.dataHi & ADDRESS_HIGH;
    if (((paHi << 10) | (paLo >>> 22)) !== memory.dataKey && !memory.selectData(paHi, paLo)) {
      return this.dataBus(hi, lo, access);
    }
    const chunk = memory.dataChunk;
    const index = (paLo >>> 2) & 0xffffe;
    this.valueLo = chunk[index] as number;
    this.valueHi = chunk[index + 1] as number;
    return None;
  }

  /** Writes 8 bytes. The access is a write whether `asked` says so or not. */
  write64(hi: number, lo: number, asked: number, valueHi: number, valueLo: number): FaultKind {
    const access = asked | WRITE;
    if ((lo & 7) !== 0) return this.writeUnaligned(hi, lo, access, valueHi, valueLo);
    const kind = this.translate(hi, lo, access);
    if (kind !== None) return kind;
    if ((this.dataHi & this.checksMask) !== 0 && !this.tagPasses(hi, access)) {
      if (this.tagsDiffer(hi, lo, access) !== None) return FaultKind.TagCheck;
    }
    if (!this.memory.write64(this.paHi, this.paLo, valueHi, valueLo)) return this.dataBus(hi, lo, access);
    return None;
  }

  /** Reads bytes of one page, each an access of its own as far as alignment goes. */
  readBytes(hi: number, lo: number, access: number, target: Uint8Array): FaultKind {
    checkWithinPage(lo, target.length);
    const kind = this.translateRun(hi, lo, access, target.length);
    if (kind !== None) return kind;
    return this.memory.readBytes(this.frame(), lo & 0xfff, target) ? None : this.dataBus(hi, lo, access);
  }

  /** Writes bytes of one page, all or none. The access is a write whether `asked` says so or not. */
  writeBytes(hi: number, lo: number, asked: number, source: Uint8Array): FaultKind {
    checkWithinPage(lo, source.length);
    const access = asked | WRITE;
    const kind = this.translateRun(hi, lo, access, source.length);
    if (kind !== None) return kind;
    return this.memory.writeBytes(this.frame(), lo & 0xfff, source) ? None : this.dataBus(hi, lo, access);
  }

  private translateRun(hi: number, lo: number, access: number, length: number): FaultKind {
    const kind = this.translate(hi, lo, access);
    return kind !== None ? kind : this.checkTags(hi, lo, access, length);
  }

  /**
   * LDADD, SWP and the like on 8 bytes. The old value is in `valueHi`/`valueLo`.
   * @see Arm ARM (DDI 0487), shared pseudocode MemAtomic
   */
  readModifyWrite64(
    hi: number,
    lo: number,
    asked: number,
    operation: AtomicOperation,
    operandHi: number,
    operandLo: number,
  ): FaultKind {
    const kind = this.readForAtomic(hi, lo, asked | WRITE | ATOMIC);
    if (kind !== None) return kind;
    const { valueHi, valueLo } = this;
    const newHi = atomicHigh(operation, valueHi, valueLo, operandHi, operandLo);
    const newLo = atomicLow(operation, valueHi, valueLo, operandHi, operandLo);
    return this.writeTranslated(hi, lo, asked | WRITE | ATOMIC, newHi, newLo);
  }

  /**
   * CAS on 8 bytes: writes the new value if memory holds the expected one. The old value is in `valueHi`/`valueLo`.
   * Needs write permission, and dirties the page, also when it does not write.
   * @see Arm ARM (DDI 0487), "CAS, CASA, CASAL, CASL"
   */
  compareAndSwap64(
    hi: number,
    lo: number,
    asked: number,
    expectedHi: number,
    expectedLo: number,
    newHi: number,
    newLo: number,
  ): FaultKind {
    const kind = this.readForAtomic(hi, lo, asked | WRITE | ATOMIC);
    if (kind !== None) return kind;
    if (this.valueHi !== expectedHi || this.valueLo !== expectedLo) return None;
    return this.writeTranslated(hi, lo, asked | WRITE | ATOMIC, newHi, newLo);
  }

  /** All checks of an atomic access, and its read. What passes lies within one page. */
  private readForAtomic(hi: number, lo: number, access: number): FaultKind {
    const kind = this.translateAccess(hi, lo, access, 8);
    return kind !== None ? kind : this.readTranslated(hi, lo, access);
  }

  /**
   * DC ZVA: zeroes the block of DCZID_EL0.BS around an address, all or nothing. The access is a write, whether
   * `asked` says so or not.
   * A failed tag check reports the lowest byte whose check failed (IMPLEMENTATION DEFINED: or the address as given).
   */
  zeroBlock(hi: number, lo: number, asked: number): FaultKind {
    const access = asked | WRITE | ZERO_BLOCK;
    const kind = this.translateBytes(hi, lo, access, this.zeroBlockBytes);
    if (kind !== None) return kind;
    return this.zeroTranslated(lo, this.zeroBlockBytes) ? None : this.dataBus(hi, lo, access);
  }

  /** Zeroes the aligned block of `bytes` around the address translated last. @returns false outside memory */
  zeroTranslated(lo: number, bytes: number): boolean {
    return this.memory.writeBytes(this.frame(), lo & 0xfff & ~(bytes - 1), ZEROS.subarray(0, bytes));
  }

  /** The frame number of the last translation. */
  private frame(): number {
    return this.paHi * 0x100000 + (this.paLo >>> 12);
  }

  private readonly pair = new UnalignedWord();

  private readUnaligned(hi: number, lo: number, access: number): FaultKind {
    const kind = this.translateAccess(hi, lo, access, 8);
    return kind !== None ? kind : this.readTranslated(hi, lo, access);
  }

  private writeUnaligned(
    hi: number,
    lo: number,
    access: number,
    valueHi: number,
    valueLo: number,
  ): FaultKind {
    const kind = this.translateAccess(hi, lo, access, 8);
    return kind !== None ? kind : this.writeTranslated(hi, lo, access, valueHi, valueLo);
  }

  /** Reads the 8 bytes that `translateAccess` has passed. */
  private readTranslated(hi: number, lo: number, access: number): FaultKind {
    const { memory, pair } = this;
    const offset = lo & 7;
    if (offset === 0) {
      if (!memory.read64(this.paHi, this.paLo)) return this.dataBus(hi, lo, access);
      this.valueHi = memory.hi;
      this.valueLo = memory.lo;
      return None;
    }
    if (!this.readPair(hi, lo, access)) return FaultKind.Bus;
    pair.extract(offset);
    this.valueHi = pair.hi;
    this.valueLo = pair.lo;
    return None;
  }

  /** Writes the 8 bytes that `translateAccess` has passed, all or none. */
  private writeTranslated(
    hi: number,
    lo: number,
    access: number,
    valueHi: number,
    valueLo: number,
  ): FaultKind {
    const { memory, pair } = this;
    const offset = lo & 7;
    if (offset === 0) {
      return memory.write64(this.paHi, this.paLo, valueHi, valueLo) ? None : this.dataBus(hi, lo, access);
    }
    if (!this.readPair(hi, lo, access)) return FaultKind.Bus;
    pair.insert(offset, valueHi, valueLo);
    const { words } = pair;
    memory.write64(this.paHi, this.paLo & ~7, words[1] as number, words[0] as number);
    memory.write64(this.nextPaHi, this.nextPaLo, words[3] as number, words[2] as number);
    return None;
  }

  /** The aligned word in which the last access ends: in its page, or at the start of the second one. */
  private get nextPaHi(): number {
    return this.crossesPage ? this.secondPaHi : this.paHi;
  }

  private get nextPaLo(): number {
    return this.crossesPage ? this.secondPaLo : (this.paLo & ~7) + 8;
  }

  /** Reads the two aligned words that an unaligned access touches. @returns false outside memory, with the fault set */
  private readPair(hi: number, lo: number, access: number): boolean {
    const { memory } = this;
    const { words } = this.pair;
    if (!memory.read64(this.paHi, this.paLo)) {
      this.dataBus(hi, lo, access);
      return false;
    }
    words[0] = memory.lo;
    words[1] = memory.hi;
    if (!memory.read64(this.nextPaHi, this.nextPaLo)) {
      const nextLo = ((lo | 0xfff) + 1) | 0;
      this.dataBus(nextLo === 0 ? (hi + 1) | 0 : hi, nextLo, access);
      return false;
    }
    words[2] = memory.lo;
    words[3] = memory.hi;
    return true;
  }
}
