import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { AtomicOperation } from '../../../src/arch/arm64/atomic-operation.ts';
import { fromHalves, highHalf, lowHalf } from '../../../src/base/u64.ts';
import { DATA, MEMORY_END, Memory, SmallMachine, upper } from './small-machine.ts';

const { Write, User, Unprivileged, ZeroBlock, Fetch } = Access;
const ATOMIC = Access.Atomic | Access.Write;
const VA = 0x40_0000n;

/** Data Abort at EL1 with a status, a read: ESR without WnR. */
const esr = (status: number, wnr = 0): string => (0x9600_0000 + wnr * 0x40 + status).toString(16);
const ALIGNMENT = 0x21;

const machineWith = (memory: Memory, a: number, lse2 = true): SmallMachine =>
  new SmallMachine({ sctlr: { A: a, TCF: 0 }, features: { lse2 } })
    .map(VA, DATA, memory)
    .map(VA + 0x1000n, DATA + 0x5000n, memory);

describe('alignment ("Alignment of data accesses", AArch64.UnalignedAccessFaults)', () => {
  it.each([
    ['an aligned read is made whatever SCTLR_EL1.A', Memory.Normal, 1, 0, 8, 8n, false],
    ['a byte is always aligned', Memory.Device, 1, 0, 1, 7n, false],
    ['Normal memory, SCTLR_EL1.A = 0', Memory.Normal, 0, 0, 8, 1n, false],
    ['Normal memory, SCTLR_EL1.A = 1', Memory.Normal, 1, 0, 8, 1n, true],
    ['a halfword at an odd address', Memory.Normal, 1, 0, 2, 1n, true],
    ['a word at an even address', Memory.Normal, 1, 0, 4, 2n, true],
    ['a pair is as aligned as each of its registers', Memory.Normal, 1, 0, 16, 8n, false],
    ['a pair that is not', Memory.Normal, 1, 0, 16, 4n, true],
    ['Device memory, SCTLR_EL1.A = 0', Memory.Device, 0, 0, 4, 2n, true],
    ['Device memory, aligned', Memory.Device, 0, 0, 4, 4n, false],
    ['SCTLR_EL1.A also at EL0', Memory.Normal, 1, User, 4, 2n, true],
    ['an atomic within 16 bytes', Memory.Normal, 0, ATOMIC, 8, 5n, false],
    ['an atomic across 16 bytes', Memory.Normal, 0, ATOMIC, 8, 9n, true],
    ['an unaligned atomic, SCTLR_EL1.A = 1', Memory.Normal, 1, ATOMIC, 8, 5n, true],
    ['an unaligned atomic on Device memory', Memory.Device, 0, ATOMIC, 8, 5n, true],
    ['an aligned atomic on Device memory', Memory.Device, 0, ATOMIC, 8, 8n, false],
  ])('%s', (_rule, memory, a, access, bytes, offset, faults) => {
    const machine = machineWith(memory, a);
    const el0 = (access & User) !== 0 ? 0x0400_0000 : 0;
    const code = (0x9600_0000 - el0 + ALIGNMENT).toString(16);
    const va = VA + offset;
    const fault = `alignment ESR ${code} FAR ${va.toString(16)}`;
    expect(machine.access(va, access, bytes)).toBe(faults ? fault : 'none');
    const { mmu } = machine;
    expect(machine.outcome(mmu.translateBytes(0, Number(va), access, bytes))).toBe(faults ? fault : 'none');
  });

  it('asks for natural alignment of atomics without FEAT_LSE2', () => {
    expect(machineWith(Memory.Normal, 0, false).access(VA + 5n, ATOMIC, 8)).toContain('alignment');
    expect(machineWith(Memory.Normal, 0, false).access(VA + 8n, ATOMIC, 8)).toBe('none');
  });

  it('asks of a vector register what it is told to', () => {
    expect(machineWith(Memory.Normal, 1).access(VA + 8n, 0, 16, 16)).toContain('alignment');
    expect(machineWith(Memory.Normal, 1).access(VA + 16n, 0, 16, 16)).toBe('none');
  });

  it('reports a write as a write', () => {
    expect(machineWith(Memory.Normal, 1).write(VA + 3n)).toBe(
      `alignment ESR ${esr(ALIGNMENT, 1)} FAR 400003`,
    );
  });
});

