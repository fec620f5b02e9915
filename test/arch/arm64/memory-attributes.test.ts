import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { ARM64_COMPLETE } from '../../../src/arch/arm64/features.ts';
import {
  attributeOf,
  isDevice,
  memoryAttributeName,
  parShareability,
} from '../../../src/arch/arm64/memory-attributes.ts';
import { Stage1 } from './stage1.ts';

const VA = 0x40_0000n;

describe('a byte of MAIR_EL1, Arm ARM "MAIR_EL1", "Attr<n>"', () => {
  it.each([
    [0x00, 'Device-nGnRnE', true],
    [0x04, 'Device-nGnRE', true],
    [0x08, 'Device-nGRE', true],
    [0x0c, 'Device-GRE', true],
    [0x01, 'Device-nGnRnE, XS=0', true],
    [0x02, 'reserved', true],
    [0x40, 'Normal Non-cacheable, XS=0', false],
    [0x44, 'Normal Non-cacheable', false],
    [0xa0, 'Normal Write-Through Read-Allocate, XS=0', false],
    [0xaa, 'Normal Write-Through Read-Allocate', false],
    [0xbb, 'Normal Write-Through Read-Allocate Write-Allocate', false],
    [0xee, 'Normal Write-Back Read-Allocate', false],
    [0xff, 'Normal Write-Back Read-Allocate Write-Allocate', false],
    [0x77, 'Normal Write-Back Transient Read-Allocate Write-Allocate', false],
    [0x33, 'Normal Write-Through Transient Read-Allocate Write-Allocate', false],
    [0xf0, 'Tagged Normal, Write-Back Read-Allocate Write-Allocate', false],
    [0x4f, 'Normal, Inner Write-Back Read-Allocate Write-Allocate, Outer Non-cacheable', false],
    [0xc0, 'reserved', false],
  ])('0x%s is %s', (attribute, name, device) => {
    expect(memoryAttributeName(attribute)).toBe(name);
    expect(isDevice(attribute)).toBe(device);
  });

  it('is chosen by AttrIndx', () => {
    const bytes = [0, 1, 2, 3, 4, 5, 6, 7].map((index) => attributeOf(0x87654321 | 0, 0x0fedcba9, index));
    expect(bytes).toEqual([0xa9, 0xcb, 0xed, 0x0f, 0x21, 0x43, 0x65, 0x87]);
  });
});

describe('PAR_EL1.SH', () => {
  it.each([
    ['Device', 0x04, 3, 2],
    ['Normal Non-cacheable', 0x44, 0, 2],
    ['Normal Non-cacheable, XS=0', 0x40, 3, 2],
    ['Write-Back, Inner Shareable', 0xff, 3, 3],
    ['Write-Back, non-shareable', 0xff, 0, 0],
    ['Outer Non-cacheable, Inner Write-Back', 0x4f, 3, 3],
  ])('%s: what the manual says', (_, attribute, shareability, sh) => {
    expect(parShareability(attribute, shareability)).toBe(sh);
  });
});

/** Indexes as `Stage1` has them. */
const [NORMAL, DEVICE, TAGGED] = [0, 1, 2];
const leaf = (AttrIndx: number) => ({ AP: 1, AF: 1, PXN: 1, UXN: 1, SH: 3, AttrIndx });

describe('the memory type of a translation', () => {
  it.each([
    ['Normal', NORMAL, {}, 0xff, false],
    ['Device', DEVICE, {}, 0x00, false],
    ['Tagged', TAGGED, {}, 0xf0, true],
    ['SCTLR_EL1.C = 0: Normal memory is Non-cacheable', NORMAL, { sctlr: { C: 0 } }, 0x44, false],
    ['SCTLR_EL1.C = 0: and untagged', TAGGED, { sctlr: { C: 0 } }, 0x44, false],
    ['SCTLR_EL1.C = 0: Device memory stays', DEVICE, { sctlr: { C: 0 } }, 0x00, false],
    [
      'without FEAT_MTE2 there is no Tagged memory',
      TAGGED,
      { features: { ...ARM64_COMPLETE, mte: 1 } },
      0xf0,
      false,
    ],
  ] as const)('%s', (_, index, options, attribute, tagged) => {
    for (const retention of ['profile', 'none'] as const) {
      const machine = new Stage1({ ...options, retention });
      machine.map(VA, 0x5000n, leaf(index as number));
      for (let again = 0; again < 2; again++) {
        expect(machine.access(VA)).toBe(0x5000n);
        expect(machine.mmu).toMatchObject({ memoryAttribute: attribute, tagged, shareability: 3 });
      }
    }
  });

  it('has its shareability from TCR_EL1.SH0 and SH1 with DS = 1', () => {
    const machine = new Stage1({ txsz: 12, tcr: { DS: 1, SH0: 2, SH1: 3 } });
    const upper = VA | (0xffffn << 48n);
    machine.map(VA, 0x5000n, { AP: 1, AF: 1 });
    machine.map(upper, 0x6000n, { AP: 1, AF: 1 });
    machine.access(VA);
    expect(machine.mmu.shareability).toBe(2);
    machine.access(upper);
    expect(machine.mmu.shareability).toBe(3);
  });
});

describe('an access that is not aligned', () => {
  const unaligned = (machine: Stage1, access: number) =>
    machine.outcome(machine.mmu.translateUnaligned(0, Number(VA) + 1, access));

  it.each(['profile', 'adversarial', 'none'] as const)(
    'is an Alignment fault on Device memory, cached or not (%s)',
    (retention) => {
      const machine = new Stage1({ retention });
      machine.map(VA, 0x5000n, leaf(DEVICE as number));
      expect(unaligned(machine, Access.User)).toBe('Alignment fault');
      expect(machine.access(VA)).toBe(0x5000n);
      expect(unaligned(machine, Access.User)).toBe('Alignment fault');
      expect(machine.far).toBe(VA + 1n);
      machine.map(VA + 0x1000n, 0x6000n, leaf(NORMAL as number));
      expect(machine.outcome(machine.mmu.translateUnaligned(0, Number(VA) + 0x1001, Access.User))).toBe(
        0x6001n,
      );
    },
  );

  it.each(['adversarial', 'none'] as const)(
    'comes before a Permission fault and sets nothing (%s)',
    (retention) => {
      const machine = new Stage1({ retention, tcr: { HA: 1, HD: 1 } });
      const address = machine.map(VA, 0x5000n, { AP: 2, AF: 1, AttrIndx: 1 });
      machine.access(VA, Access.Read);
      expect(unaligned(machine, Access.User)).toBe('Alignment fault');
      expect(machine.access(VA)).toBe('Permission fault, level 3');
      machine.map(VA, 0x5000n, { AP: 3, DBM: 1, AF: 0, AttrIndx: 1 });
      machine.mmu.dropAll();
      const before = machine.memory.readWord(address);
      expect(unaligned(machine, Access.User | Access.Write)).toBe('Alignment fault');
      expect(machine.memory.readWord(address)).toBe(before);
    },
  );

  it('comes after an Access flag fault', () => {
    const machine = new Stage1();
    machine.map(VA, 0x5000n, { AP: 1, AF: 0, AttrIndx: 1 });
    expect(unaligned(machine, Access.User)).toBe('Access flag fault, level 3');
  });
});
