import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Access } from '../../../../src/arch/access.ts';
import { encodeTagInstruction, TAG_ENCODINGS } from '../../../../src/arch/arm64/mte/encodings.ts';
import { SP } from '../../../../src/arch/arm64/register-file.ts';
import { DATA, Memory, tagged } from '../small-machine.ts';
import { ALL_ONES, type Program, program, VA, word } from './program.ts';

const { User } = Access;
const NAMES = ['stg', 'stzg', 'st2g', 'stz2g'] as const;

describe('LDG and the stores of one or two tags', () => {
  it.each(NAMES)('%s stores the tag of Xt, LDG reads it back into bits 59:56 only', (name) => {
    fc.assert(
      fc.property(fc.nat(15), fc.nat(0xfe), fc.bigInt(0n, ALL_ONES), (tag, granule, before) => {
        const machine = program()
          .set(1, VA + BigInt(granule * 16))
          .set(2, tagged(tag, ALL_ONES));
        expect(machine.run(word(name, [2, 1, 0], 'offset'))).toBe('none');
        machine.set(3, before);
        expect(machine.run(word('ldg', [3, 1, 0]))).toBe('none');
        expect(machine.get(3)).toBe(tagged(tag, before));
        expect(machine.tags(DATA + BigInt(granule * 16), 3)).toEqual(
          name.includes('2') ? [tag, tag, 0] : [tag, 0, 0],
        );
      }),
    );
  });

  it.each([
    ['stg', 0, 0],
    ['stzg', 16, 1],
    ['st2g', 0, 0],
    ['stz2g', 32, 1],
  ])('%s zeroes %d bytes and leaves the rest', (name, bytes) => {
    const machine = program()
      .set(1, VA + 0x20n)
      .set(2, tagged(7, 0n));
    machine.memory.writeBytes(Number(DATA >> 12n), 0, new Uint8Array(4096).fill(0xee));
    machine.run(word(name, [2, 1, 0], 'offset'));
    const page = new Uint8Array(4096);
    machine.memory.readBytes(Number(DATA >> 12n), 0, page);
    expect(page.filter((byte) => byte === 0)).toHaveLength(bytes);
    if (bytes > 0) expect(page.indexOf(0)).toBe(0x20);
  });

  it.each([
    ['post', VA + 0x40n, VA + 0x10n],
    ['offset', VA + 0x10n, VA + 0x40n],
    ['pre', VA + 0x40n, VA + 0x40n],
  ] as const)('%s-indexing: the base afterwards is %#x and the tag went to %#x', (form, base, target) => {
    const machine = program()
      .set(1, VA + 0x10n)
      .set(2, tagged(7, 0n));
    expect(machine.run(word('stg', [2, 1, 0x30], form))).toBe('none');
    expect([machine.get(1), machine.tag(target - VA + DATA)]).toEqual([base, 7]);
  });

  it('carries the offset into the high half of the base, and borrows from it', () => {
    const machine = program()
      .map(0x1_0000_0000n, DATA)
      .map(0xffff_f000n, DATA + 0x5000n) as Program;
    machine.set(1, tagged(7, 0xffff_fff0n));
    expect(machine.run(word('stg', [1, 1, 16], 'pre'))).toBe('none');
    expect([machine.get(1), machine.tag(DATA)]).toEqual([tagged(7, 0x1_0000_0000n), 7]);
    expect(machine.run(word('stg', [1, 1, -16], 'pre'))).toBe('none');
    expect([machine.get(1), machine.tag(DATA + 0x5ff0n)]).toEqual([tagged(7, 0xffff_fff0n), 7]);
    expect(machine.run(word('st2g', [1, 1, 0], 'offset'))).toBe('none');
  });

  it('takes the tag of SP when Xt is register 31', () => {
    const machine = program().set(SP, tagged(11, VA));
    machine.run(word('stg', [SP, SP, 0], 'offset'));
    expect(machine.tag(DATA)).toBe(11);
  });
});

