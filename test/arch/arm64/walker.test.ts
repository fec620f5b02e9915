import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { blockAllowed, descriptorShift, tableLayout } from '../../../src/arch/arm64/entries.ts';
import { Reason } from '../../../src/arch/arm64/fault-reasons.ts';
import {
  ARM64_COMPLETE,
  type Arm64Features,
  CORTEX_A72,
  NEOVERSE_V2,
} from '../../../src/arch/arm64/features.ts';
import { leafDescriptor, ROOT0, Stage1, type Tcr } from './stage1.ts';

const PAGE = { AP: 1, AF: 1, PXN: 1, UXN: 1 };

describe('where a walk starts, Arm ARM "The VMSAv8-64 translation table format", tables of the initial lookup level', () => {
  // Granule, TnSZ, level of the first lookup, entries of the first table.
  it.each([
    [12, 12, -1, 16, true],
    [12, 15, -1, 2, true],
    [12, 16, 0, 512, false],
    [12, 24, 0, 2, false],
    [12, 25, 1, 512, false],
    [12, 33, 1, 2, false],
    [12, 34, 2, 512, false],
    [12, 42, 2, 2, false],
    [12, 43, 3, 512, false],
    [12, 48, 3, 16, false],
    [14, 12, 0, 32, true],
    [14, 16, 0, 2, false],
    [14, 17, 1, 2048, false],
    [14, 27, 1, 2, false],
    [14, 28, 2, 2048, false],
    [14, 38, 2, 2, false],
    [14, 39, 3, 2048, false],
    [14, 48, 3, 4, false],
    [16, 12, 1, 1024, false],
    [16, 16, 1, 64, false],
    [16, 21, 1, 2, false],
    [16, 22, 2, 8192, false],
    [16, 34, 2, 2, false],
    [16, 35, 3, 8192, false],
    [16, 47, 3, 2, false],
  ] as const)('2^%i granule, TnSZ = %i: level %i, %i entries', (granule, txsz, level, entries, ds) => {
    const machine = new Stage1({ granule, txsz, tcr: ds ? { DS: 1 } : {} });
    expect(4 - machine.mmu.lower.topLevel).toBe(level);
    expect(machine.mmu.lower.topIndexMask + 1).toBe(entries);
    // First and last page of both ranges.
    const bytes = 1n << BigInt(64 - txsz);
    const page = 1n << BigInt(granule);
    for (const va of [0n, bytes - page, (1n << 64n) - bytes, (1n << 64n) - page]) {
      machine.map(va, 0x1234_0000n, PAGE);
      expect(machine.access(va + 5n)).toBe(0x1234_0005n);
    }
  });
});

describe('the range of TnSZ, Arm ARM "TCR_EL1", field T0SZ', () => {
  it.each([
    [12, 15, 'RegionSize', {}],
    [12, 11, 'RegionSize', { DS: 1 }],
    [12, 49, 'RegionSize', {}],
    [14, 15, 'RegionSize', {}],
    [14, 49, 'RegionSize', {}],
    [16, 11, 'RegionSize', {}],
    [16, 48, 'RegionSize', {}],
    [16, 15, undefined, {}],
    [16, 12, undefined, { DS: 1 }],
  ] as const)('2^%i granule, TnSZ = %i is %s', (granule, txsz, reason, tcr) => {
    const machine = new Stage1({ granule });
    machine.setTcr({ ...tcr, T0SZ: txsz });
    const outcome = machine.access(0x1_0000n);
    expect(String(outcome)).toMatch(/^Translation fault/);
    expect(machine.mmu.fault.reasons).toBe(reason === undefined ? 0 : Reason[reason]);
    if (reason !== undefined) expect(machine.mmu.fault.level).toBe(0);
  });

  it.each([
    ['no FEAT_LVA: 48 bits with 64 KiB', { lva: false }, 16, 15, {}],
    ['no FEAT_LPA2: DS has no effect with 4 KiB', { lpa2Granule4k: false }, 12, 15, { DS: 1 }],
    ['no FEAT_LPA2: nor with 16 KiB', { lpa2Granule16k: false }, 14, 15, { DS: 1 }],
    ['no FEAT_TTST: at least 25 bits', { ttst: false }, 12, 40, {}],
  ] as const)('%s', (_, lacking, granule, txsz, tcr) => {
    const machine = new Stage1({ granule, features: { ...ARM64_COMPLETE, ...lacking } });
    machine.setTcr({ ...tcr, T0SZ: txsz });
    machine.access(0x1_0000n);
    expect(machine.mmu.fault.reasons).toBe(Reason.RegionSize);
  });
});

