import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { Reason } from '../../../src/arch/arm64/fault-reasons.ts';
import { ARM64_COMPLETE } from '../../../src/arch/arm64/features.ts';
import { highHalf, lowHalf } from '../../../src/base/u64.ts';
import { Recorder } from './recorder.ts';
import { ROOT0, ROOT1, Stage1, type Stage1Options } from './stage1.ts';

const PAGE = { AP: 1, AF: 1, PXN: 1, UXN: 0, nG: 1 };
const UPPER = 0xffff_0000_0000_0000n;
const OUT_OF_RANGE = 'Translation fault, level 0';
const USER_FETCH = Access.User | Access.Fetch;
const KERNEL_WRITE = Access.Write;

const lower = 0x4000n;
const upper = UPPER | 0x4000n;
const tagged = (va: bigint, top: bigint): bigint => (va & ~(0xffn << 56n)) | (top << 56n);

describe('which addresses are translated, Arm ARM "Address tagging", "Supported virtual address ranges"', () => {
  it.each([
    ['lower range', {}, lower, Access.User, 0x5000n],
    ['upper range', {}, upper, Access.User, 0x6000n],
    ['between the ranges', {}, 1n << 48n, Access.User, OUT_OF_RANGE],
    ['below the upper range', {}, UPPER - 1n, Access.User, OUT_OF_RANGE],
    ['a top byte without TBI0', {}, tagged(lower, 0xabn), Access.User, OUT_OF_RANGE],
    ['a top byte without TBI1', { TBI0: 1 }, tagged(upper, 0xabn), Access.User, OUT_OF_RANGE],
    ['a top byte with TBI0', { TBI0: 1 }, tagged(lower, 0xffn), Access.User, 0x5000n],
    ['a top byte with TBI1', { TBI1: 1 }, tagged(upper, 0x00n), Access.User, 0x6000n],
    [
      'TBI0: bits 55:48 count still',
      { TBI0: 1 },
      tagged(lower, 0xabn) | (1n << 50n),
      Access.User,
      OUT_OF_RANGE,
    ],
    ['a tagged PC with TBI0', { TBI0: 1 }, tagged(lower, 0xabn), USER_FETCH, 0x5000n],
    [
      'a tagged PC with TBI0 and TBID0',
      { TBI0: 1, TBID0: 1 },
      tagged(lower, 0xabn),
      USER_FETCH,
      OUT_OF_RANGE,
    ],
    ['data with TBI0 and TBID0', { TBI0: 1, TBID0: 1 }, tagged(lower, 0xabn), Access.User, 0x5000n],
    ['a plain PC with TBI1 and TBID1', { TBI1: 1, TBID1: 1 }, upper, USER_FETCH, 0x6000n],
  ] as const)('%s', (_, tcr, va, access, outcome) => {
    for (const retention of ['profile', 'adversarial', 'none'] as const) {
      const machine = new Stage1({ tcr, retention });
      machine.map(lower, 0x5000n, PAGE);
      machine.map(upper, 0x6000n, PAGE);
      // Cached by a plain access first, then asked twice.
      machine.access(lower, access);
      machine.access(upper, access);
      expect(machine.access(va, access)).toBe(outcome);
      expect(machine.access(va, access)).toBe(outcome);
      expect(machine.outcome(machine.mmu.walkUncached(highHalf(va), lowHalf(va), access))).toBe(outcome);
      if (typeof outcome === 'string') expect(machine.far).toBe(va);
    }
  });
});

describe('tags of addresses, Arm ARM "Address tagging"', () => {
  it('without FEAT_PAuth TBI applies to fetches whatever TBID is', () => {
    const machine = new Stage1({ features: { ...ARM64_COMPLETE, pauth: false }, tcr: { TBI0: 1, TBID0: 1 } });
    machine.map(lower, 0x5000n, PAGE);
    expect(machine.access(tagged(lower, 0xabn), USER_FETCH)).toBe(0x5000n);
  });

  it('FAR_EL1 keeps the tag of a data address, and has the sign extension of a PC', () => {
    const machine = new Stage1({ tcr: { TBI0: 1, TBI1: 1 } });
    machine.access(tagged(0x9123n, 0xabn));
    expect(machine.far).toBe(0xab00_0000_0000_9123n);
    machine.access(tagged(0x9120n, 0xabn), USER_FETCH);
    expect(machine.far).toBe(0x9120n);
    machine.access(tagged(UPPER | 0x9120n, 0xabn), USER_FETCH);
    expect(machine.far).toBe(UPPER | 0x9120n);
  });

  it('a small range looks at bits below 32 too', () => {
    const machine = new Stage1({ txsz: 44 });
    machine.map(0xf_f000n, 0x5000n, PAGE);
    expect(machine.access(0xf_f000n)).toBe(0x5000n);
    expect(machine.access(0x1f_f000n)).toBe(OUT_OF_RANGE);
    expect(machine.access(0x1_000f_f000n)).toBe(OUT_OF_RANGE);
    machine.map((1n << 64n) - 0x1000n, 0x6000n, PAGE);
    expect(machine.access((1n << 64n) - 0x1000n)).toBe(0x6000n);
    expect(machine.access((1n << 64n) - 0x10_1000n)).toBe(OUT_OF_RANGE);
  });
});

