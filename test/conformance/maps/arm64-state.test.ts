/** Where the registers of an AArch64 dump come from, and what is refused. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../../../src/base/input-error.ts';
import { bytesInMemory } from '../../../src/conformance/core/byte-source.ts';
import { readElfCore } from '../../../src/conformance/core/elf-core.ts';
import { Arm64Dump } from '../../../src/conformance/maps/arm64-dump.ts';
import type { DumpStateOptions } from '../../../src/conformance/maps/dump-options.ts';
import { pageTableDump } from '../../../src/conformance/maps/page-table-dump.ts';
import { dumpHeadText } from '../../../src/report/maps-text.ts';
import { makeCore, prstatusArm64 } from '../core/make-core.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tablewalk-state-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const page = { physicalAddress: 0x4000_0000, entries: {} };
const core = readElfCore(
  bytesInMemory('arm.core', makeCore({ machine: 183, pages: [page], notes: [prstatusArm64()] })),
);
/** 4 KiB, 48 bits below and above, 48-bit addresses. */
const TCR = 0x5_8010_0010n;
const REGS = {
  arch: 'arm64',
  ttbr0_el1: '0x40000001',
  ttbr1_el1: '0x4000041f16001',
  tcr_el1: `0x${TCR.toString(16)}`,
  sctlr_el1: '0x2000c78fc74791d',
  mair_el1: '0x40044f0ff',
};
const tcr = (bits: bigint): object => ({ tcr_el1: `0x${bits.toString(16)}` });

function regsFile(content: object): string {
  const file = join(folder, 'regs.json');
  writeFileSync(file, JSON.stringify(content));
  return file;
}
const dumpWith = (extra: object, options: DumpStateOptions = {}): Arm64Dump =>
  new Arm64Dump(core, { ...options, regs: regsFile({ ...REGS, ...extra }) });
const regionsOf = (extra: object): readonly string[] =>
  dumpWith(extra).regions.map(
    ({ register, granule, addressBits, startLevel, startEntries, tableAddress, wideMask }) =>
      `${register} ${granule} ${addressBits} level ${startLevel} ${startEntries}@${tableAddress.toString(16)}${wideMask === 0 ? '' : ' wide'}`,
  );

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message.replaceAll(`${folder}/`, '');
  }
  throw new Error('accepted');
}

describe('registers', () => {
  it('are read with their names in full or short, in any case, and with values with or without 0x', () => {
    const plain = dumpWith({ pir_el1: '0x1', pire0_el1: '0x0' }).state;
    const other = {
      arch: 'arm64',
      TTBR0: '40000001',
      Ttbr1_EL1: '0x4000041F16001',
      tcr: REGS.tcr_el1,
      SCTLR_EL1: REGS.sctlr_el1,
      MAIR: '40044f0ff',
      pir: '1',
      PIRE0_EL1: '0',
    };
    expect(new Arm64Dump(core, { regs: regsFile(other) }).state).toEqual(plain);
    expect(plain).toMatchObject({ ttbr0: 0x4000_0001n, mair: 0x4_0044_f0ffn, pir: 1n });
  });

  it.each<[string, object, DumpStateOptions, string]>([
    ['no REGS.json field', { sctlr_el1: undefined }, {}, 'field sctlr_el1'],
    ['no TCR_EL1', { tcr_el1: undefined }, {}, 'field tcr_el1'],
    ['no TTBR1_EL1', { ttbr1_el1: undefined }, {}, 'field ttbr1_el1'],
    ['no MAIR_EL1', { mair_el1: undefined }, {}, 'field mair_el1'],
    ['permission indirection without its registers', { tcr2_el1: '0x2' }, {}, 'field pir_el1'],
    ['and without the one of EL0', { tcr2_el1: '0x2', pir_el1: '0x0' }, {}, 'field pire0_el1'],
    ['overlays without their register', { tcr2_el1: '0x8' }, {}, 'field por_el1'],
  ])('are refused with %s', (_, extra, options, field) => {
    expect(refusal(() => dumpWith(extra, options))).toBe(
      `regs.json: ${field}: expected a hexadecimal string "0x…" of at most 64 bits, found nothing`,
    );
  });

  it.each<[string, object, string]>([
    [
      'of another architecture',
      { arch: 'x86_64' },
      'field arch: expected "arm64", as the core says, found "x86_64"',
    ],
    [
      'that are no number',
      { ttbr0_el1: 'none' },
      'field ttbr0_el1: expected a hexadecimal string "0x…" of at most 64 bits, found "none"',
    ],
    [
      'that are too long',
      { tcr_el1: '0x10000000000000000' },
      'field tcr_el1: expected a hexadecimal string "0x…" of at most 64 bits, found "0x10000000000000000"',
    ],
  ])('are refused when they are %s', (_, extra, want) => {
    expect(refusal(() => dumpWith(extra))).toBe(`regs.json: ${want}`);
  });
});

