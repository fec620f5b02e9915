import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { AtomicOperation } from '../../../../src/arch/arm64/atomic-operation.ts';
import { highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { DATA, type MachineOptions, Memory, SmallMachine, tagged, upper } from '../small-machine.ts';

const { Write, User, Unprivileged, TagUnchecked, ZeroBlock, Tag } = Access;
const ATOMIC = Access.Atomic | Write;
const VA = 0x40_0000n;
/** Every granule of the page has this tag; pointers have another one unless said so. */
const STORED = 5;
const OTHER = 9;

function machineWith(options: MachineOptions = {}, memory: Memory = Memory.Tagged): SmallMachine {
  const machine = new SmallMachine(options).map(VA, DATA, memory).map(VA + 0x1000n, DATA + 0x5000n, memory);
  machine.memory.tags?.fillFrame(Number(DATA >> 12n), STORED);
  machine.memory.tags?.fillFrame(Number(DATA >> 12n) + 5, STORED);
  return machine;
}

/** SCTLR_EL1.TCF, TCF0. */
const NONE = 0;
const SYNC = 1;
const ASYNC = 2;
const ASYMM = 3;
const sync = (esr: string): string => `tag check ESR ${esr} FAR 900000000400000`;
const EL1_READ = sync('96000011');
const EL1_WRITE = sync('96000051');
const EL0_READ = sync('92000011');
const EL0_WRITE = sync('92000051');

describe('a failed check, by SCTLR_EL1.TCF and TCF0', () => {
  it.each([
    ['no effect', NONE, SYNC, 0, 'none', '0/0'],
    ['a read at EL1', SYNC, NONE, 0, EL1_READ, '0/0'],
    ['a write at EL1: WnR = 1', SYNC, NONE, Write, EL1_WRITE, '0/0'],
    ['TCF0 does not matter at EL1', NONE, SYNC, Write, 'none', '0/0'],
    ['a read at EL0 is by TCF0', NONE, SYNC, User, EL0_READ, '0/0'],
    ['a write at EL0', NONE, SYNC, User | Write, EL0_WRITE, '0/0'],
    ['TCF does not matter at EL0', SYNC, NONE, User, 'none', '0/0'],
    ['an atomic: it reads, WnR = 0', SYNC, NONE, ATOMIC, EL1_READ, '0/0'],
    ['asynchronous: noted in TFSR_EL1.TF0', ASYNC, NONE, 0, 'none', '1/0'],
    ['asynchronous write', ASYNC, NONE, Write, 'none', '1/0'],
    ['asynchronous at EL0: TFSRE0_EL1.TF0', NONE, ASYNC, User, 'none', '0/1'],
    ['asynchronous atomic', ASYNC, NONE, ATOMIC, 'none', '1/0'],
    ['asymmetric read: synchronous', ASYMM, NONE, 0, EL1_READ, '0/0'],
    ['asymmetric write: asynchronous', ASYMM, NONE, Write, 'none', '1/0'],
    ['asymmetric atomic reads: synchronous', ASYMM, NONE, ATOMIC, EL1_READ, '0/0'],
    ['asymmetric at EL0, read', NONE, ASYMM, User, EL0_READ, '0/0'],
    ['asymmetric at EL0, write', NONE, ASYMM, User | Write, 'none', '0/1'],
    ['LDTR is by TCF0, and an abort of EL1', NONE, SYNC, Unprivileged, EL1_READ, '0/0'],
    ['STTR asynchronous: TFSRE0_EL1', NONE, ASYNC, Unprivileged | Write, 'none', '0/1'],
    ['LDTR does not look at TCF', SYNC, NONE, Unprivileged, 'none', '0/0'],
  ])('%s', (_rule, TCF, TCF0, access, outcome, asynchronous) => {
    const machine = machineWith({ sctlr: { TCF, TCF0 } });
    expect(machine.access(tagged(OTHER, VA), access, 8)).toBe(outcome);
    expect(machine.asynchronous).toBe(asynchronous);
    const inUpper = machineWith({ sctlr: { TCF, TCF0 } });
    const far = tagged(OTHER, upper(VA)).toString(16);
    expect(inUpper.access(tagged(OTHER, upper(VA)), access, 8)).toBe(outcome.replace('900000000400000', far));
    expect(inUpper.asynchronous).toBe(asynchronous.replaceAll('1', '2'));
    expect(machine.access(tagged(STORED, VA), access, 8)).toBe('none');
  });

  it('LDTR and STTR are as EL1 with PSTATE.UAO = 1', () => {
    const machine = machineWith({ sctlr: { TCF: ASYNC, TCF0: SYNC } });
    machine.mmu.setUao(true);
    expect(machine.read(tagged(OTHER, VA), Unprivileged)).toBe('none');
    expect(machine.asynchronous).toBe('1/0');
    machine.mmu.setUao(false);
    expect(machine.read(tagged(OTHER, VA), Unprivileged)).toBe(EL1_READ);
  });

  it('leaves memory as it was when it is synchronous, and is done when it is asynchronous', () => {
    const strict = machineWith();
    expect(strict.write(tagged(OTHER, VA), 7n)).toBe(EL1_WRITE);
    expect(strict.memory.readWord(DATA)).toBe(0n);
    const late = machineWith({ sctlr: { TCF: ASYNC } });
    expect(late.write(tagged(OTHER, VA), 7n)).toBe('none');
    expect([late.memory.readWord(DATA), late.asynchronous]).toEqual([7n, '1/0']);
  });

  it('keeps what was noted until software clears it', () => {
    const machine = machineWith({ sctlr: { TCF: ASYNC } });
    machine.read(tagged(OTHER, upper(VA)));
    machine.read(tagged(OTHER, VA));
    machine.read(tagged(STORED, VA));
    expect(machine.asynchronous).toBe('3/0');
  });
});

describe('an access is unchecked', () => {
  it.each<[string, MachineOptions, number, number]>([
    ['while the top byte is not ignored', { tcr: { TBI0: 0 } }, 0, 0],
    ['without access to Allocation Tags at EL1', { sctlr: { ATA: 0 } }, 0, OTHER],
    ['without access to Allocation Tags at EL0', { sctlr: { ATA0: 0 } }, User, OTHER],
    ['LDTR, without access to Allocation Tags at EL0', { sctlr: { ATA0: 0 } }, Unprivileged, OTHER],
    ['with tag 0 in the lower range, TCMA0 = 1', { tcr: { TCMA0: 1 } }, 0, 0],
    ['when its address is SP plus an immediate', {}, TagUnchecked, OTHER],
    ['when it is of Allocation Tags itself', {}, Tag, OTHER],
    ['without FEAT_MTE2', { features: { mte: 1 } }, 0, OTHER],
    ['with the reserved TCF = 0b11 without FEAT_MTE3', { sctlr: { TCF: 3 }, features: { mte: 2 } }, 0, OTHER],
  ])('%s', (_rule, options, access, tag) => {
    const machine = machineWith(options);
    expect(machine.access(tagged(tag, VA), access, 8)).toBe('none');
    expect(machine.read(tagged(tag, VA), access)).toBe('none');
    expect(machine.asynchronous).toBe('0/0');
  });

  it.each([
    ['TCMA0 exempts no other tag', { TCMA0: 1 }, VA, 15, true],
    ['TCMA0 does not matter in the upper range', { TCMA0: 1 }, upper(VA), 0, true],
    ['TCMA1 exempts tag 15 in the upper range', { TCMA1: 1 }, upper(VA), 15, false],
    ['TCMA1 exempts no other tag', { TCMA1: 1 }, upper(VA), 0, true],
    ['TCMA1 does not matter in the lower range', { TCMA1: 1 }, VA, 15, true],
    ['bits 63:60 are not part of the tag', {}, VA | (10n << 60n), STORED, false],
  ])('%s', (_rule, tcr, va, tag, faults) => {
    expect(machineWith({ tcr }).read(tagged(tag, va))).toContain(faults ? 'tag check' : 'none');
  });

  it.each([
    ['Normal memory', Memory.Normal],
    ['Device memory', Memory.Device],
  ])('to %s that is not Tagged', (_what, memory) => {
    expect(machineWith({}, memory).read(tagged(OTHER, VA))).toBe('none');
    expect(machineWith({}, memory).write(tagged(OTHER, VA))).toBe('none');
  });

  it('while PSTATE.TCO = 1', () => {
    const machine = machineWith();
    machine.mmu.setTco(true);
    expect(machine.read(tagged(OTHER, VA))).toBe('none');
    expect(machine.read(tagged(OTHER, VA), User)).toBe('none');
    machine.mmu.setTco(false);
    expect(machine.read(tagged(OTHER, VA))).toBe(EL1_READ);
  });
});

/** Granules 0x10, 0x20, 0x30 … of the page have tag `STORED` unless listed. */
const withTags = (tags: Record<number, number>, options: MachineOptions = {}): SmallMachine => {
  const machine = machineWith(options);
  for (const [offset, tag] of Object.entries(tags)) machine.setTag(DATA + BigInt(offset), tag);
  return machine;
};

describe('an access across granules', () => {
  it.each([
    ['both granules pass', {}, 0x0cn, 8, null],
    ['the first byte when the first granule fails', { 0: 1 }, 0x0cn, 8, 0x0cn],
    ['the first byte of the second granule when only that fails', { 16: 1 }, 0x0cn, 8, 0x10n],
    ['the first of several', { 16: 1, 32: 1 }, 0x0fn, 18, 0x10n],
    ['a granule that is not touched does not matter', { 16: 1 }, 0x08n, 8, null],
    ['one byte of it is enough', { 16: 1 }, 0x0fn, 2, 0x10n],
    ['a run of bytes', { 560: 1 }, 0x1f5n, 0x200, 0x230n],
    ['the last granule of a run', { 1008: 1 }, 0x1f5n, 0x1fc, 0x3f0n],
    ['just behind the run', { 1008: 1 }, 0x1f5n, 0x1fb, null],
  ])('reports %s', (_rule, tags, offset, bytes, far) => {
    const machine = withTags(tags);
    const va = tagged(STORED, VA + offset);
    const outcome =
      far === null ? 'none' : `tag check ESR 96000011 FAR ${tagged(STORED, VA + far).toString(16)}`;
    expect(machine.access(va, 0, bytes)).toBe(outcome);
    const { mmu } = machine;
    expect(machine.outcome(mmu.readBytes(highHalf(va), lowHalf(va), 0, new Uint8Array(bytes)))).toBe(outcome);
    expect(machine.outcome(mmu.translateBytes(highHalf(va), lowHalf(va), 0, bytes))).toBe(outcome);
    if (bytes === 8) expect(machine.read(va)).toBe(outcome);
  });
});

describe('an access across pages, and runs of bytes', () => {
  it('reports the second page when only its tag differs', () => {
    const machine = machineWith().setTag(DATA + 0x5000n, 1);
    expect(machine.read(tagged(STORED, VA + 0xffdn))).toBe('tag check ESR 96000011 FAR 500000000401000');
    expect(machine.write(tagged(STORED, VA + 0xffdn), 1n)).toBe('tag check ESR 96000051 FAR 500000000401000');
    expect(machine.memory.readWord(DATA + 0xff8n)).toBe(0n);
    expect(machine.read(tagged(STORED, VA + 0xff8n))).toBe('none');
  });

  it('reports the second page also where that lies beyond a boundary of 4 GiB', () => {
    const before = 0x1_ffff_f000n;
    const machine = machineWith()
      .map(before, DATA)
      .map(before + 0x1000n, DATA + 0x5000n);
    for (const granule of [0xff0n, 0x5000n]) machine.setTag(DATA + granule, STORED);
    expect(machine.read(tagged(STORED, before + 0xffdn))).toBe('none');
    machine.setTag(DATA + 0x5000n, 1);
    expect(machine.read(tagged(STORED, before + 0xffdn))).toBe('tag check ESR 96000011 FAR 500000200000000');
  });

  it('checks the second page by its own memory type', () => {
    const machine = machineWith()
      .map(VA + 0x1000n, DATA + 0x5000n, Memory.Normal)
      .setTag(DATA + 0x5000n, 1);
    expect(machine.read(tagged(STORED, VA + 0xffdn))).toBe('none');
    expect(machine.read(tagged(OTHER, VA + 0xffdn))).toBe('tag check ESR 96000011 FAR 900000000400ffd');
  });

  it('is no tag check when the second page is not there: translation first, nothing noted', () => {
    const machine = machineWith({ sctlr: { TCF: ASYNC } });
    expect(machine.read(tagged(OTHER, VA + 0x1ffdn))).toContain('not present');
    expect(machine.asynchronous).toBe('0/0');
  });

  it('writes bytes all or none', () => {
    const machine = withTags({ 48: 1 });
    const va = tagged(STORED, VA + 8n);
    const kind = machine.mmu.writeBytes(highHalf(va), lowHalf(va), 0, new Uint8Array(64).fill(0xff));
    expect(machine.outcome(kind)).toBe('tag check ESR 96000051 FAR 500000000400030');
    expect(machine.memory.readWord(DATA + 8n)).toBe(0n);
  });

  it('finds the first failing byte of any access, whatever the tags', () => {
    const machine = machineWith();
    const tags = fc.array(fc.constantFrom(STORED, STORED, STORED, OTHER), { minLength: 16, maxLength: 16 });
    fc.assert(
      fc.property(tags, fc.nat(0xff), fc.integer({ min: 1, max: 256 }), (granules, offset, length) => {
        granules.forEach((tag, index) => {
          machine.setTag(DATA + BigInt(index * 16), tag);
        });
        const bytes = Math.min(length, 256 - offset);
        const va = tagged(STORED, VA + BigInt(offset));
        let failing = -1;
        for (let at = offset + bytes - 1; at >= offset; at--) if (granules[at >> 4] !== STORED) failing = at;
        const kind = machine.mmu.translateBytes(highHalf(va), lowHalf(va), 0, bytes);
        expect(kind !== 0 ? machine.mmu.fault.addressLo & 0xfff : -1).toBe(failing);
      }),
    );
  });
});

describe('DC ZVA and tags', () => {
  const zero = (machine: SmallMachine, va: bigint, access = 0): string =>
    machine.outcome(machine.mmu.zeroBlock(highHalf(va), lowHalf(va), access));

  it('is checked as a store of the whole block; the lowest failing byte is reported (IMPLEMENTATION DEFINED)', () => {
    const machine = machineWith()
      .setTag(DATA + 0x60n, 1)
      .setTag(DATA + 0x70n, 1);
    machine.memory.writeWord(DATA + 0x40n, 3n);
    const outcome = 'tag check ESR 96000051 FAR 500000000400060';
    expect(zero(machine, tagged(STORED, VA + 0x7bn))).toBe(outcome);
    expect(zero(machine, tagged(STORED, VA + 0x45n))).toBe(outcome);
    expect(machine.access(tagged(STORED, VA + 0x45n), Write | ZeroBlock, 64)).toBe(outcome);
    expect(machine.memory.readWord(DATA + 0x40n)).toBe(3n);
    expect(zero(machine, tagged(STORED, VA + 0x3fn))).toBe('none');
    expect(zero(machine, tagged(STORED, VA + 0x80n))).toBe('none');
  });

  it('is a write in asymmetric mode: noted, and done', () => {
    const machine = machineWith({ sctlr: { TCF: ASYMM } });
    machine.memory.writeWord(DATA + 0x40n, 3n);
    expect(zero(machine, tagged(OTHER, VA + 0x40n))).toBe('none');
    expect([machine.asynchronous, machine.memory.readWord(DATA + 0x40n)]).toEqual(['1/0', 0n]);
  });

  it('keeps the tags of what it zeroes', () => {
    const machine = machineWith();
    expect(zero(machine, tagged(STORED, VA))).toBe('none');
    expect(machine.tag(DATA)).toBe(STORED);
  });
});

describe('tags and other parts of the machine', () => {
  it('are of physical memory: two addresses of a frame see the same tag', () => {
    const machine = machineWith().map(VA + 0x8000n, DATA);
    machine.setTag(DATA, 12);
    expect(machine.read(tagged(12, VA))).toBe('none');
    expect(machine.read(tagged(12, VA + 0x8000n))).toBe('none');
    expect(machine.read(tagged(STORED, VA + 0x8000n))).toContain('tag check');
  });

  it('are looked at anew on a TLB hit', () => {
    const machine = machineWith();
    expect(machine.read(tagged(STORED, VA))).toBe('none');
    machine.setTag(DATA, 1);
    expect(machine.read(tagged(STORED, VA))).toContain('tag check');
  });

  it('are checked before an atomic access changes anything', () => {
    const machine = machineWith();
    const va = tagged(OTHER, VA);
    const kind = machine.mmu.readModifyWrite64(highHalf(va), lowHalf(va), 0, AtomicOperation.Add, 0, 1);
    expect(machine.outcome(kind)).toBe(EL1_READ);
    expect(machine.memory.readWord(DATA)).toBe(0n);
  });

  it('come after the permission', () => {
    const machine = new SmallMachine().map(VA, DATA, Memory.Tagged, { AP: 3 }).setTag(DATA, 1);
    expect(machine.write(tagged(OTHER, VA))).toContain('permission');
    expect(machine.read(tagged(OTHER, VA))).toContain('tag check');
  });

  it('are shared by the processors of a board, and there are none without FEAT_MTE2', () => {
    const board = new SmallMachine();
    expect(board.memory.tags).not.toBeNull();
    expect(new SmallMachine({ features: { mte: 1 } }).memory.tags).toBeNull();
  });
});