describe('the order of alignment and translation ("Synchronous exception types and priorities")', () => {
  it('checks SCTLR_EL1.A before the translation', () => {
    expect(machineWith(Memory.Normal, 1).read(0x50_0001n)).toContain('alignment');
    expect(machineWith(Memory.Normal, 0).read(0x50_0001n)).toContain('not present');
  });

  it('checks Device memory after the Access flag and before permissions, on a miss and on a hit', () => {
    const machine = new SmallMachine({ sctlr: { TCF: 0 } })
      .map(VA, DATA, Memory.Device, { AP: 0 })
      .map(VA + 0x1000n, DATA, Memory.Device, { AF: 0 });
    expect(machine.read(VA + 0x1001n)).toContain('access flag');
    for (let again = 0; again < 2; again++) {
      expect(machine.read(VA + 1n, Unprivileged)).toContain('alignment');
      expect(machine.read(VA, Unprivileged)).toContain('permission');
      expect(machine.read(VA)).toBe('none');
    }
  });
});

describe('accesses that cross a page', () => {
  it('report the first byte of the second page when only that one faults', () => {
    const machine = machineWith(Memory.Normal, 0);
    expect(machine.read(VA + 0x1ffdn)).toBe(`not present ESR ${esr(7)} FAR 402000`);
    expect(machine.access(VA + 0x1fffn, Write, 2)).toBe(`not present ESR ${esr(7, 1)} FAR 402000`);
    expect(machine.access(VA + 0x1ffen, 0, 2)).toBe('none');
  });

  it('report the address itself when the first page faults', () => {
    expect(machineWith(Memory.Normal, 0).read(VA - 3n)).toBe(`not present ESR ${esr(6)} FAR 3ffffd`);
  });

  it('go on where the second page is', () => {
    const machine = machineWith(Memory.Normal, 0);
    expect(machine.access(VA + 0xffcn, 0, 8)).toBe('none');
    const { mmu } = machine;
    expect([mmu.paLo, mmu.crossesPage, mmu.secondPaLo]).toEqual([0x10_0ffc, true, 0x10_5000]);
    expect(machine.access(VA + 0xff8n, 0, 8)).toBe('none');
    expect(mmu.crossesPage).toBe(false);
  });

  it('write nothing when the second page may not be written', () => {
    const machine = new SmallMachine({ sctlr: { TCF: 0 } })
      .map(VA, DATA, Memory.Normal)
      .map(VA + 0x1000n, DATA + 0x5000n, Memory.Normal, { AP: 3 });
    expect(machine.write(VA + 0xffdn, 0x1122334455667788n)).toBe(`permission ESR ${esr(15, 1)} FAR 401000`);
    expect(machine.memory.readWord(DATA + 0xff8n)).toBe(0n);
  });

  it('of a run of bytes are refused', () => {
    const { mmu } = machineWith(Memory.Normal, 0);
    expect(() => mmu.readBytes(0, Number(VA) + 0xfff, 0, new Uint8Array(2))).toThrow('cross the page');
    expect(() => mmu.writeBytes(0, Number(VA) + 0xfff, 0, new Uint8Array(2))).toThrow('cross the page');
    expect(() => mmu.translateBytes(0, Number(VA) + 0xfff, 0, 2)).toThrow('cross the page');
  });
});

describe('data', () => {
  it('is read back at any alignment, within a page and across two, and nothing beside it changes', () => {
    const machine = machineWith(Memory.Normal, 0);
    const { mmu } = machine;
    const model = new DataView(new ArrayBuffer(0x2000));
    const offset = fc.oneof(fc.nat(0x1ff0), fc.integer({ min: 0xff0, max: 0x1008 }));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(offset, fc.bigInt(0n, (1n << 64n) - 1n)), { maxLength: 20 }),
        (stores) => {
          for (const [at, value] of stores) {
            expect(machine.write(VA + BigInt(at), value)).toBe('none');
            model.setBigUint64(at, value, true);
          }
          for (const [at] of stores) {
            for (const near of [at, Math.max(0, at - 8), Math.min(0x1ff0, at + 5)]) {
              expect(machine.read(VA + BigInt(near))).toBe('none');
              expect(fromHalves(mmu.valueHi, mmu.valueLo)).toBe(model.getBigUint64(near, true));
            }
          }
        },
      ),
    );
  });

  it('is read and written as bytes', () => {
    const { mmu, memory } = machineWith(Memory.Normal, 1);
    expect(mmu.writeBytes(0, Number(VA) + 3, 0, Uint8Array.of(1, 2, 3, 4, 5, 6))).toBe(0);
    expect(memory.readWord(DATA)).toBe(0x0504030201000000n);
    const target = new Uint8Array(4);
    expect(mmu.readBytes(0, Number(VA) + 5, 0, target)).toBe(0);
    expect([...target]).toEqual([3, 4, 5, 6]);
  });

  it('outside memory is an External abort, also of the second page, and nothing is written', () => {
    const machine = new SmallMachine({ sctlr: { TCF: 0 } })
      .map(VA, MEMORY_END - 0x1000n, Memory.Normal)
      .map(VA + 0x1000n, MEMORY_END, Memory.Normal);
    const { mmu } = machine;
    const at = Number(VA) + 0x1000;
    expect(machine.read(VA + 0x1008n)).toBe(`bus error ESR ${esr(0x10)} FAR 401008`);
    expect(machine.write(VA + 0x1008n)).toBe(`bus error ESR ${esr(0x10, 1)} FAR 401008`);
    expect(machine.read(VA + 0xffdn)).toBe(`bus error ESR ${esr(0x10)} FAR 401000`);
    expect(machine.write(VA + 0xffdn, 1n)).toBe(`bus error ESR ${esr(0x10, 1)} FAR 401000`);
    expect(machine.memory.readWord(MEMORY_END - 8n)).toBe(0n);
    expect(machine.outcome(mmu.readBytes(0, at, 0, new Uint8Array(4)))).toContain('bus error');
    expect(machine.outcome(mmu.writeBytes(0, at, 0, new Uint8Array(4)))).toContain('bus error');
    expect(machine.outcome(mmu.zeroBlock(0, at, 0))).toContain('bus error');
    expect(machine.outcome(mmu.readModifyWrite64(0, at, 0, AtomicOperation.Add, 0, 1))).toContain(
      'bus error',
    );
  });
});