describe('ranges that are closed', () => {
  it('EPD0 stops walks, not what is cached, Arm ARM "TCR_EL1", field EPD0', () => {
    const machine = new Stage1({ retention: 'adversarial' });
    machine.map(0x4000n, 0x5000n, PAGE);
    machine.map(0x5000n, 0x6000n, PAGE);
    machine.access(0x4000n);
    machine.setTcr({ EPD0: 1 });
    expect(machine.access(0x4000n)).toBe(0x5000n);
    expect(machine.access(0x5000n)).toBe(OUT_OF_RANGE);
    expect(machine.mmu.fault.reasons).toBe(Reason.Epd);
  });

  it.each(['profile', 'adversarial'] as const)(
    'EPD0: what is cached and forbids the access is a Permission fault, as there is no walk to ask (%s)',
    (retention) => {
      const machine = new Stage1({ retention });
      machine.map(0x4000n, 0x5000n, { ...PAGE, AP: 3 });
      machine.access(0x4000n);
      machine.setTcr({ EPD0: 1 });
      expect(machine.access(0x4000n, Access.User | Access.Write)).toBe('Permission fault, level 3');
      expect(machine.mmu.fault.reasons).toBe(Reason.ReadOnly);
    },
  );

  it.each(['profile', 'adversarial', 'none'] as const)(
    'E0PD0 closes the range to EL0 and LDTR, also where it is cached (%s)',
    (retention) => {
      const machine = new Stage1({ retention });
      machine.map(0x4000n, 0x5000n, PAGE);
      machine.map(UPPER | 0x4000n, 0x6000n, PAGE);
      expect(machine.access(0x4000n)).toBe(0x5000n);
      machine.setTcr({ E0PD0: 1 });
      for (const access of [Access.User, Access.Unprivileged, USER_FETCH]) {
        expect(machine.access(0x4000n, access)).toBe(OUT_OF_RANGE);
        expect(machine.mmu.fault).toMatchObject({ level: 0, reasons: Reason.E0pd });
      }
      expect(machine.access(0x4000n, KERNEL_WRITE)).toBe(0x5000n);
      expect(machine.access(UPPER | 0x4000n)).toBe(0x6000n);
      machine.mmu.setUao(true);
      expect(machine.access(0x4000n, Access.Unprivileged)).toBe(0x5000n);
    },
  );
});

