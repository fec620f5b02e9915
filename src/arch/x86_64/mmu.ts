/**
 * One x86-64 CPU's MMU: reads and writes of data through its translation. Nothing is allocated per access.
 * Left out: access sizes other than 8 bytes and byte ranges, atomic accesses, alignment checks (#AC).
 */
import { Access } from '../access.ts';
import { FaultKind } from '../fault.ts';
import type { Mmu } from '../mmu.ts';
import { Cached } from './cached-translation.ts';
import { Translation } from './translation.ts';

export { type X86MmuOptions, X86State } from './state.ts';

const { ADDRESS_HIGH } = Cached;
const { None } = FaultKind;
const WRITE = Access.Write;

export class X86Mmu extends Translation implements Mmu {
  valueHi = 0;
  valueLo = 0;

  /** Within a page, one byte's translation is that of all. */
  translateBytes(hi: number, lo: number, access: number, length: number): FaultKind {
    checkWithinPage(lo, length);
    return this.translate(hi, lo, access);
  }

  read64(hi: number, lo: number, access: number): FaultKind {
    if ((lo & 7) !== 0) return this.readUnaligned(hi, lo, access);
    const kind = this.translate(hi, lo, access);
    if (kind !== None) return kind;
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
    if (!this.memory.write64(this.paHi, this.paLo, valueHi, valueLo)) return this.dataBus(hi, lo, access);
    return None;
  }

  readBytes(hi: number, lo: number, access: number, target: Uint8Array): FaultKind {
    checkWithinPage(lo, target.length);
    const kind = this.translate(hi, lo, access);
    if (kind !== None) return kind;
    return this.memory.readBytes(this.frame(), lo & 0xfff, target) ? None : this.dataBus(hi, lo, access);
  }

  /** Writes bytes of one page. The access is a write whether `asked` says so or not. */
  writeBytes(hi: number, lo: number, asked: number, source: Uint8Array): FaultKind {
    checkWithinPage(lo, source.length);
    const access = asked | WRITE;
    const kind = this.translate(hi, lo, access);
    if (kind !== None) return kind;
    return this.memory.writeBytes(this.frame(), lo & 0xfff, source) ? None : this.dataBus(hi, lo, access);
  }

  /** The frame number of the last translation. */
  private frame(): number {
    return this.paHi * 0x100000 + (this.paLo >>> 12);
  }

  /** The data itself lies outside memory. The address translated, so it was canonical after masking. */
  private dataBus(hi: number, lo: number, access: number): FaultKind {
    this.walker.setFault(FaultKind.Bus, hi, lo, access, 0);
    return FaultKind.Bus;
  }

  private readonly scratch = new Uint8Array(8);
  private readonly scratchWords = new Int32Array(this.scratch.buffer);
  /** The frame of the second page of an access that crosses a page. */
  private secondFrame = 0;

  private readUnaligned(hi: number, lo: number, access: number): FaultKind {
    const kind = this.acrossPages(hi, lo, access);
    if (kind !== None) return kind;
    const offset = lo & 0xfff;
    const first = Math.min(8, 0x1000 - offset);
    const ok =
      this.memory.readBytes(this.frame(), offset, this.scratch.subarray(0, first)) &&
      (first === 8 || this.memory.readBytes(this.secondFrame, 0, this.scratch.subarray(first)));
    if (!ok) return this.dataBus(hi, lo, access);
    this.valueLo = this.scratchWords[0] as number;
    this.valueHi = this.scratchWords[1] as number;
    return None;
  }

  private writeUnaligned(
    hi: number,
    lo: number,
    access: number,
    valueHi: number,
    valueLo: number,
  ): FaultKind {
    const kind = this.acrossPages(hi, lo, access);
    if (kind !== None) return kind;
    const offset = lo & 0xfff;
    const first = Math.min(8, 0x1000 - offset);
    const frame = this.frame();
    if (!this.memory.hasFrame(frame) || (first < 8 && !this.memory.hasFrame(this.secondFrame))) {
      return this.dataBus(hi, lo, access);
    }
    this.scratchWords[0] = valueLo;
    this.scratchWords[1] = valueHi;
    this.memory.writeBytes(frame, offset, this.scratch.subarray(0, first));
    if (first < 8) this.memory.writeBytes(this.secondFrame, 0, this.scratch.subarray(first));
    return None;
  }

  /** Translates both pages of an access of 8 bytes, the second page first: the result is the first one's. */
  private acrossPages(hi: number, lo: number, access: number): FaultKind {
    const first = this.translate(hi, lo, access);
    if (first !== None || (lo & 0xfff) <= 0xff8) return first;
    const nextLo = ((lo | 0xfff) + 1) | 0;
    const nextHi = nextLo === 0 ? (hi + 1) | 0 : hi;
    const second = this.translate(nextHi, nextLo, access);
    if (second !== None) return second;
    this.secondFrame = this.frame();
    return this.translate(hi, lo, access);
  }
}

function checkWithinPage(lo: number, length: number): void {
  if ((lo & 0xfff) + length > 0x1000)
    throw new RangeError(`${length} bytes at page offset ${lo & 0xfff} cross the page`);
}