describe('TCR2_EL1 that is not given', () => {
  const PIE = 'TCR2_EL1 = 0x2 (PIE = 1, as PIR_EL1 is not 0)';
  it.each<[string, object, bigint, string]>([
    ['0, as usual', {}, 0n, 'TCR2_EL1 = 0'],
    ['0 also where permission registers are 0', { pir_el1: '0x0', por_el0: '0x0' }, 0n, 'TCR2_EL1 = 0'],
    ['PIE = 1 where PIR_EL1 says something', { pir_el1: '0x5', pire0_el1: '0x0' }, 2n, PIE],
    [
      'POE = E0POE = 1 where POR_EL1 and POR_EL0 do',
      { por_el1: '0x7', por_el0: '0x7' },
      0xcn,
      'TCR2_EL1 = 0xc (POE = 1, as POR_EL1 is not 0; E0POE = 1, as POR_EL0 is not 0)',
    ],
  ])('is %s', (_, extra, tcr2, line) => {
    const dump = dumpWith({ ...extra, id_aa64mmfr3_el1: '0x0' });
    expect(dump.state).toMatchObject({ tcr2, indirect: (tcr2 & 2n) !== 0n });
    expect(dump.state.assumed).toContain(line);
    expect(dumpHeadText(dump)).toContain(line);
    expect(dump.state.features).toMatchObject({ s1pie: (tcr2 & 2n) !== 0n, s1poe: tcr2 === 0xcn });
  });

  it('is followed where it is given: PIE = 0 and a PIR_EL1 that means nothing', () => {
    const { state } = dumpWith({ tcr2_el1: '0x0', pir_el1: '0x5' });
    expect(state).toMatchObject({ tcr2: 0n, indirect: false });
    expect(state.assumed.join()).not.toContain('TCR2_EL1');
  });

  it('makes the other register of indirection necessary', () => {
    expect(refusal(() => dumpWith({ pir_el1: '0x5' }))).toContain('field pire0_el1');
  });
});

describe('bits of leaves that hardware ignores', () => {
  const HPD0 = 1n << 41n;
  const HWU = (bit: bigint): bigint => 1n << (43n + bit - 59n);
  const SOFTWARE = 0x8780_0000 | 0;
  it.each<[string, object, number]>([
    ['58:55, 63 and PBHA', {}, 0xff80_0000 | 0],
    ['PBHA also with HWU and HPD0 = 0', tcr(TCR | HWU(59n)), 0xff80_0000 | 0],
    ['not what HWU059 and HWU062 name', tcr(TCR | HPD0 | HWU(59n) | HWU(62n)), 0xb780_0000 | 0],
    [
      'HPD0 counts as 1 with indirection',
      { ...tcr(TCR | HWU(60n)), pir_el1: '1', pire0_el1: '0' },
      0xef80_0000 | 0,
    ],
    ['not POIndex where overlays are on', { por_el0: '0x1' }, SOFTWARE | (1 << 27)],
  ])('are %s', (_, extra, ignored) => {
    expect(dumpWith(extra).regions[0]?.ignoredHigh).toBe(ignored);
  });
});