describe('SCTLR_EL1.M = 0, Arm ARM "Behavior when stage 1 address translation is disabled"', () => {
  const off: Stage1Options = { sctlr: { M: 0 } };
  it('the output address is the input address; data is Device-nGnRnE, so it must be aligned', () => {
    const machine = new Stage1(off);
    expect(machine.access(0x1234_5678n, KERNEL_WRITE)).toBe(0x1234_5678n);
    expect(machine.mmu).toMatchObject({
      memoryAttribute: 0x00,
      shareability: 2,
      tagged: false,
      pageShift: 12,
    });
    expect(machine.outcome(machine.mmu.translateUnaligned(0, 0x1234_5671, Access.Read))).toBe(
      'Alignment fault',
    );
  });
  it.each([
    [1, 0xaa],
    [0, 0x44],
  ])('fetches are Normal memory, SCTLR_EL1.I = %i', (I, attribute) => {
    const machine = new Stage1({ sctlr: { M: 0, I } });
    expect(machine.access(0x1000n, Access.Fetch)).toBe(0x1000n);
    expect(machine.mmu).toMatchObject({ memoryAttribute: attribute, shareability: 2 });
    expect(machine.outcome(machine.mmu.translateUnaligned(0, 0x1002, Access.Fetch))).toBe(0x1002n);
  });
  it.each([
    ['52 bits', ARM64_COMPLETE, {}, (1n << 52n) - 1n, (1n << 52n) - 1n],
    ['above 52 bits', ARM64_COMPLETE, {}, 1n << 52n, 'Address size fault, level 0'],
    [
      'above 40 bits',
      { ...ARM64_COMPLETE, physicalAddressBits: 40 as const },
      {},
      1n << 40n,
      'Address size fault, level 0',
    ],
    ['a top byte without TBI0', ARM64_COMPLETE, {}, 0xab00_0000_0000_1000n, 'Address size fault, level 0'],
    ['a top byte with TBI0', ARM64_COMPLETE, { TBI0: 1 }, 0xab00_0000_0000_1000n, 0x1000n],
    ['bit 55 with TBI1', ARM64_COMPLETE, { TBI1: 1 }, 0xab80_0000_0000_1000n, 'Address size fault, level 0'],
  ] as const)('%s', (_, features, tcr, va, outcome) => {
    const machine = new Stage1({ ...off, features, tcr });
    expect(machine.access(va, Access.Read)).toBe(outcome);
    expect(machine.outcome(machine.mmu.walkUncached(highHalf(va), lowHalf(va), Access.Read))).toBe(outcome);
    if (typeof outcome === 'string') expect(machine.far).toBe(va);
  });
  it('neither uses nor loses what is cached', () => {
    const machine = new Stage1({ retention: 'adversarial' });
    machine.map(0x4000n, 0x5000n, PAGE);
    machine.access(0x4000n);
    machine.set('sctlr', 0n);
    expect(machine.access(0x4000n)).toBe(0x4000n);
    expect(machine.mmu.speculativeFill(0, 0x4000)).toBe(false);
    machine.memory.writeWord(machine.descriptorAddress(0x4000n), 0n);
    machine.set('sctlr', 5n);
    expect(machine.access(0x4000n)).toBe(0x5000n);
  });
});

describe('the ASID, Arm ARM "TCR_EL1", fields A1 and AS; "TCR2_EL1", field A2', () => {
  const A = 0x1234n << 48n;
  const B = 0x5678n << 48n;
  it.each([
    ['A1 = 0, AS = 1', { AS: 1 }, {}, ARM64_COMPLETE, 0x1234, 0x1234],
    ['A1 = 1, AS = 1', { AS: 1, A1: 1 }, {}, ARM64_COMPLETE, 0x5678, 0x5678],
    ['AS = 0: bits 55:48', { AS: 0 }, {}, ARM64_COMPLETE, 0x34, 0x34],
    [
      '8 bits implemented: AS has no effect',
      { AS: 1 },
      {},
      { ...ARM64_COMPLETE, asidBits: 8 as const },
      0x34,
      0x34,
    ],
    ['A2 = 1: each range its own', { AS: 1 }, { A2: 1 }, ARM64_COMPLETE, 0x1234, 0x5678],
    ['A2 = 1 without FEAT_ASID2', { AS: 1 }, { A2: 1 }, { ...ARM64_COMPLETE, asid2: false }, 0x1234, 0x1234],
  ] as const)('%s', (_, tcr, tcr2, features, lower, upper) => {
    const machine = new Stage1({ tcr, tcr2, features, retention: 'adversarial' });
    machine.set('ttbr0', ROOT0 | A);
    machine.set('ttbr1', ROOT1 | B);
    expect(machine.mmu.asid).toBe(lower);
    const asidOf = (tag: number): number => (tag >>> 9) & 0xffff;
    expect([asidOf(machine.mmu.lower.contextTag), asidOf(machine.mmu.upper.contextTag)]).toEqual([
      lower,
      upper,
    ]);
  });

  it.each([
    ['nG = 1: another ASID does not see it', 1, {}, 'Translation fault, level 3'],
    ['nG = 0: every ASID does', 0, {}, 0x5000n],
    ['nG = 0 with TCR2_EL1.FNG0 = 1: another does not', 0, { FNG0: 1 }, 'Translation fault, level 3'],
    ['nG = 0 with FNG1: that is the other range', 0, { FNG1: 1 }, 0x5000n],
  ] as const)('%s', (_, nG, tcr2, outcome) => {
    const machine = new Stage1({ retention: 'adversarial', asid: 1, tcr2 });
    const address = machine.map(0x4000n, 0x5000n, { ...PAGE, nG });
    machine.access(0x4000n);
    machine.memory.writeWord(address, 0n);
    expect(machine.access(0x4000n)).toBe(0x5000n);
    machine.set('ttbr0', ROOT0 | (2n << 48n));
    expect(machine.access(0x4000n)).toBe(outcome);
    machine.set('ttbr0', ROOT0 | (1n << 48n));
    expect(machine.access(0x4000n)).toBe(0x5000n);
  });

  it.each(['profile', 'adversarial', 'none'] as const)('gives each ASID its own page (%s)', (retention) => {
    const machine = new Stage1({ retention });
    for (const asid of [1n, 0x101n, 0xffffn, 1n, 0x101n]) {
      machine.set('ttbr0', (ROOT0 + asid * 0x1000n) | (asid << 48n));
      machine.set('ttbr1', ROOT1 | (7n << 48n));
      const table = machine.mmu.lower.rootLo;
      machine.memory.writeWord(BigInt(table), (0x4000_0000n + asid * 0x3000n) | 3n);
      machine.memory.writeWord(0x4000_0000n + asid * 0x3000n, (0x4000_1000n + asid * 0x3000n) | 3n);
      machine.memory.writeWord(0x4000_1000n + asid * 0x3000n, (0x4000_2000n + asid * 0x3000n) | 3n);
      machine.memory.writeWord(0x4000_2000n + asid * 0x3000n, (asid << 12n) | 0xc43n);
      expect(machine.access(0x10n)).toBe((asid << 12n) | 0x10n);
    }
  });
});