describe('LDG and the stores of one or two tags, where they may not go', () => {
  it('LDG aligns its address down; the stores do not (Alignment fault before translation, also with ATA = 0)', () => {
    const machine = program({ sctlr: { ATA: 0 } }).set(1, VA + 0x18n);
    machine.setTag(DATA + 0x10n, 6);
    expect(machine.run(word('ldg', [2, 1, 0]))).toBe('none');
    for (const name of NAMES) {
      expect(machine.run(word(name, [2, 1, -0x1000], 'pre'))).toBe('alignment ESR 96000061 FAR 3ff018');
    }
    expect(machine.get(1)).toBe(VA + 0x18n);
    expect(machine.run(word('stgp', [2, 2, 1, 0], 'offset'), User)).toBe('alignment ESR 92000061 FAR 400018');
  });

  it('reads without the right to write, and writes not', () => {
    const machine = program().map(VA, DATA, Memory.Tagged, { AP: 3 }) as Program;
    machine.set(1, VA);
    expect(machine.run(word('ldg', [2, 1, 0]))).toBe('none');
    expect(machine.run(word('stg', [2, 1, 0], 'post'))).toBe('permission ESR 9600004f FAR 400000');
    expect(machine.get(1)).toBe(VA);
    machine.set(1, 0x70_0010n);
    expect(machine.run(word('ldg', [2, 1, 0]), User)).toBe('not present ESR 92000006 FAR 700010');
  });

  it('is no checked access', () => {
    const machine = program({ sctlr: { TCF: 1 } }).setTag(DATA, 3) as Program;
    machine.set(1, tagged(9, VA));
    expect(machine.run(word('stz2g', [1, 1, 0], 'offset'))).toBe('none');
    expect(machine.run(word('stgp', [2, 2, 1, 0x20], 'offset'))).toBe('none');
    expect(machine.tags(DATA, 4)).toEqual([9, 9, 9, 0]);
  });

  it('two granules in two pages: each in its own', () => {
    const machine = program().set(1, tagged(9, VA + 0xff0n));
    machine.memory.writeWord(DATA + 0x5008n, 1n);
    expect(machine.run(word('stz2g', [1, 1, 0], 'offset'))).toBe('none');
    expect([machine.tag(DATA + 0xff0n), machine.tag(DATA + 0x5000n), machine.tag(DATA + 0x1000n)]).toEqual([
      9, 9, 0,
    ]);
    expect(machine.memory.readWord(DATA + 0x5008n)).toBe(0n);
  });

  it('two granules in two pages: nothing is done when the second faults, which FAR says', () => {
    const machine = program().set(1, tagged(9, VA + 0x1ff0n));
    expect(machine.run(word('st2g', [1, 1, 0], 'post'))).toBe('not present ESR 96000047 FAR 900000000402000');
    expect([machine.tag(DATA + 0x5ff0n), machine.get(1)]).toEqual([0, tagged(9, VA + 0x1ff0n)]);
  });

  it('two granules in two pages, one of them Tagged', () => {
    const machine = program().map(VA + 0x1000n, DATA + 0x5000n, Memory.Normal) as Program;
    machine.set(1, tagged(9, VA + 0xff0n));
    expect(machine.run(word('st2g', [1, 1, 0], 'offset'))).toBe('none');
    expect([machine.tag(DATA + 0xff0n), machine.tag(DATA + 0x5000n)]).toEqual([9, 0]);
  });
});

describe('STGP', () => {
  it('stores a pair and the tag of the address', () => {
    const machine = program().set(1, tagged(6, VA)).set(2, 0x1111n).set(3, tagged(9, 0x2222n));
    expect(machine.run(word('stgp', [2, 3, 1, 0x40], 'pre'))).toBe('none');
    const { memory } = machine;
    expect([memory.readWord(DATA + 0x40n), memory.readWord(DATA + 0x48n)]).toEqual([
      0x1111n,
      tagged(9, 0x2222n),
    ]);
    expect([machine.tag(DATA + 0x40n), machine.get(1)]).toEqual([6, tagged(6, VA + 0x40n)]);
    machine.set(SP, tagged(4, VA));
    machine.run(word('stgp', [SP, SP, SP, 0], 'offset'));
    expect([memory.readWord(DATA), memory.readWord(DATA + 8n), machine.tag(DATA)]).toEqual([0n, 0n, 4]);
  });
});