describe('registers of another place', () => {
  it('are not in the core, which is said', () => {
    expect(refusal(() => pageTableDump(core))).toBe(
      'arm.core: an AArch64 core does not hold the translation registers: expected --regs with TTBR0_EL1, TTBR1_EL1, TCR_EL1, SCTLR_EL1 and MAIR_EL1',
    );
  });

  it('of x86-64 do not go with it', () => {
    expect(refusal(() => pageTableDump(core, { cr3: 0n }))).toContain('option --cr3 is for x86-64 cores');
    expect(refusal(() => pageTableDump(core, { cpu: 0 }))).toContain('option --cpu is for x86-64 cores');
  });

  it('of a half without walks may be missing', () => {
    const EPD1 = 1n << 23n;
    const dump = dumpWith({ ...tcr(TCR | EPD1), ttbr1_el1: undefined });
    expect(dump.regions.map(({ register }) => register)).toEqual(['TTBR0_EL1']);
    expect(dumpHeadText(dump)).toContain('TTBR1_EL1: no translation: TCR_EL1.EPD1 = 1\n');
    const beyond = dumpWith({ ...tcr(TCR & ~(7n << 32n)), ttbr1_el1: '0x100000000' });
    expect(beyond.without).toEqual([
      { register: 'TTBR1_EL1', walks: false, reason: 'its first table lies beyond the output size' },
    ]);
    expect(dumpWith(tcr(TCR & ~63n)).without).toEqual([
      { register: 'TTBR0_EL1', walks: false, reason: 'TCR_EL1.T0SZ is out of range' },
    ]);
  });

  it('say what PSTATE.PAN is for the kernel: as at the stop, or as an exception makes it', () => {
    const SPAN = 1n << 23n;
    const pan = (cpsr: string | undefined, sctlr = 1n): boolean =>
      dumpWith({ cpsr, sctlr_el1: `0x${sctlr.toString(16)}` }).state.pstateEl1.pan;
    expect(pan('0x1000')).toBe(true);
    expect(pan('0x1000', 1n | SPAN)).toBe(false);
    expect(pan('0x400005')).toBe(true);
    expect(pan('0x5')).toBe(false);
    expect(pan(undefined)).toBe(true);
  });

  it('say where PSTATE comes from, and list what of EL1 was assumed', () => {
    const { state } = dumpWith({ cpsr: '0x1000' });
    expect(state.pstateEl0).toEqual({ pan: false, uao: false, tco: false, origin: 'from cpsr' });
    const origin = 'PAN = 1 as an exception leaves it (cpsr is of EL0, SCTLR_EL1.SPAN = 0), UAO = TCO = 0';
    expect(state.pstateEl1).toEqual({ pan: true, uao: false, tco: false, origin });
    expect(state.assumed).toContain(`PSTATE at EL1: ${origin}`);
    const kernel = dumpWith({ cpsr: '0x2c00005', tcr2_el1: '0x0' }).state;
    expect(kernel.pstateEl1).toEqual({ pan: true, uao: true, tco: true, origin: 'from cpsr' });
    expect(kernel.pstateEl0.origin).toBe('all zero, as cpsr is of EL1');
    expect(kernel.assumed).toEqual([]);
    expect(dumpWith({}).state.pstateEl1.origin).toMatch(/there is no cpsr/);
  });
});

describe('tables', () => {
  it('are chosen by name: a process is the lower half, "kernel" the upper one', () => {
    const roots = { init: '0x50000001', kernel: '0x60000001' };
    expect(dumpWith({ roots }, { root: 'init' }).state).toMatchObject({
      ttbr0: 0x5000_0001n,
      ttbr1: 0x4_0000_41f1_6001n,
    });
    expect(dumpWith({ roots }, { root: 'kernel' }).state).toMatchObject({
      ttbr0: 0x4000_0001n,
      ttbr1: 0x6000_0001n,
    });
    expect(dumpWith({ roots, ttbr0_el1: undefined }, { root: 'init' }).state.ttbr0).toBe(0x5000_0001n);
    expect(refusal(() => dumpWith({ roots }, { root: 'zoo' }))).toBe(
      'regs.json: no root named "zoo": expected init, kernel, found zoo',
    );
  });

  it('are chosen by value', () => {
    expect(dumpWith({}, { ttbr0: 0x7000n }).state.ttbr0).toBe(0x7000n);
    expect(dumpWith({}, { ttbr1: 0x7000n }).state.ttbr1).toBe(0x7000n);
  });
});