describe('the granule, TCR_EL1.TG0 and TG1', () => {
  const only = (granule: 'granule4k' | 'granule16k' | 'granule64k'): Arm64Features => ({
    ...ARM64_COMPLETE,
    granule4k: false,
    granule16k: false,
    granule64k: false,
    [granule]: true,
  });
  it.each([
    ['TG0 4 KiB', {}, { TG0: 0 }, 'lower', 12],
    ['TG0 64 KiB', {}, { TG0: 1 }, 'lower', 16],
    ['TG0 16 KiB', {}, { TG0: 2 }, 'lower', 14],
    ['TG0 reserved: the smallest', {}, { TG0: 3 }, 'lower', 12],
    ['TG1 reserved: the smallest', {}, { TG1: 0 }, 'upper', 12],
    ['TG1 16 KiB', {}, { TG1: 1 }, 'upper', 14],
    ['TG1 4 KiB', {}, { TG1: 2 }, 'upper', 12],
    ['TG1 64 KiB', {}, { TG1: 3 }, 'upper', 16],
    ['4 KiB, not implemented', only('granule64k'), { TG0: 0 }, 'lower', 16],
    ['64 KiB, not implemented', only('granule16k'), { TG0: 1 }, 'lower', 14],
    ['16 KiB, not implemented on a Cortex-A72', CORTEX_A72, { TG0: 2 }, 'lower', 12],
    ['16 KiB, not implemented there, above', CORTEX_A72, { TG1: 1 }, 'upper', 12],
  ] as const)('%s', (_, features, tcr, range, granule) => {
    const machine = new Stage1({ features: { ...ARM64_COMPLETE, ...features } });
    machine.setTcr(tcr);
    expect(machine.mmu[range].granuleShift).toBe(granule);
  });
});

describe('blocks, Arm ARM "VMSAv8-64 Block descriptor and Page descriptor formats"', () => {
  const formats = [
    [12, 16, false],
    [12, 12, true],
    [14, 16, false],
    [14, 12, true],
    [16, 12, true],
  ] as const;
  const rows = formats.flatMap(([granule, txsz, wide]) =>
    [-1, 0, 1, 2].map((level) => [granule, txsz, wide, level] as const),
  );
  it.each(rows)('2^%i granule, TnSZ = %i, 52 bits %s, level %i', (granule, txsz, wide, level) => {
    const machine = new Stage1({ granule, txsz, tcr: wide ? { DS: 1, IPS: 6 } : {} });
    if (level < machine.startLevel) return;
    const shift = descriptorShift(granule, level);
    const va = (5n << BigInt(granule)) + 0x123n;
    const context = machine.context(level);
    const address = machine.descriptorAddress(va, level);
    const pa = wide ? (3n << 50n) | (1n << BigInt(Math.max(shift, 48))) : 1n << 47n;
    machine.memory.writeWord(address, 0x441n);
    if (!blockAllowed(context)) {
      expect(machine.access(va)).toBe(`Translation fault, level ${level}`);
      return;
    }
    const base = (pa >> BigInt(shift)) << BigInt(shift);
    machine.memory.writeWord(address, leafDescriptor(context, base, PAGE));
    for (const again of [1, 2]) {
      expect([again, machine.access(va)]).toEqual([again, base | va]);
      expect(machine.mmu.pageShift).toBe(shift);
      expect(machine.mmu.leafLevel).toBe(4 - level);
    }
    // Address bits below the size of the block are ignored, as is nT.
    machine.memory.writeWord(address, leafDescriptor(context, base, { ...PAGE, nT: 1 }));
    machine.mmu.dropAll();
    expect(machine.access(va)).toBe(base | va);
  });

  it.each([
    [12, 16],
    [14, 16],
    [16, 16],
  ] as const)('2^%i granule: bits 1:0 = 0b01 at level 3 are reserved', (granule, txsz) => {
    const machine = new Stage1({ granule, txsz });
    machine.memory.writeWord(machine.descriptorAddress(0n), 0x12340000000441n);
    expect(machine.access(0n)).toBe('Translation fault, level 3');
  });
});

