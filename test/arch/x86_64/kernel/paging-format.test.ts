/** x86-64 entries as Linux writes them, bit by bit. @see Linux arch/x86/include/asm/pgtable_types.h, pgtable_64.h */
import { describe, expect, it } from 'vitest';
import { ENTRY_KEY_SHIFT, ENTRY_MEMORY_TYPE_SHIFT, EntryFlag } from '../../../../src/arch/paging-format.ts';
import { LINUX_PTE } from '../../../../src/arch/x86_64/kernel/entry-layout.ts';
import { X86PagingFormat } from '../../../../src/arch/x86_64/kernel/paging-format.ts';
import { fromHalves, type Halves, highHalf, lowHalf } from '../../../../src/base/u64.ts';
import { PTE_MARKER_GUARD, SWP_PTE_MARKER } from '../../../../src/kernel/mm/swap-entry.ts';
import { pagingLaws } from '../../../laws/paging.ts';

const hardwareSees = (_hi: number, lo: number): boolean => (lo & 1) !== 0;
for (const levels of [4, 5] as const) {
  for (const shadowStacks of [false, true]) {
    const format = new X86PagingFormat({ levels, shadowStacks });
    pagingLaws(`${format.name}${shadowStacks ? ' with shadow stacks' : ''}`, { format, hardwareSees });
  }
}

const { Present, Read, Write, User, Exec, Young, Dirty, Special, Protnone, Huge, Swap, ShadowStack, Global } =
  EntryFlag;
const RO = Present | Read | User | Young;

const format = new X86PagingFormat({ levels: 4, shadowStacks: true });
const pte = 3;
const pmd = 2;

describe('an x86-64 entry', () => {
  it.each([
    // Values as a dump of a running kernel shows them.
    ['writable, dirty data', 0x12345, RO | Write | Dirty, pte, 0x8000_0000_1234_5067n],
    ['read-only text', 0x12345, RO | Exec, pte, 0x1234_5025n],
    ['read-only and dirty: the dirt moves to bit 58', 0x12345, RO | Dirty, pte, 0x8400_0000_1234_5025n],
    ['shadow stack: RW = 0, D = 1', 0x12345, RO | Dirty | ShadowStack, pte, 0x8000_0000_1234_5065n],
    ['the zero page, special', 0x1, RO | Special, pte, 0x8000_0000_0000_1225n],
    [
      'PROT_NONE: P = 0, bit 8, pfn inverted',
      0x1,
      Present | Read | Protnone | Young,
      pte,
      0x800f_ffff_ffff_e120n,
    ],
    [
      '2 MiB page, PAT bit at 12',
      0x200,
      RO | Write | Dirty | (4 << ENTRY_MEMORY_TYPE_SHIFT),
      pmd,
      0x8000_0000_0020_10e7n,
    ],
    ['key 5 in bits 62:59', 0x12345, RO | (5 << ENTRY_KEY_SHIFT), pte, 0xa800_0000_1234_5025n],
    [
      'uncached (PCD, PWT), global',
      0xfee00,
      RO | Write | Dirty | Global | (3 << ENTRY_MEMORY_TYPE_SHIFT),
      pte,
      0x8000_0000_fee0_017fn,
    ],
    ['the highest frame of 52 bits', 0xff_ffff_ffff, RO, pte, 0x800f_ffff_ffff_f025n],
  ])('%s', (_name, frame, flags, level, word) => {
    const out: Halves = { hi: 0, lo: 0 };
    format.pack(frame, flags, level, out);
    expect(`0x${fromHalves(out.hi, out.lo).toString(16)}`).toBe(`0x${word.toString(16)}`);
    const huge = level === pte ? 0 : Huge;
    expect(format.flagsOf(highHalf(word), lowHalf(word), level)).toBe(flags | huge);
    expect(format.frameOf(highHalf(word), lowHalf(word), level)).toBe(frame);
  });
});

describe('x86-64 entries of other kinds', () => {
  it('points to a table with everything allowed: 0x067 (_PAGE_TABLE)', () => {
    const out: Halves = { hi: 0, lo: 0 };
    format.packTable(0x34567, 0, out);
    expect(fromHalves(out.hi, out.lo)).toBe(0x3456_7067n);
  });

  it('a guard marker keeps bits 8:0 clear and its offset inverted above', () => {
    const out: Halves = { hi: 0, lo: 0 };
    format.packSwap(SWP_PTE_MARKER, PTE_MARKER_GUARD, 0, out);
    const word = fromHalves(out.hi, out.lo);
    expect(word & 0x1ffn).toBe(0n);
    expect(word >> 59n).toBe(BigInt(SWP_PTE_MARKER));
    expect((~word >> 9n) & 0x3_ffff_ffff_ffffn).toBe(BigInt(PTE_MARKER_GUARD));
    expect(format.flagsOf(out.hi, out.lo, pte)).toBe(Swap);
  });

  it('is none when only A or D are set: an erratum may set them in an empty entry', () => {
    expect(format.isNone(0, 0x60)).toBe(true);
    expect(format.isNone(0, 0x61)).toBe(false);
  });

  it('without shadow stacks RW = 0, D = 1 is a plain read-only dirty page', () => {
    const old = new X86PagingFormat({ levels: 4, shadowStacks: false });
    expect(old.flagsOf(highHalf(0x8000_0000_1234_5065n), 0x1234_5065, pte)).toBe(RO | Dirty);
  });

  it('a change leaves the bits alone that nothing names', () => {
    const free = LINUX_PTE.mask('FREE');
    const out: Halves = { hi: 0, lo: 0 };
    const word = 0x1234_5025n | free;
    format.change(highHalf(word), lowHalf(word), pte, Dirty | Write, 0, out);
    expect(fromHalves(out.hi, out.lo)).toBe(0x1234_5067n | free);
  });
});

describe('pte_needs_flush', () => {
  it.each([
    ['read-only to writable', 0x1234_5025n, 0x1234_5027n, true],
    ['accessed set', 0x1234_5005n, 0x1234_5025n, false],
    ['accessed cleared in a pte', 0x1234_5025n, 0x1234_5005n, false],
    ['dirty cleared', 0x1234_5067n, 0x1234_5027n, true],
    ['software bits only', 0x1234_5025n, 0x1234_5c25n, false],
    ['NX set', 0x1234_5025n, 0x8000_0000_1234_5025n, true],
    ['key changed', 0x1234_5025n, 0x0800_0000_1234_5025n, true],
    ['another frame', 0x1234_5025n, 0x1234_6025n, true],
    ['not present before', 0x1234_5024n, 0n, false],
  ])('flush: %s', (_name, before, after, needed) => {
    const args = [highHalf(before), lowHalf(before), highHalf(after), lowHalf(after)] as const;
    expect(format.needsFlush(...args, pte)).toBe(needed);
  });

  it('clearing accessed in a pmd needs a flush, unlike in a pte', () => {
    expect(format.needsFlush(0, 0x20_00a5, 0, 0x20_0085, pmd)).toBe(true);
  });
});