const signed = (value: bigint): bigint => BigInt.asIntN(64, value);

describe('atomic accesses', () => {
  const operations: Record<keyof typeof AtomicOperation, (old: bigint, operand: bigint) => bigint> = {
    Add: (old, operand) => BigInt.asUintN(64, old + operand),
    Clear: (old, operand) => old & ~operand,
    ExclusiveOr: (old, operand) => old ^ operand,
    Set: (old, operand) => old | operand,
    SignedMaximum: (old, operand) => (signed(old) >= signed(operand) ? old : operand),
    SignedMinimum: (old, operand) => (signed(old) <= signed(operand) ? old : operand),
    UnsignedMaximum: (old, operand) => (old >= operand ? old : operand),
    UnsignedMinimum: (old, operand) => (old <= operand ? old : operand),
    Swap: (_old, operand) => operand,
  };
  const word = fc.oneof(
    fc.bigInt(0n, (1n << 64n) - 1n),
    fc.constantFrom(0n, 1n, 0xffffffffn, 1n << 31n, 1n << 32n, 1n << 63n, (1n << 64n) - 1n),
  );

  it.each(Object.entries(operations))('compute %s, aligned or within 16 bytes', (name, compute) => {
    const machine = machineWith(Memory.Normal, 0);
    const { mmu } = machine;
    const operation = AtomicOperation[name as keyof typeof AtomicOperation];
    fc.assert(
      fc.property(word, word, fc.nat(8), (old, operand, offset) => {
        const va = VA + BigInt(offset);
        machine.write(va, old);
        const kind = mmu.readModifyWrite64(0, Number(va), 0, operation, highHalf(operand), lowHalf(operand));
        expect(kind).toBe(0);
        expect(fromHalves(mmu.valueHi, mmu.valueLo)).toBe(old);
        machine.read(va);
        expect(fromHalves(mmu.valueHi, mmu.valueLo)).toBe(compute(old, operand));
      }),
    );
  });

  it('compare and swap: the old value is returned, and replaced only if it is the expected one', () => {
    const machine = machineWith(Memory.Normal, 0);
    const { mmu, memory } = machine;
    memory.writeWord(DATA, 0x1_0000_0002n);
    expect(mmu.compareAndSwap64(0, Number(VA), 0, 1, 3, 7, 7)).toBe(0);
    expect([mmu.valueHi, mmu.valueLo, memory.readWord(DATA)]).toEqual([1, 2, 0x1_0000_0002n]);
    expect(mmu.compareAndSwap64(0, Number(VA), 0, 1, 2, 7, 8)).toBe(0);
    expect([mmu.valueHi, mmu.valueLo, memory.readWord(DATA)]).toEqual([1, 2, 0x7_0000_0008n]);
  });

  it('need permission to write, also for a compare that fails; what only lacks that is reported as a write', () => {
    const machine = new SmallMachine({ sctlr: { TCF: 0 } }).map(VA, DATA, Memory.Normal, { AP: 2 });
    expect(machine.outcome(machine.mmu.compareAndSwap64(0, Number(VA), 0, 1, 1, 0, 0))).toBe(
      `permission ESR ${esr(15, 1)} FAR 400000`,
    );
    const { Add } = AtomicOperation;
    expect(machine.outcome(machine.mmu.readModifyWrite64(0, Number(VA), 0, Add, 0, 0))).toBe(
      `permission ESR ${esr(15, 1)} FAR 400000`,
    );
    expect(machine.outcome(machine.mmu.compareAndSwap64(0, 0x50_0000, 0, 1, 1, 0, 0))).toBe(
      `not present ESR ${esr(7)} FAR 500000`,
    );
  });
});