describe('LDGM, STGM and STZGM', () => {
  it.each([2, 3, 4, 5, 6])('transfer the block of GMID_EL1.BS = %d around the address', (gmidBs) => {
    const machine = program({ features: { gmidBs } });
    for (let granule = 0; granule < 16; granule++) machine.setTag(DATA + BigInt(granule * 16), 15 - granule);
    const bytes = 4 << gmidBs;
    const first = 0x80 & ~(bytes - 1);
    machine.set(1, VA + 0x80n + BigInt(bytes >> 2)).set(2, ALL_ONES);
    expect(machine.run(word('ldgm', [2, 1]))).toBe('none');
    let expected = 0n;
    for (let at = first; at < first + bytes; at += 16) expected |= BigInt(15 - at / 16) << BigInt(at / 4);
    expect(machine.get(2)).toBe(expected);
    machine.set(3, 0xfedc_ba98_7654_3210n);
    expect(machine.run(word('stgm', [3, 1]))).toBe('none');
    const all = machine.tags(DATA, 16).map((tag, index) => {
      const inside = index * 16 >= first && index * 16 < first + bytes;
      return tag === (inside ? index : 15 - index);
    });
    expect(all).not.toContain(false);
    expect(machine.tag(DATA + 0x100n)).toBe(0);
  });

  it('STGM stores what LDGM read, for any tags', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, ALL_ONES), (tags) => {
        const machine = program()
          .set(1, VA + 0x100n)
          .set(2, tags);
        machine.run(word('stgm', [2, 1]));
        machine.run(word('ldgm', [3, 1]));
        expect(machine.get(3)).toBe(tags);
      }),
    );
  });

  it('STGM of XZR stores tags 0, LDGM to XZR goes nowhere', () => {
    const machine = program().set(1, VA).set(SP, 5n).setTag(DATA, 3) as Program;
    machine.run(word('ldgm', [SP, 1]));
    expect(machine.get(SP)).toBe(5n);
    machine.run(word('stgm', [SP, 1]));
    expect(machine.tag(DATA)).toBe(0);
  });

  it.each([2, 4, 5])('STZGM tags and zeroes the block of DCZID_EL0.BS = %d around the address', (dczidBs) => {
    const machine = program({ features: { dczidBs } }).set(2, 0xfan);
    const bytes = 4 << dczidBs;
    machine.set(1, VA + 0x100n + BigInt(bytes - 1));
    machine.memory.writeBytes(Number(DATA >> 12n), 0, new Uint8Array(4096).fill(0xee));
    expect(machine.run(word('stzgm', [2, 1]))).toBe('none');
    const page = new Uint8Array(4096);
    machine.memory.readBytes(Number(DATA >> 12n), 0, page);
    expect([page.indexOf(0), page.lastIndexOf(0)]).toEqual([0x100, 0xff + bytes]);
    expect(machine.tags(DATA + 0xf0n, bytes / 16 + 2)).toEqual([0, ...new Array(bytes / 16).fill(10), 0]);
  });

  it.each(['ldgm', 'stgm', 'stzgm'])('%s is UNDEFINED at EL0', (name) => {
    const machine = program().set(1, VA);
    expect(machine.run(word(name, [2, 1]), User)).toBe('undefined instruction ESR 2000000 FAR 0');
  });
});

describe('DC GVA and DC GZVA', () => {
  const [gva, gzva] = TAG_ENCODINGS.filter(({ mnemonic }) => mnemonic === 'dc').map((row) =>
    encodeTagInstruction(row, [0, 1]),
  ) as [number, number];

  it('give the block the tag of the pointer, and GZVA zeroes it', () => {
    const machine = program({ sctlr: { TCF: 1 } }).set(1, tagged(6, VA + 0x55n));
    machine.memory.writeWord(DATA + 0x40n, 9n);
    expect(machine.run(gva)).toBe('none');
    expect(machine.tags(DATA + 0x30n, 6)).toEqual([0, 6, 6, 6, 6, 0]);
    expect(machine.memory.readWord(DATA + 0x40n)).toBe(9n);
    machine.set(1, tagged(7, VA + 0x55n));
    expect(machine.run(gzva, User)).toBe('none');
    expect(machine.tags(DATA + 0x30n, 6)).toEqual([0, 7, 7, 7, 7, 0]);
    expect(machine.memory.readWord(DATA + 0x40n)).toBe(0n);
  });

  it('report the address as given, and Device memory as an Alignment fault', () => {
    const machine = program({}, Memory.Device).set(1, VA + 0x55n);
    expect(machine.run(gva)).toBe('alignment ESR 96000061 FAR 400055');
    machine.set(1, 0x70_0055n);
    expect(machine.run(gzva)).toBe('not present ESR 96000046 FAR 700055');
  });

  it('are trapped at EL0 while SCTLR_EL1.DZE = 0: EC 0x18, the ISS says which and by which register', () => {
    const machine = program({ sctlr: { DZE: 0 } }).set(1, VA);
    const iss = (op2: number): number =>
      (1 << 20) | (op2 << 17) | (3 << 14) | (7 << 10) | (1 << 5) | (4 << 1);
    expect(machine.run(gva, User)).toContain(`ESR ${(0x6200_0000 + iss(3)).toString(16)}`);
    expect(machine.run(gzva, User)).toContain(`ESR ${(0x6200_0000 + iss(4)).toString(16)}`);
  });
});
