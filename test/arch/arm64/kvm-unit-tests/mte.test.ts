/**
 * kvm-unit-tests arm/mte.c: a page of Tagged memory at EL1, read and written through pointers with another tag, with
 * SCTLR_EL1.TCF synchronous, asynchronous and asymmetric.
 */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { pageLayout, tableLayout } from '../../../../src/arch/arm64/entries.ts';
import { faultEsr, faultFar } from '../../../../src/arch/arm64/fault-code.ts';
import { ARM64_RECORDED } from '../../../../src/arch/arm64/features.ts';
import { Arm64Mmu } from '../../../../src/arch/arm64/mmu.ts';
import { ESR_EL1, ESR_EL1_DATA_ABORT, TCR_EL1 } from '../../../../src/arch/arm64/registers.ts';
import { SCTLR_EL1, TFSR_EL1 } from '../../../../src/arch/arm64/system-registers.ts';
import { fromHalves, highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PhysicalMemory } from '../../../../src/hardware/physical-memory.ts';

const MEM = 0x40_0000n;
const FRAME = 0x10_0000n;
const PAGE = 4096n;
const ROOT = 0x1000n;
const TCF = { sync: 1, async: 2, asymm: 3 } as const;
/** MAIR_EL1: 0 Normal, 1 Tagged Normal. */
const MAIR = 0xf0ffn;
const TAGGED = 1;
/** DFSC of a synchronous tag check fault. */
const TAG_CHECK_FAULT = 0b010001n;

const context = (level: number) => ({ granule: 12, level, lpa: false }) as const;
const tagged = (pointer: bigint, tag: number): bigint => pointer | (BigInt(tag) << 56n);

/** One page of Tagged memory at MEM, all of whose bytes are 0xff and all of whose tags are `tag`. */
class MteMachine {
  readonly memory = new PhysicalMemory();
  readonly mmu: Arm64Mmu;

  constructor(tag: number, tcf: number) {
    this.memory.addRegion(0n, 4n << 20n);
    this.mmu = new Arm64Mmu(this.memory, { features: ARM64_RECORDED });
    let table = ROOT;
    for (const level of [0, 1, 2]) {
      const next = table + PAGE;
      const at = table + 8n * ((MEM >> BigInt(39 - 9 * level)) & 0x1ffn);
      this.memory.writeWord(at, tableLayout(context(level)).encode({ VALID: 1, TYPE: 1, ADDRESS: next }));
      table = next;
    }
    const leaf = pageLayout(context(3)).encode({
      VALID: 1,
      TYPE: 1,
      AF: 1,
      SH: 3,
      AttrIndx: TAGGED,
      ADDRESS: FRAME,
    });
    this.memory.writeWord(table + 8n * ((MEM >> 12n) & 0x1ffn), leaf);
    const { state } = this.mmu;
    state.ttbr0Lo = lowHalf(ROOT);
    const tcr = TCR_EL1.encode({ T0SZ: 16, EPD1: 1, IPS: 5, TBI0: 1, SH0: 3, IRGN0: 1, ORGN0: 1 });
    [state.tcrHi, state.tcrLo] = [highHalf(tcr), lowHalf(tcr)];
    [state.mairHi, state.mairLo] = [0, lowHalf(MAIR)];
    this.sctlr(tcf);
    this.memory.writeBytes(Number(FRAME >> 12n), 0, new Uint8Array(4096).fill(0xff));
    for (let at = 0n; at < PAGE; at += 16n) this.memory.tags?.setTag(0, lowHalf(FRAME + at), tag);
  }

  sctlr(tcf: number): void {
    const { state } = this.mmu;
    const sctlr = SCTLR_EL1.encode({ M: 1, C: 1, I: 1, ATA: 1, TCF: tcf });
    [state.sctlrHi, state.sctlrLo] = [highHalf(sctlr), lowHalf(sctlr)];
    this.mmu.updateControls();
  }

