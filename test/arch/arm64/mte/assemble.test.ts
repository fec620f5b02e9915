/** The text of a tag instruction, read back through the table that printed it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assembleTagInstruction } from '../../../../src/arch/arm64/mte/assemble.ts';
import { formatTagInstruction, TAG_ENCODINGS } from '../../../../src/arch/arm64/mte/encodings.ts';

describe('assembling a tag instruction', () => {
  // Words as the manual's encodings give them, worked out by hand.
  it.each([
    ['irg x0, x1', 0x9adf_1020],
    ['irg x0, x1, x2', 0x9ac2_1020],
    ['ADDG  SP , x1,#16, #2', 0x9181_083f],
    ['stg x0, [x1]', 0xd920_0820],
    ['stg x0, [x1, #0]', 0xd920_0820],
    ['stg sp, [x1, #-16]!', 0xd93f_fc3f],
    ['stg x0, [x1], #0', 0xd920_0420],
    ['ldg x0, [sp, #4080]', 0xd96f_f3e0],
    ['cmpp x1, x2', 0xbac2_003f],
    ['dc gva, x3', 0xd50b_7463],
    ['msr tco, #1', 0xd503_419f],
    ['msr tco, x1', 0xd51b_42e1],
    ['mrs x1, gcr_el1', 0xd538_10c1],
  ])('%s is %#x', (text, word) => {
    expect(assembleTagInstruction(text) >>> 0).toBe(word);
  });

  it('reads back what is printed of every row, with any operands', () => {
    fc.assert(
      fc.property(fc.constantFrom(...TAG_ENCODINGS), fc.integer(), (row, random) => {
        const word = (random & ~row.mask) | row.value;
        expect(assembleTagInstruction(formatTagInstruction(word) as string)).toBe(word);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['', ''],
    ['add x0, x1, #16', ''],
    ['irg x0', ''],
    ['irg x0, x1, x2, x3', ''],
    ['irg x31, x1', ''],
    ['gmi sp, x1, x2', ''],
    ['stg x0, x1', ''],
    ['ldg x0, [x1]!', ''],
    ['stg x0, [x1, #8]', ', but simm is a multiple of 16 from -4096 to 4080, not 8'],
    ['addg x0, x1, #1024, #0', ', but uimm6 is a multiple of 16 from 0 to 1008, not 1024'],
    ['msr gmid_el1, x1', ''],
  ])('refuses %j', (text, why) => {
    expect(() => assembleTagInstruction(text)).toThrow(
      expect.objectContaining({
        name: 'InputError',
        message: `no such tag instruction: found '${text}'${why}`,
      }),
    );
  });
});
