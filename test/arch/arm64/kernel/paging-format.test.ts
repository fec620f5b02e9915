/** arm64 entries as Linux writes them, bit by bit. @see Linux arch/arm64/include/asm/pgtable-prot.h, pgtable.h */
import { describe, expect, it } from 'vitest';
import { LINUX_TABLE, linuxPteLayout } from '../../../../src/arch/arm64/kernel/entry-layout.ts';
import { Arm64PagingFormat } from '../../../../src/arch/arm64/kernel/paging-format.ts';
import { ENTRY_KEY_SHIFT, ENTRY_MEMORY_TYPE_SHIFT, EntryFlag } from '../../../../src/arch/paging-format.ts';
import { fromHalves, type Halves, highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PTE_MARKER_GUARD, SWP_PTE_MARKER } from '../../../../src/kernel/mm/swap-entry.ts';
import { pagingLaws } from '../../../laws/paging.ts';

/** Bits 1:0 = 0b11, or 0b01 above the last level: bit 0 decides. */
const hardwareSees = (_hi: number, lo: number): boolean => (lo & 1) !== 0;
const GRANULES = [12, 14, 16] as const;
for (const granule of GRANULES) {
  for (const addressSize of [48, 52] as const) {
    const format = new Arm64PagingFormat({ granule, addressSize });
    pagingLaws(format.name, { format, hardwareSees, lacks: EntryFlag.SoftDirty });
  }
}

const {
  Present,
  Read,
  Write,
  User,
  Exec,
  Young,
  Dirty,
  Special,
  UffdWp,
  Protnone,
  Huge,
  Swap,
  SwapExclusive,
  Cont,
  Global,
  Guarded,
  PrivilegedExec,
} = EntryFlag;
const RO = Present | Read | User | Young;
const TAGGED = 1 << ENTRY_MEMORY_TYPE_SHIFT;

const format = new Arm64PagingFormat({ granule: 12, addressSize: 48 });
const pte = 3;
const pmd = 2;

const packed = (of: Arm64PagingFormat, frame: number, flags: number, level: number): bigint => {
  const out: Halves = { hi: 0, lo: 0 };
  of.pack(frame, flags, level, out);
  return fromHalves(out.hi, out.lo);
};

const changed = (word: bigint, set: number, clear: number, level = pte): bigint => {
  const out: Halves = { hi: 0, lo: 0 };
  format.change(highHalf(word), lowHalf(word), level, set, clear, out);
  return fromHalves(out.hi, out.lo);
};

const flagsOf = (word: bigint, level = pte): number => format.flagsOf(highHalf(word), lowHalf(word), level);