describe('what is cached', () => {
  it.each([12, 14, 16] as const)(
    'stays in use after the descriptor has changed (2^%i granule)',
    (granule) => {
      const machine = new Stage1({ granule, retention: 'adversarial' });
      const page = 1n << BigInt(granule);
      for (const base of [0n, UPPER]) {
        for (let i = 0n; i < 300n; i++) {
          const address = machine.map(base + i * page, (i + 1n) * 0x1_0000n, PAGE);
          expect(machine.access(base + i * page + 3n)).toBe((i + 1n) * 0x1_0000n + 3n);
          machine.memory.writeWord(address, 0n);
        }
        for (let i = 0n; i < 300n; i++) {
          const last = base + (i + 1n) * page - 1n;
          expect(machine.access(last)).toBe((i + 1n) * 0x1_0000n + page - 1n);
        }
      }
      expect(machine.mmu.dropAll()).toBeGreaterThanOrEqual(600);
      expect(machine.access(0n)).toBe('Translation fault, level 3');
    },
  );

  it.each([
    [12, 16, 1, 0],
    [12, 16, 2, 0],
    [12, 12, 0, 1],
    [14, 16, 2, 0],
    [14, 12, 1, 1],
    [16, 16, 2, 0],
    [16, 12, 1, 0],
  ] as const)('a block is one entry: 2^%i granule, TnSZ = %i, level %i', (granule, txsz, level, DS) => {
    const machine = new Stage1({ granule, txsz, retention: 'adversarial', tcr: { DS, IPS: 6 } });
    const size = 1n << BigInt(granule + (3 - level) * (granule - 3));
    const va = 3n * size;
    const pa = 5n * size;
    machine.map(va, pa, PAGE, level);
    expect(machine.access(va)).toBe(pa);
    machine.memory.writeWord(machine.descriptorAddress(va, level), 0n);
    for (const offset of [0n, 0x1234n, size / 2n, size - 1n])
      expect(machine.access(va + offset)).toBe(pa + offset);
    expect(machine.access(va + size)).toBe(`Translation fault, level ${level}`);
    expect(machine.mmu.tlbs.reduce((sum, tlb) => sum + tlb.count(), 0)).toBe(1);
  });
});