describe('DC ZVA', () => {
  it.each([0, 2, 4, 5, 9])('zeroes the aligned block of 4 << %d bytes around the address', (dczidBs) => {
    const machine = new SmallMachine({ sctlr: { TCF: 0 }, features: { dczidBs } }).map(VA, DATA);
    const { memory, mmu } = machine;
    for (let at = 0n; at < 0x1000n; at += 8n) memory.writeWord(DATA + at, (1n << 64n) - 1n);
    const bytes = 4 << dczidBs;
    const at = 0x800 + (bytes >> 1);
    expect(mmu.zeroBlock(0, Number(VA) + at, 0)).toBe(0);
    const page = new Uint8Array(4096);
    memory.readBytes(Number(DATA >> 12n), 0, page);
    expect([page.indexOf(0), page.lastIndexOf(0)]).toEqual([0x800, 0x800 + bytes - 1]);
    expect(page.filter((byte) => byte === 0)).toHaveLength(bytes);
  });

  it('reports a fault as a write, with the address as given ("FAR_EL1": DC instructions)', () => {
    const machine = machineWith(Memory.Normal, 1);
    const outcome = `not present ESR ${esr(6, 1)} FAR 700023`;
    expect(machine.outcome(machine.mmu.zeroBlock(0, 0x70_0023, 0))).toBe(outcome);
    expect(machine.access(0x70_0023n, Write | ZeroBlock, 64)).toBe(outcome);
  });

  it('is no unaligned access, whatever the address and SCTLR_EL1.A', () => {
    expect(machineWith(Memory.Normal, 1).access(VA + 0x23n, Write | ZeroBlock, 64)).toBe('none');
  });

  it('is an Alignment fault on Device memory, at any address', () => {
    const machine = machineWith(Memory.Device, 0);
    for (const at of [0n, 0x40n, 0x23n]) {
      expect(machine.access(VA + at, Write | ZeroBlock, 64)).toBe(
        `alignment ESR ${esr(ALIGNMENT, 1)} FAR ${(VA + at).toString(16)}`,
      );
    }
  });

  it('is trapped at EL0 while SCTLR_EL1.DZE = 0: EC 0x18, ISS of DC ZVA', () => {
    const machine = new SmallMachine({ sctlr: { DZE: 0, TCF0: 0 } }).map(VA, DATA);
    // Op0 1, Op2 1, Op1 3, CRn 7, Rt 0, CRm 4, write.
    const iss = (1 << 20) | (1 << 17) | (3 << 14) | (7 << 10) | (4 << 1);
    expect(machine.outcome(machine.mmu.zeroBlock(0, Number(VA), User))).toContain(
      `trapped instruction ESR ${(0x6200_0000 + iss).toString(16)}`,
    );
    expect(machine.outcome(machine.mmu.zeroBlock(0, Number(VA), 0))).toBe('none');
  });
});

describe('fetches', () => {
  it.each([
    ['before any translation', 0x70_0002n, {}, '700002'],
    ['with the address after the branch: TBI makes a sign extension', 0x5a00_0000_0070_0002n, {}, '700002'],
    ['in the upper range too', upper(0x70_0002n) & ~(0xffn << 56n), {}, 'ffffff8000700002'],
    ['with the top byte while TBID = 1', 0x5a00_0000_0070_0002n, { TBID0: 1 }, '5a00000000700002'],
  ])('check the alignment of the PC %s', (_rule, va, tcr, far) => {
    const machine = new SmallMachine({ tcr });
    expect(machine.access(va, Fetch, 4)).toBe(`alignment ESR 8a000000 FAR ${far}`);
    expect(machine.access(va - 2n, Fetch, 4)).toContain('not present');
  });

  it('do not look at SCTLR_EL1.A nor at tags', () => {
    const machine = new SmallMachine({ sctlr: { A: 1 } }).map(VA, DATA, Memory.Tagged, { UXN: 0, AP: 3 });
    expect(machine.access(VA | (5n << 56n), Fetch | User, 4)).toBe('none');
  });
});