  /** A load at EL1. @returns what was read; null after a tag check fault, checked for its syndrome */
  read(pointer: bigint): bigint | null {
    const kind = this.mmu.read64(highHalf(pointer), lowHalf(pointer), Access.Read);
    if (kind !== 0) return this.#tagCheckFault(pointer, false);
    return fromHalves(this.mmu.valueHi, this.mmu.valueLo);
  }

  /** A store at EL1. @returns what is in memory then, after a fault too */
  write(pointer: bigint, value: bigint): { readonly fault: boolean; readonly memory: bigint } {
    const kind = this.mmu.write64(
      highHalf(pointer),
      lowHalf(pointer),
      Access.Write,
      highHalf(value),
      lowHalf(value),
    );
    if (kind !== 0) this.#tagCheckFault(pointer, true);
    return { fault: kind !== 0, memory: this.memory.readWord(FRAME) as bigint };
  }

  #tagCheckFault(pointer: bigint, write: boolean): null {
    const esr = faultEsr(this.mmu.fault);
    expect(ESR_EL1.get(esr, 'EC')).toBe(0x25n);
    const fields = ['DFSC', 'FnV', 'WnR'] as const;
    expect(fields.map((field) => ESR_EL1_DATA_ABORT.get(esr, field))).toEqual([
      TAG_CHECK_FAULT,
      0n,
      write ? 1n : 0n,
    ]);
    expect(faultFar(this.mmu.fault)).toBe(pointer);
    return null;
  }

  /** TFSR_EL1, which is then cleared. */
  getClearTfsr(): bigint {
    const { state } = this.mmu;
    const value = BigInt(state.tfsr);
    state.tfsr = 0;
    return value;
  }
}

const ONES = 0xffff_ffff_ffff_ffffn;
const TF0 = TFSR_EL1.mask('TF0');

describe('arm/mte.c', () => {
  it('sync: read', () => {
    const machine = new MteMachine(1, TCF.sync);
    expect(machine.read(tagged(MEM, 2))).toBeNull();
    expect(machine.getClearTfsr()).toBe(0n);
    expect(machine.read(tagged(MEM, 1))).toBe(ONES);
  });

  it('sync: write', () => {
    const machine = new MteMachine(1, TCF.sync);
    expect(machine.write(tagged(MEM, 3), 0xbbbb_bbbbn)).toEqual({ fault: true, memory: ONES });
    expect(machine.getClearTfsr()).toBe(0n);
    expect(machine.write(tagged(MEM, 1), 0xbbbb_bbbbn)).toEqual({ fault: false, memory: 0xbbbb_bbbbn });
  });

  it('asymm: read', () => {
    const machine = new MteMachine(2, TCF.asymm);
    expect(machine.read(tagged(MEM, 3))).toBeNull();
    expect(machine.getClearTfsr()).toBe(0n);
  });

  it('asymm: write', () => {
    const machine = new MteMachine(2, TCF.asymm);
    expect(machine.write(tagged(MEM, 4), 0xaaaa_aaaan)).toEqual({ fault: false, memory: 0xaaaa_aaaan });
    expect(machine.getClearTfsr()).toBe(TF0);
  });

  it('async: read', () => {
    const machine = new MteMachine(3, TCF.async);
    expect(machine.read(tagged(MEM, 4))).toBe(ONES);
    expect(machine.getClearTfsr()).toBe(TF0);
  });

  it('async: write', () => {
    const machine = new MteMachine(3, TCF.async);
    expect(machine.write(tagged(MEM, 5), 0xcccc_ccccn)).toEqual({ fault: false, memory: 0xcccc_ccccn });
    expect(machine.getClearTfsr()).toBe(TF0);
  });

  it('a pointer with the tag of the memory raises nothing in any mode', () => {
    for (const tcf of Object.values(TCF)) {
      const machine = new MteMachine(9, tcf);
      expect(machine.read(tagged(MEM, 9))).toBe(ONES);
      expect(machine.write(tagged(MEM, 9), 1n).fault).toBe(false);
      expect(machine.getClearTfsr()).toBe(0n);
    }
  });
});