describe('an arm64 entry', () => {
  it.each([
    // Values as a dump of a running kernel (6.12, 4 KiB granule) shows them, but for the frame.
    ['writable, dirty data', RO | Write | Dirty, pte, 0xe8_0000_1234_5f43n],
    ['read-only data', RO, pte, 0x60_0000_1234_5fc3n],
    ['read-only data, old: mapped around a fault', RO & ~Young, pte, 0x60_0000_1234_5bc3n],
    ['read-only and dirty', RO | Dirty, pte, 0xe0_0000_1234_5fc3n],
    ['text', RO | Exec, pte, 0x20_0000_1234_5fc3n],
    ['writable and executable', RO | Write | Dirty | Exec, pte, 0xa8_0000_1234_5f43n],
    ['the zero page, special', RO | Special, pte, 0x160_0000_1234_5fc3n],
    ['text that is guarded (the vDSO), special', RO | Exec | Guarded | Special, pte, 0x124_0000_1234_5fc3n],
    ['PROT_MTE: Normal-Tagged memory', RO | Write | Dirty | TAGGED, pte, 0xe8_0000_1234_5f47n],
    ['write-protected by userfaultfd', RO | Dirty | UffdWp, pte, 0x4e0_0000_1234_5fc3n],
    [
      'PROT_NONE: bit 0 clear, bit 11 set',
      Present | Read | Protnone | Young | Dirty,
      pte,
      0xe0_0000_1234_5f82n,
    ],
    ['contiguous', RO | Write | Dirty | Cont, pte, 0xf8_0000_1234_5f43n],
    // Not in the dump.
    [
      'shared, writable, clean: RDONLY stays for the hardware to clear',
      RO | Write,
      pte,
      0x68_0000_1234_5fc3n,
    ],
    ['execute-only: neither USER nor UXN', Present | Exec | Young, pte, 0x20_0000_1234_5f83n],
    ['overlay 5', RO | (5 << ENTRY_KEY_SHIFT), pte, 0x5060_0000_1234_5fc3n],
    ['kernel data', Present | Read | Write | Dirty | Young | Global, pte, 0xe8_0000_1234_5703n],
    [
      'kernel text, Device-nGnRE memory',
      Present | Read | Young | Global | PrivilegedExec | (4 << ENTRY_MEMORY_TYPE_SHIFT),
      pte,
      0x40_0000_1234_5793n,
    ],
    ['a huge page', RO | Write | Dirty, pmd, 0xe8_0000_1234_5f41n],
    ['a huge PROT_NONE page', Present | Read | Protnone | Young | Dirty, pmd, 0xe0_0000_1234_5f80n],
  ])('%s', (_name, flags, level, word) => {
    expect(`0x${packed(format, 0x12345, flags, level).toString(16)}`).toBe(`0x${word.toString(16)}`);
    const huge = level === pte ? 0 : Huge;
    expect(flagsOf(word, level)).toBe(flags | huge);
    expect(format.frameOf(highHalf(word), lowHalf(word), level)).toBe(0x12345);
  });

  it('points to a table: Access flag, and no execution by the kernel below', () => {
    const out: Halves = { hi: 0, lo: 0 };
    format.packTable(0x34567, 0, out);
    expect(fromHalves(out.hi, out.lo)).toBe(0x800_0000_3456_7403n);
    expect(LINUX_TABLE.get(fromHalves(out.hi, out.lo), 'ADDRESS')).toBe(0x3456_7000n);
  });

  it('is none only when all 64 bits are clear', () => {
    expect(format.isNone(0, 0)).toBe(true);
    expect(format.isNone(0, 2)).toBe(false);
  });
});

describe('where addresses of 52 bits stand', () => {
  it.each([
    ['4 KiB with LPA2: 51:50 in bits 9:8', 12, 0xff_ffff_ffff, 0x63_ffff_ffff_ffc3n],
    ['16 KiB with LPA2: 51:50 in bits 9:8', 14, 0x3f_ffff_ffff, 0x63_ffff_ffff_cfc3n],
    ['64 KiB with LPA: 51:48 in bits 15:12', 16, 0xf_ffff_ffff, 0x60_ffff_ffff_ffc3n],
  ] as const)('%s', (_name, granule, frame, word) => {
    const wide = new Arm64PagingFormat({ granule, addressSize: 52 });
    expect(packed(wide, frame, RO, wide.levels.length - 1)).toBe(word);
    const layout = linuxPteLayout(granule, 52);
    expect(layout.get(word, 'ATTRINDX')).toBe(0n);
    const upper = layout.names.includes('ADDRESS_51_50') ? 'ADDRESS_51_50' : 'ADDRESS_51_48';
    expect(layout.get(word, upper)).toBe(granule === 16 ? 0xfn : 3n);
  });

  it.each([
    [12, 48, ['pgd 39+9', 'pud 30+9', 'pmd 21+9', 'pte 12+9']],
    [12, 52, ['pgd 48+4', 'p4d 39+9', 'pud 30+9', 'pmd 21+9', 'pte 12+9']],
    [14, 48, ['pgd 47+1', 'pud 36+11', 'pmd 25+11', 'pte 14+11']],
    [14, 52, ['pgd 47+5', 'pud 36+11', 'pmd 25+11', 'pte 14+11']],
    [16, 48, ['pgd 42+6', 'pmd 29+13', 'pte 16+13']],
    [16, 52, ['pgd 42+10', 'pmd 29+13', 'pte 16+13']],
  ] as const)('levels of 2^%i bytes pages and %i bits', (granule, addressSize, levels) => {
    const { levels: found } = new Arm64PagingFormat({ granule, addressSize });
    expect(found.map(({ name, shift, indexBits }) => `${name} ${shift}+${indexBits}`)).toEqual(levels);
  });
});