describe('tables', () => {
  const T = (t0: number, t1: number): bigint => BigInt(t0) | (BigInt(t1) << 16n);
  const DS = 1n << 59n;
  const [TG0_16, TG0_64] = [2n << 14n, 1n << 14n];
  const [TG1_16, TG1_4, TG1_64] = [1n << 30n, 2n << 30n, 3n << 30n];
  const IPS = (value: bigint): bigint => value << 32n;
  it.each<[string, bigint, string[]]>([
    [
      '4 KiB, 48 bits',
      T(16, 16) | TG1_4 | IPS(5n),
      ['TTBR0_EL1 12 48 level 0 512@40000000', 'TTBR1_EL1 12 48 level 0 512@41f16000'],
    ],
    [
      '4 KiB, 39 and 36 bits',
      T(25, 28) | TG1_4 | IPS(5n),
      ['TTBR0_EL1 12 39 level 1 512@40000000', 'TTBR1_EL1 12 36 level 1 64@41f16000'],
    ],
    [
      '4 KiB, 52 bits',
      T(12, 12) | TG1_4 | IPS(6n) | DS,
      ['TTBR0_EL1 12 52 level -1 16@40000000 wide', 'TTBR1_EL1 12 52 level -1 16@41f16000 wide'],
    ],
    [
      '16 KiB, 48 and 47 bits',
      T(16, 17) | TG0_16 | TG1_16 | IPS(5n),
      ['TTBR0_EL1 14 48 level 0 2@40000000', 'TTBR1_EL1 14 47 level 1 2048@41f14000'],
    ],
    [
      '16 KiB, 52 bits',
      T(12, 12) | TG0_16 | TG1_16 | IPS(6n) | DS,
      ['TTBR0_EL1 14 52 level 0 32@40000000 wide', 'TTBR1_EL1 14 52 level 0 32@41f16000 wide'],
    ],
    [
      '64 KiB, 52 and 42 bits',
      T(12, 22) | TG0_64 | TG1_64 | IPS(6n),
      ['TTBR0_EL1 16 52 level 1 1024@40000000 wide', 'TTBR1_EL1 16 42 level 2 8192@41f10000 wide'],
    ],
    [
      '64 KiB, 48-bit output addresses',
      T(16, 16) | TG0_64 | TG1_64 | IPS(5n),
      ['TTBR0_EL1 16 48 level 1 64@40000000 wide', 'TTBR1_EL1 16 48 level 1 64@41f16000 wide'],
    ],
    [
      '4 KiB without DS has no 52 bits',
      T(12, 16) | TG1_4 | IPS(6n),
      ['TTBR1_EL1 12 48 level 0 512@41f16000'],
    ],
    [
      'a reserved TG1 = 0, taken for 4 KiB',
      T(16, 16) | IPS(5n),
      ['TTBR0_EL1 12 48 level 0 512@40000000', 'TTBR1_EL1 12 48 level 0 512@41f16000'],
    ],
  ])('of %s start where TCR_EL1 says', (_, bits, want) => {
    expect(regionsOf(tcr(bits))).toEqual(want);
  });
});

describe('the first table', () => {
  it('takes, with 52-bit addresses, bits 5:2 of the register as bits 51:48', () => {
    const [lower] = dumpWith({
      ...tcr((6n << 32n) | (1n << 59n) | (2n << 30n) | 0xc_000cn),
      ttbr0_el1: '0xabcd00004000003d',
    }).regions;
    expect(lower?.tableAddress).toBe(0xf_0000_4000_0000);
  });
});

describe('the processor', () => {
  it('is what its ID registers say', () => {
    const { features } = dumpWith({
      id_aa64mmfr0_el1: '0x22200101126',
      id_aa64mmfr1_el1: '0x11010211122',
      id_aa64mmfr2_el1: '0x1021011010011011',
      id_aa64mmfr3_el1_reserved: '0x0',
    }).state;
    expect(features).toMatchObject({
      physicalAddressBits: 52,
      asidBits: 16,
      lpa: true,
      lpa2Granule4k: false,
      lpa2Granule16k: false,
      lva: true,
      ttst: true,
      hafdbs: 2,
      hpds: true,
      pan: 2,
      e0pd: true,
      tcr2: false,
      s1pie: false,
    });
  });

  it('has what its control registers use, whatever the ID registers say', () => {
    const { features } = dumpWith({
      ...tcr(TCR | (1n << 59n)),
      tcr2_el1: '0x2',
      pir_el1: '0x0',
      pire0_el1: '0x0',
      id_aa64mmfr0_el1: '0x6',
      id_aa64mmfr3_el1: '0x0',
    }).state;
    expect(features).toMatchObject({ lpa2Granule4k: true, lpa2Granule16k: true, tcr2: true, s1pie: true });
  });
});

describe('the head of the list', () => {
  it('says what was assumed, and what the file contradicts', () => {
    const head = dumpHeadText(dumpWith({ granule: 16384, va_bits_ttbr0: 48, ds: false }));
    expect(head).toContain('not given, assumed: TCR2_EL1 = 0');
    expect(head).toContain(
      'contradicts itself, the register is followed: granule is 16384, TCR_EL1 says 4096\n',
    );
    expect(head).not.toContain('va_bits');
    expect(dumpHeadText(dumpWith({ tcr2_el1: '0x0', cpsr: '0x5' }))).not.toContain('assumed');
  });

  it('says which tables there are', () => {
    expect(dumpHeadText(dumpWith({}))).toContain('TTBR1_EL1: 48-bit addresses, 4K granule, start level 0\n');
  });
});

it('there is nothing to list while the MMU is off', () => {
  expect(refusal(() => dumpWith({ sctlr_el1: '0x0' }).list())).toContain('SCTLR_EL1.M = 0');
});