describe('what is not cached, or not used', () => {
  it('is no fault: mapping after a Translation fault needs no TLBI', () => {
    const machine = new Stage1({ retention: 'adversarial' });
    expect(machine.access(0x4000n)).toBe(OUT_OF_RANGE);
    machine.map(0x4000n, 0x5000n, PAGE);
    expect(machine.access(0x4000n)).toBe(0x5000n);
  });

  it('a cached translation that forbids the access: a fault at once with adversarial retention, else walked again', () => {
    for (const [retention, outcome] of [
      ['adversarial', 'Permission fault, level 3'],
      ['profile', 0x5000n],
    ] as const) {
      const machine = new Stage1({ retention });
      machine.map(0x4000n, 0x5000n, { ...PAGE, AP: 3 });
      expect(machine.access(0x4000n)).toBe(0x5000n);
      machine.map(0x4000n, 0x5000n, PAGE);
      expect(machine.access(0x4000n, Access.User | Access.Write)).toBe(outcome);
      machine.mmu.dropAll();
      expect(machine.access(0x4000n, Access.User | Access.Write)).toBe(0x5000n);
    }
  });

  it.each([
    [1, 'Permission fault, level 1', 3],
    [2, 'Permission fault, level 2', 2],
  ] as const)('of a block of level %i: with that level', (level, outcome, seamLevel) => {
    const machine = new Stage1({ retention: 'adversarial' });
    machine.map(0x8000_0000n, 0x4000_0000n, { ...PAGE, AP: 3 }, level);
    expect(machine.access(0x8000_1234n)).toBe(0x4000_1234n);
    expect(machine.access(0x8000_1234n, Access.User | Access.Write)).toBe(outcome);
    expect(machine.mmu.fault).toMatchObject({ level: seamLevel, entryLo: 0 });
  });

  it('with a profile is no more than the profile holds', () => {
    const machine = new Stage1({ retention: 'profile' });
    for (let i = 0n; i < 3000n; i++) {
      machine.map(i << 12n, i << 12n, PAGE);
      machine.access(i << 12n);
    }
    expect(machine.mmu.dataTlb.count()).toBe(48);
    expect(machine.mmu.secondTlb.count()).toBe(2048);
    const walks = machine.mmu.walker.walks;
    machine.access(2990n << 12n);
    machine.access(2500n << 12n);
    expect(machine.mmu.walker.walks).toBe(walks);
    expect(machine.mmu.secondLevelHits).toBe(1);
    machine.access(0n);
    expect(machine.mmu.walker.walks).toBe(walks + 1);
  });
});

describe('a speculative fill', () => {
  it('caches, sets the Access flag if hardware manages it, never dirty state, whatever the permissions', () => {
    const machine = new Stage1({ retention: 'adversarial', tcr: { HA: 1, HD: 1 } });
    const address = machine.map(0x4000n, 0x5000n, { AP: 3, DBM: 1, AF: 0, nG: 1 });
    machine.mmu.setPan(true);
    expect(machine.mmu.speculativeFill(0, 0x4000)).toBe(true);
    const descriptor = machine.memory.readWord(address) as bigint;
    expect([(descriptor >> 10n) & 1n, (descriptor >> 7n) & 1n]).toEqual([1n, 1n]);
    machine.memory.writeWord(address, 0n);
    expect(machine.access(0x4000n)).toBe(0x5000n);
  });
  it.each([
    ['an Access flag that is clear', { ...PAGE, AF: 0 }, 0x4000n],
    ['no descriptor', PAGE, 0x9000n],
    ['an address outside the range', PAGE, 1n << 50n],
  ])('does nothing with %s', (_, leaf, va) => {
    const machine = new Stage1({ retention: 'adversarial' });
    machine.map(0x4000n, 0x5000n, leaf);
    expect(machine.mmu.speculativeFill(highHalf(va), lowHalf(va))).toBe(false);
    expect(machine.mmu.dataTlb.count()).toBe(0);
  });
});

describe('an observer', () => {
  it('is told of each descriptor, of what was set, of the fill, of the hit', () => {
    const machine = new Stage1({ tcr: { HA: 1 } });
    machine.map(0x4000n, 0x5000n, { ...PAGE, AF: 0 });
    const recorder = new Recorder();
    machine.mmu.observer = recorder;
    expect(machine.access(0x4000n)).toBe(0x5000n);
    expect(recorder.entries.map(({ level }) => level)).toEqual([4, 3, 2, 1]);
    expect(recorder.updates).toHaveLength(1);
    expect(recorder.fills).toBe(5);
    expect(machine.access(0x4000n)).toBe(0x5000n);
    expect(recorder.hits).toBe(1);
    expect(recorder.ends).toEqual([
      { kind: 0, paHi: 0, paLo: 0x5000 },
      { kind: 0, paHi: 0, paLo: 0x5000 },
    ]);
    machine.mmu.observer = null;
    expect(machine.access(0x4000n)).toBe(0x5000n);
    expect(recorder.ends).toHaveLength(2);
  });
});