describe('Address size faults, TCR_EL1.IPS', () => {
  const sizes = [32, 36, 40, 42, 44, 48] as const;
  it.each(sizes.map((bits, IPS) => [IPS, bits] as const))('IPS = %i is %i bits', (IPS, bits) => {
    const machine = new Stage1({ tcr: { IPS } });
    const last = (1n << BigInt(bits)) - 0x1000n;
    machine.map(0n, last, PAGE);
    expect(machine.access(0n)).toBe(last);
    if (bits === 48) return;
    machine.map(0x1000n, 1n << BigInt(bits), PAGE);
    expect(machine.access(0x1000n)).toBe('Address size fault, level 3');
    const table = machine.descriptorAddress(1n << 30n, 1);
    machine.memory.writeWord(table, (1n << BigInt(bits)) | 3n);
    expect(machine.access(1n << 30n)).toBe('Address size fault, level 1');
    machine.set('ttbr0', 1n << BigInt(bits));
    expect(machine.access(0x2000n)).toBe('Address size fault, level 0');
    expect(machine.mmu.fault.reasons).toBe(Reason.TableBase);
  });

  it('count also for the last descriptor of the short cut, for which all tables lie in 4 MiB', () => {
    const root = 0x40_0000n;
    for (const retention of ['none', 'profile'] as const) {
      const machine = new Stage1({ tcr: { IPS: 0 }, retention });
      machine.set('ttbr0', root);
      for (const level of [1n, 2n, 3n]) {
        machine.memory.writeWord(root + (level - 1n) * 0x1000n, (root + level * 0x1000n) | 3n);
      }
      const leaf = (pa: bigint): void => {
        const fields = { ...PAGE, nG: 1 };
        machine.memory.writeWord(root + 0x3000n, leafDescriptor(machine.context(3), pa, fields));
        machine.mmu.dropAll();
      };
      leaf(0xffff_f000n);
      expect(machine.access(0n)).toBe(0xffff_f000n);
      leaf(0x1_0000_0000n);
      expect(machine.access(0n)).toBe('Address size fault, level 3');
    }
  });

  it.each([
    ['4 KiB, DS = 0: IPS = 6 is 48 bits', 12, 16, { IPS: 6 }, ARM64_COMPLETE, 48],
    ['16 KiB, DS = 0: IPS = 6 is 48 bits', 14, 16, { IPS: 6 }, ARM64_COMPLETE, 48],
    ['4 KiB, DS = 1: 52 bits', 12, 12, { IPS: 6, DS: 1 }, ARM64_COMPLETE, 52],
    ['64 KiB with FEAT_LPA: 52 bits', 16, 16, { IPS: 6 }, ARM64_COMPLETE, 52],
    ['64 KiB without: 48 bits', 16, 16, { IPS: 6 }, { ...ARM64_COMPLETE, lpa: false }, 48],
    ['IPS = 7, reserved: the implemented size', 16, 16, { IPS: 7 }, ARM64_COMPLETE, 52],
    ['IPS above the implemented size', 12, 16, { IPS: 5 }, { ...NEOVERSE_V2, physicalAddressBits: 40 }, 40],
  ] as const)('%s', (_, granule, txsz, tcr, features, bits) => {
    const machine = new Stage1({ granule, txsz, tcr, features });
    expect(machine.mmu.lower.beyondOutput).toBe(0xfffff & ~(2 ** (bits - 32) - 1));
  });

  it.each([
    ['4 KiB, DS = 1, bits 9:8', 12, 12, { DS: 1, IPS: 5 }],
    ['64 KiB, FEAT_LPA, bits 15:12', 16, 16, { IPS: 5 }],
  ] as const)(
    '%s of a descriptor are address bits also where IPS is below 52 bits',
    (_, granule, txsz, tcr) => {
      const machine = new Stage1({ granule, txsz, tcr });
      machine.map(0n, 1n << 51n, PAGE);
      expect(machine.access(0n)).toBe('Address size fault, level 3');
    },
  );
});