describe('dirty state', () => {
  const clean = 0x68_0000_1234_5fc3n;
  const hardwareDirty = 0x68_0000_1234_5f43n;
  const RDONLY = 0x80n;
  const DIRTY = 1n << 55n;

  it('is seen when the hardware has cleared RDONLY of a writable entry', () => {
    expect(flagsOf(clean) & Dirty).toBe(0);
    expect(flagsOf(hardwareDirty) & Dirty).toBe(Dirty);
  });

  it('moves to the bit of software when write permission goes', () => {
    expect(changed(hardwareDirty, 0, Write)).toBe((hardwareDirty & ~(1n << 51n)) | RDONLY | DIRTY);
    expect(changed(clean, 0, Write)).toBe(clean & ~(1n << 51n));
  });

  it('stays where the hardware put it when something else changes', () => {
    expect(changed(hardwareDirty & ~0x400n, Young, 0)).toBe(hardwareDirty);
  });

  it('goes in both places: pte_mkclean', () => {
    expect(changed(hardwareDirty | DIRTY, 0, Dirty)).toBe(clean);
  });

  it('of a read-only entry does not make it writable; a clean entry that becomes writable stays clean', () => {
    expect(changed(0x60_0000_1234_5fc3n, Dirty, 0)).toBe(0xe0_0000_1234_5fc3n);
    expect(changed(0x60_0000_1234_5fc3n, Write, 0)).toBe(clean);
    expect(changed(0xe0_0000_1234_5fc3n, Write, 0)).toBe(0xe8_0000_1234_5f43n);
  });
});

describe('arm64 swap entries', () => {
  it('a guard marker has its type in bits 10:6 and its offset from bit 12 on', () => {
    const out: Halves = { hi: 0, lo: 0 };
    format.packSwap(SWP_PTE_MARKER, PTE_MARKER_GUARD, 0, out);
    const word = fromHalves(out.hi, out.lo);
    expect(word).toBe((BigInt(PTE_MARKER_GUARD) << 12n) | (BigInt(SWP_PTE_MARKER) << 6n));
    expect(flagsOf(word)).toBe(Swap);
  });

  it('0x200004 of the dump is type 0, offset 0x200, exclusive', () => {
    expect([format.swapTypeOf(0, 0x20_0004), format.swapOffsetOf(0, 0x20_0004)]).toEqual([0, 0x200]);
    expect(flagsOf(0x20_0004n)).toBe(Swap | SwapExclusive);
  });
});

describe('pte_needs_flush', () => {
  it.each([
    ['read-only to writable', 0x60_0000_1234_5fc3n, 0x68_0000_1234_5fc3n, true],
    ['writable to read-only', 0xe8_0000_1234_5f43n, 0xe0_0000_1234_5fc3n, true],
    ['clean to dirty: the hardware looks again', 0x68_0000_1234_5fc3n, 0xe8_0000_1234_5f43n, false],
    ['dirty to clean', 0xe8_0000_1234_5f43n, 0x68_0000_1234_5fc3n, true],
    ['accessed set: an entry without it is in no TLB', 0x60_0000_1234_5bc3n, 0x60_0000_1234_5fc3n, false],
    ['accessed cleared', 0x60_0000_1234_5fc3n, 0x60_0000_1234_5bc3n, true],
    ['software bits only', 0x60_0000_1234_5fc3n, 0x4e0_0000_1234_5fc3n, false],
    ['no execution', 0x20_0000_1234_5fc3n, 0x60_0000_1234_5fc3n, true],
    ['another memory type', 0x60_0000_1234_5fc3n, 0x60_0000_1234_5fc7n, true],
    ['another frame', 0x60_0000_1234_5fc3n, 0x60_0000_1234_6fc3n, true],
    ['overlay changed', 0x60_0000_1234_5fc3n, 0x1060_0000_1234_5fc3n, true],
    ['PROT_NONE before', 0xe0_0000_1234_5f82n, 0xe8_0000_1234_5f43n, false],
  ])('flush: %s', (_name, before, after, needed) => {
    const args = [highHalf(before), lowHalf(before), highHalf(after), lowHalf(after)] as const;
    expect(format.needsFlush(...args, pte)).toBe(needed);
  });
});