describe('the base of the first table, TTBRn_EL1.BADDR', () => {
  it.each([
    ['4 KiB, 512 entries', 12, 16, {}, 0x1234_5000n, 0x1234_5ffen],
    ['4 KiB, 2 entries: from bit 4 up', 12, 24, {}, 0x1234_5670n, 0x1234_567en],
    [
      '64 KiB, IPS = 6, 2 entries: from bit 6 up, bits 5:2 are address bits 51:48',
      16,
      47,
      { IPS: 6 },
      0x1234_5640n,
      0x1234_5642n,
    ],
    ['64 KiB, IPS = 5: bits 5:2 are nothing of the kind', 16, 47, {}, 0x1234_5670n, 0x1234_567en],
  ] as const)('%s', (_, granule, txsz, tcr, base, register) => {
    const machine = new Stage1({ granule, txsz, tcr });
    machine.set('ttbr0', register);
    expect(machine.mmu.lower.rootLo).toBe(Number(base));
    expect(machine.mmu.lower.rootHi).toBe(0);
  });

  it('has address bits 51:48 in bits 5:2 with DS = 1', () => {
    const machine = new Stage1({ txsz: 12, tcr: { DS: 1, IPS: 6 } });
    machine.set('ttbr0', (0x1234_5678_9080n | (0xan << 2n)) + 1n);
    expect(machine.mmu.lower.rootHi).toBe(0xa1234);
    expect(machine.mmu.lower.rootLo).toBe(0x5678_9080);
  });
});

describe('the order of faults, Arm ARM "MMU faults", "Prioritization of synchronous aborts from a single stage of translation"', () => {
  // Everything is wrong at first; each row puts one thing right and shows the next.
  const bad = { AP: 0, AF: 0, AttrIndx: 1 };
  it('is: TnSZ, range, E0PDn, EPDn, TTBRn_EL1, descriptor, Access flag, Device alignment, permission', () => {
    const machine = new Stage1({ retention: 'none', txsz: 25, tcr: { IPS: 0 } });
    const va = (1n << 39n) | 0x5000n;
    machine.setTcr({ IPS: 0, T0SZ: 60, E0PD0: 1, EPD0: 1 });
    machine.set('ttbr0', 1n << 40n);
    machine.mmu.walker.unaligned = true;
    const next = (change: Tcr, address: bigint): string => {
      machine.setTcr({ IPS: 0, E0PD0: 1, EPD0: 1, ...change });
      const outcome = machine.access(address);
      const { reasons } = machine.mmu.fault;
      const names = Object.entries(Reason).filter(([, bit]) => (reasons & bit) !== 0);
      return [outcome, ...names.map(([name]) => name)].join(', ');
    };
    expect(next({ T0SZ: 60 }, va)).toBe('Translation fault, level 0, RegionSize');
    expect(next({}, va)).toBe('Translation fault, level 0, OutOfRegion');
    expect(next({}, 0x5000n)).toBe('Translation fault, level 0, E0pd');
    expect(next({ E0PD0: 0 }, 0x5000n)).toBe('Translation fault, level 0, Epd');
    const open = { E0PD0: 0, EPD0: 0 };
    expect(next(open, 0x5000n)).toBe('Address size fault, level 0, TableBase');
    machine.set('ttbr0', ROOT0);
    expect(next(open, 0x5000n)).toBe('Translation fault, level 1');
    machine.descriptorAddress(0x5000n);
    expect(next(open, 0x5000n)).toBe('Translation fault, level 3');
    machine.map(0x5000n, 1n << 32n, bad);
    expect(next(open, 0x5000n)).toBe('Address size fault, level 3');
    machine.map(0x5000n, 0x7000n, bad);
    expect(next(open, 0x5000n)).toBe('Access flag fault, level 3');
    machine.map(0x5000n, 0x7000n, { ...bad, AF: 1 });
    expect(next(open, 0x5000n)).toBe('Alignment fault, DeviceMemory');
    machine.map(0x5000n, 0x7000n, { ...bad, AF: 1, AttrIndx: 0 });
    expect(next(open, 0x5000n)).toBe('Permission fault, level 3, NoEl0Access');
  });
});

describe('External aborts on a walk', () => {
  const outside = 1n << 40n;
  it.each([-1, 0, 1, 2, 3])('say the level of the table that could not be read: %i', (level) => {
    const wide = level === -1;
    const machine = new Stage1({ txsz: wide || level === 0 ? 12 : 16, tcr: { DS: 1, IPS: 6 } });
    if (level === machine.startLevel) machine.set('ttbr0', outside);
    else {
      const above = machine.descriptorAddress(0n, level - 1);
      machine.memory.writeWord(above, outside | 3n);
    }
    expect(machine.access(0n)).toBe(
      `synchronous External abort on translation table walk or hardware update, level ${level}`,
    );
    expect(machine.mmu.fault).toMatchObject({ entryAddressHi: 0x100, entryAddressLo: 0, level: 4 - level });
  });
});

describe('the Access flag', () => {
  const AF = 1n << 10n;
  it.each([
    ['HA = 0: a fault, nothing changes', { HA: 0 }, Access.User, 'Access flag fault, level 3', false],
    ['HA = 1: set by a read', { HA: 1 }, Access.User, 0x5000n, true],
    ['HA = 1: set by a fetch', { HA: 1 }, Access.User | Access.Fetch, 'Permission fault, level 3', false],
    ['HA = 1: not by an access that is denied', { HA: 1 }, Access.Fetch, 'Permission fault, level 3', false],
  ] as const)('%s', (_, tcr, access, outcome, set) => {
    const machine = new Stage1({ tcr });
    const address = machine.map(0n, 0x5000n, { ...PAGE, AF: 0 });
    expect(machine.access(0n, access)).toBe(outcome);
    expect(((machine.memory.readWord(address) as bigint) & AF) !== 0n).toBe(set);
  });

  it('is never set in table descriptors', () => {
    const machine = new Stage1({ tcr: { HA: 1 } });
    machine.map(0n, 0x5000n, PAGE);
    machine.access(0n);
    for (const level of [0, 1, 2]) {
      const descriptor = machine.memory.readWord(machine.descriptorAddress(0n, level)) as bigint;
      expect(descriptor & AF).toBe(0n);
    }
  });

  it('a clear one is not cached: mapping after the fault needs no TLBI', () => {
    const machine = new Stage1({ retention: 'adversarial' });
    const address = machine.map(0n, 0x5000n, { ...PAGE, AF: 0 });
    expect(machine.access(0n)).toBe('Access flag fault, level 3');
    machine.memory.writeWord(address, (machine.memory.readWord(address) as bigint) | AF);
    expect(machine.access(0n)).toBe(0x5000n);
  });
});

describe('a walk that only looks', () => {
  it('changes nothing in memory and finds what an access would', () => {
    const machine = new Stage1({ tcr: { HA: 1, HD: 1 } });
    const address = machine.map(0n, 0x5000n, { AP: 3, DBM: 1, AF: 0 });
    const before = machine.memory.readWord(address);
    expect(machine.outcome(machine.mmu.probe(0, 0x10, Access.User | Access.Write))).toBe(0x5010n);
    expect(machine.memory.readWord(address)).toBe(before);
    expect(machine.mmu.tlbs.some((tlb) => tlb.used)).toBe(false);
    expect(machine.access(0x10n, Access.User | Access.Write)).toBe(0x5010n);
    expect(machine.memory.readWord(address)).not.toBe(before);
  });
});

it('a table descriptor is followed whatever its ignored bits are', () => {
  const machine = new Stage1();
  const ignored = tableLayout(machine.context(1)).mask('IGNORED_58_51', 'IGNORED_11', 'AF');
  machine.map(0n, 0x5000n, PAGE);
  const address = machine.descriptorAddress(0n, 1);
  machine.memory.writeWord(address, (machine.memory.readWord(address) as bigint) | ignored);
  expect(machine.access(0n)).toBe(0x5000n);
});
