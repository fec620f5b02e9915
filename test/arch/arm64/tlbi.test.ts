/**
 * What each TLBI drops and what it leaves, on a CPU that keeps all it may. Sections are of the Arm ARM (DDI 0487): "TLB
 * maintenance instruction scope", "Operation of the TLB maintenance instructions".
 */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import type { GranuleShift } from '../../../src/arch/arm64/entries.ts';
import { flushEventName } from '../../../src/arch/arm64/invalidation.ts';
import { tlbiNamed } from '../../../src/arch/arm64/tlbi.ts';
import { addressOperand, asidOperand, rangeOperand } from '../../../src/arch/arm64/tlbi-operands.ts';
import type { Retention } from '../../../src/hardware/retention.ts';
import {
  AF,
  Board,
  type BoardOptions,
  CONTIGUOUS,
  INNER,
  NOT_GLOBAL,
  PAGE_TYPE,
  USER,
  VALID,
} from './board.ts';

/** What is cached at the start: of ASID 1 and of ASID 2, each page of a table of its own. */
const PAGES = {
  PAGE: 0x7fff_0000_0000n,
  NEXT: 0x7fff_0000_1000n,
  GLOBAL: 0x7fff_0020_0000n,
  BLOCK: 0x7fff_0060_0000n,
  UPPER: 0xffff_8000_0000_5000n,
} as const;
type PageName = keyof typeof PAGES;
const NAMES = Object.keys(PAGES) as PageName[];

const STALE = 0x4000_0000n;
const FRESH = 0x8000_0000n;

class Cached extends Board {
  readonly #leaves: readonly bigint[];

  constructor(options: BoardOptions = {}) {
    super(options);
    this.#leaves = NAMES.map((name) => {
      const attributes = AF | USER | INNER | (name === 'GLOBAL' ? 0n : NOT_GLOBAL);
      return this.map(PAGES[name], STALE, attributes, name === 'BLOCK' ? 2 : 3);
    });
    for (const asid of [2, 1]) {
      this.setAsid(asid);
      for (const name of NAMES) this.access(PAGES[name]);
    }
  }

  /** Rewrites every leaf and lists what is still translated the old way: "1:PAGE" for PAGE with ASID 1. */
  stale(): string[] {
    for (const leaf of this.#leaves) this.write(leaf, this.read(leaf) ^ STALE ^ FRESH);
    const stale: string[] = [];
    for (const asid of [1, 2]) {
      this.setAsid(asid);
      for (const name of NAMES) {
        // A global entry answers both: filled anew for ASID 1 it would be there for ASID 2.
        if (name === 'GLOBAL' && asid === 2) continue;
        if (this.access(PAGES[name]) === STALE) stale.push(`${asid}:${name}`);
      }
    }
    return stale.sort();
  }
}

const all = NAMES.flatMap((name) => (name === 'GLOBAL' ? ['1:GLOBAL'] : [`1:${name}`, `2:${name}`])).sort();
const without = (...names: readonly string[]): string[] => all.filter((name) => !names.includes(name));

const at = (va: bigint, asid = 0): bigint => addressOperand(Number((va >> 12n) & 0xfff_ffff_ffffn), asid);
const hinted = (va: bigint, asid: number, granule: GranuleShift, level: number): bigint =>
  addressOperand(Number((va >> 12n) & 0xfff_ffff_ffffn), asid, { granule, level });
const range = (va: bigint, asid: number, scale: number, num: number, level = 0): bigint =>
  rangeOperand({ asid, page: Number((va >> 12n) & 0xfff_ffff_ffffn), granule: 12, scale, num, level }, false);

describe.each<Retention>(['profile', 'adversarial'])('what stays cached, %s retention', (retention) => {
  it.each<[string, string, bigint, string[]]>([
    ['all', 'VMALLE1', 0n, []],
    [
      'an ASID, and no global entry',
      'ASIDE1',
      asidOperand(1),
      ['1:GLOBAL', '2:BLOCK', '2:NEXT', '2:PAGE', '2:UPPER'],
    ],
    ['an ASID that nothing has', 'ASIDE1', asidOperand(0x101), all],
    ['ASID 0, whose number the tags of global entries have', 'ASIDE1', asidOperand(0), all],
    ['a page', 'VAE1', at(PAGES.PAGE, 1), without('1:PAGE')],
    ['a page of the other ASID', 'VAE1', at(PAGES.PAGE, 2), without('2:PAGE')],
    ['a page of an ASID that nothing has', 'VAE1', at(PAGES.PAGE, 3), all],
    ['a page of any ASID', 'VAAE1', at(PAGES.PAGE, 7), without('1:PAGE', '2:PAGE')],
    ['a global page, whatever the ASID', 'VAE1', at(PAGES.GLOBAL, 9), without('1:GLOBAL')],
    ['a global page by its last level', 'VALE1', at(PAGES.GLOBAL, 9), without('1:GLOBAL')],
    ['a global page of any ASID', 'VAALE1', at(PAGES.GLOBAL), without('1:GLOBAL')],
    ['the last level of a page', 'VALE1', at(PAGES.NEXT, 1), without('1:NEXT')],
    ['the last level of any ASID', 'VAALE1', at(PAGES.NEXT), without('1:NEXT', '2:NEXT')],
    ['anywhere in a block', 'VAE1', at(PAGES.BLOCK + 0x1f_f000n, 1), without('1:BLOCK')],
    ['just beyond a block', 'VAE1', at(PAGES.BLOCK + 0x20_0000n, 1), all],
    ['just before a block', 'VAE1', at(PAGES.BLOCK - 0x1000n, 1), all],
    ['a page of the upper range', 'VAE1', at(PAGES.UPPER, 1), without('1:UPPER')],
    ['the same bits 51:12 in the lower range', 'VAE1', at(PAGES.UPPER & 0xf_ffff_ffff_ffffn, 1), all],
    ['an address that is none of either range', 'VAAE1', at(PAGES.PAGE | (1n << 54n)), all],
    ['another address', 'VAAE1', at(0x1234_5000n), all],
  ])('%s: %s', (_, name, xt, stale) => {
    const cached = new Cached({ retention });
    cached.invalidate(name, xt);
    expect(cached.stale()).toEqual(stale);
  });
});

describe.each<Retention>(['profile', 'adversarial'])(
  'what a range leaves cached, %s retention',
  (retention) => {
    it.each<[string, string, bigint, string[]]>([
      ['two pages', 'RVAE1', range(PAGES.PAGE, 1, 0, 0), without('1:PAGE', '1:NEXT')],
      ['two pages from the second on', 'RVAE1', range(PAGES.NEXT, 1, 0, 0), without('1:NEXT')],
      ['up to just before them', 'RVAE1', range(PAGES.PAGE - 0x2000n, 1, 0, 0), all],
      ['up to the first of them', 'RVAE1', range(PAGES.PAGE - 0x1000n, 1, 0, 0), without('1:PAGE')],
      [
        'two pages of any ASID',
        'RVAAE1',
        range(PAGES.PAGE, 5, 0, 0),
        without(...['1', '2'].flatMap((a) => [`${a}:PAGE`, `${a}:NEXT`])),
      ],
      // 64 * 8 pages: 2 MiB up to the global page, not included; then 2 MiB more.
      ['up to the global page', 'RVALE1', range(PAGES.PAGE, 2, 1, 7), without('2:PAGE', '2:NEXT')],
      [
        'beyond the global page',
        'RVALE1',
        range(PAGES.PAGE, 2, 1, 8),
        without('2:PAGE', '2:NEXT', '1:GLOBAL'),
      ],
      [
        'into the middle of the block',
        'RVAALE1',
        range(PAGES.BLOCK - 0x4_0000n, 0, 1, 1),
        without('1:BLOCK', '2:BLOCK'),
      ],
      ['up to the block', 'RVAALE1', range(PAGES.BLOCK - 0x4_0000n, 0, 1, 0), all],
      ['inside the block', 'RVAALE1', range(PAGES.BLOCK + 0x1000n, 0, 0, 0), without('1:BLOCK', '2:BLOCK')],
      ['all of the lower range', 'RVAAE1', range(PAGES.PAGE, 0, 3, 31), ['1:UPPER', '2:UPPER']],
      ['the upper range', 'RVAE1', range(PAGES.UPPER, 1, 0, 0), without('1:UPPER')],
      [
        'two pages, with the hint that they are pages',
        'RVAE1',
        range(PAGES.PAGE, 1, 0, 0, 3),
        without('1:PAGE', '1:NEXT'),
      ],
      ['two pages, with a wrong hint', 'RVAE1', range(PAGES.PAGE, 1, 0, 0, 2), all],
      [
        'all, with the hint for blocks',
        'RVAAE1',
        range(0x7fff_0000_0000n, 0, 3, 0, 2),
        without('1:BLOCK', '2:BLOCK'),
      ],
    ])('a range, %s: %s', (_, name, xt, stale) => {
      const cached = new Cached({ retention });
      cached.invalidate(name, xt);
      expect(cached.stale()).toEqual(stale);
    });

    // "TTL": a hint that is wrong may leave the entry; here it does.
    it.each<[string, bigint, string[]]>([
      ['level 3 for a page', hinted(PAGES.PAGE, 1, 12, 3), without('1:PAGE')],
      ['level 2 for a page', hinted(PAGES.PAGE, 1, 12, 2), all],
      ['level 2 for a block', hinted(PAGES.BLOCK, 1, 12, 2), without('1:BLOCK')],
      ['level 3 for a block', hinted(PAGES.BLOCK, 1, 12, 3), all],
      ['level 1 for a block', hinted(PAGES.BLOCK, 1, 12, 1), all],
      ['level 3 of another granule', hinted(PAGES.PAGE, 1, 14, 3), all],
      ['a reserved hint is none', hinted(PAGES.PAGE, 1, 16, 0), without('1:PAGE')],
    ])('hint %s', (_, xt, stale) => {
      const cached = new Cached({ retention });
      cached.invalidate('VAE1', xt);
      expect(cached.stale()).toEqual(stale);
    });
  },
);

describe('a range for another granule than that of the tables', () => {
  it.each<[GranuleShift, boolean]>([
    [12, true],
    [14, false],
    [16, false],
  ])('2^%i bytes: dropped %s', (granule, dropped) => {
    const cached = new Cached();
    const xt = rangeOperand({ asid: 1, page: Number(PAGES.PAGE >> 12n), granule, scale: 0, num: 0 }, false);
    cached.invalidate('RVAE1', xt);
    expect(cached.stale().includes('1:PAGE')).toBe(!dropped);
  });
});

describe.each<[GranuleShift, number, boolean]>([
  [12, 48, false],
  [12, 52, true],
  [14, 48, false],
  [14, 52, true],
  [16, 48, false],
  [16, 52, false],
])('granule 2^%i, %i-bit addresses, DS %s', (granule, inputBits, wide) => {
  const size = 1n << BigInt(granule);
  const first = (1n << BigInt(inputBits - 1)) | (0x10n << 16n);
  const board = (): Board => {
    const made = new Board({ granule, inputBits, wide });
    for (let page = 0n; page < 40n; page++) {
      made.map(first + page * size, STALE + page * size);
      made.access(first + page * size);
    }
    return made;
  };
  /** The pages that are translated anew, once their descriptors are gone. */
  const dropped = (made: Board): number[] => {
    const pages = Array.from({ length: 40 }, (_, page) => page);
    for (const page of pages) made.write(made.descriptorAddress(first + BigInt(page) * size), 0n);
    return pages.filter((page) => made.access(first + BigInt(page) * size) !== STALE + BigInt(page) * size);
  };

  it('one page, whichever bits below the granule the operand has', () => {
    const made = board();
    made.invalidate('VAE1', at(first + 3n * size + (size - 0x1000n)));
    expect(dropped(made)).toEqual([3]);
  });

  it('a range of more than one page', () => {
    const made = board();
    const page = Number(first >> 12n);
    made.invalidate('RVAE1', rangeOperand({ asid: 0, page, granule, scale: 0, num: 2 }, wide));
    expect(dropped(made)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('with TCR_EL1.DS = 1 a range counts from a multiple of 64 KiB', () => {
    const made = board();
    const units = wide ? 16 : 2 ** (granule - 12);
    const page = Number(first >> 12n) + 16;
    made.invalidate('RVAE1', rangeOperand({ asid: 0, page, granule, scale: 0, num: 0 }, wide));
    const expected = 16 / (Number(size) / 4096);
    expect(dropped(made)).toEqual([expected, expected + 1]);
    expect(page % units).toBe(0);
  });
});

it.each<Retention>(['profile', 'adversarial'])(
  'a level 0 block of 512 GiB, with TCR_EL1.DS = 1, goes by any of its addresses (%s)',
  (retention) => {
    const board = new Board({ retention, inputBits: 52, wide: true });
    const block = 1n << 40n;
    const last = block + (1n << 39n) - 0x1000n;
    const leaf = board.map(block, 1n << 39n, board.attributes, 0);
    expect(board.access(last)).toBe((1n << 40n) - 0x1000n);
    board.write(leaf, 0n);
    board.invalidate('VAAE1', at(block + (1n << 39n)));
    board.invalidate('VAAE1', at(block - 0x1000n));
    expect(board.access(last)).toBe((1n << 40n) - 0x1000n);
    board.invalidate('VAAE1', at(block + (3n << 37n)));
    expect(board.access(last)).toBe('fault 0b000100');
  },
);

describe('table entries in the walk caches', () => {
  /** PAGE was used through its level 3 table, which was then replaced by another that maps it to FRESH. */
  const replaced = (): Board => {
    const board = new Board();
    board.setAsid(1);
    board.map(PAGES.PAGE, STALE);
    board.map(PAGES.NEXT, STALE);
    board.access(PAGES.NEXT);
    const table = board.newTable();
    board.write(table, FRESH | AF | NOT_GLOBAL | USER | INNER | PAGE_TYPE | VALID);
    board.write(board.descriptorAddress(PAGES.PAGE, 2), table | PAGE_TYPE | VALID);
    return board;
  };

  it.each<[string, bigint, bigint]>([
    ['VAE1', at(PAGES.PAGE, 1), FRESH],
    // Of any address that the table maps.
    ['VAE1', at(PAGES.PAGE + 0x1f_f000n, 1), FRESH],
    ['VAE1', at(PAGES.PAGE + 0x20_0000n, 1), STALE],
    ['VAE1', at(PAGES.PAGE, 2), STALE],
    ['VAAE1', at(PAGES.PAGE), FRESH],
    ['VALE1', at(PAGES.PAGE, 1), STALE],
    ['VAALE1', at(PAGES.PAGE), STALE],
    ['ASIDE1', asidOperand(1), FRESH],
    ['ASIDE1', asidOperand(2), STALE],
    ['VMALLE1', 0n, FRESH],
    ['RVAE1', range(PAGES.PAGE, 1, 0, 0), FRESH],
    ['RVAE1', range(PAGES.PAGE, 2, 0, 0), STALE],
    ['RVAAE1', range(PAGES.PAGE + 0x1f_f000n, 2, 0, 0), FRESH],
    ['RVALE1', range(PAGES.PAGE, 1, 0, 0), STALE],
    ['RVAALE1', range(PAGES.PAGE, 1, 0, 0), STALE],
    // Non-leaf entries up to, not including, the level of the hint.
    ['VAE1', hinted(PAGES.PAGE, 1, 12, 3), FRESH],
    ['VAE1', hinted(PAGES.PAGE, 1, 12, 2), STALE],
    ['VAE1', hinted(PAGES.PAGE, 1, 14, 3), STALE],
    ['RVAE1', range(PAGES.PAGE, 1, 0, 0, 3), FRESH],
    ['RVAE1', range(PAGES.PAGE, 1, 0, 0, 2), STALE],
  ])('%s %s: then the page is at %s', (name, xt, expected) => {
    const board = replaced();
    board.invalidate(name, xt);
    expect(board.access(PAGES.PAGE)).toBe(expected);
  });

  it('without any the old table is still used', () => {
    expect(replaced().access(PAGES.PAGE)).toBe(STALE);
  });
});

describe('other rules', () => {
  // "The Contiguous bit does not affect the minimum size of a TLB entry that is required to be invalidated."
  it('of a contiguous run only the page named goes', () => {
    const board = new Board();
    const leaves = Array.from({ length: 16 }, (_, page) => {
      const va = PAGES.PAGE + BigInt(page) * 0x1000n;
      const leaf = board.map(va, STALE + BigInt(page) * 0x1000n, AF | NOT_GLOBAL | USER | INNER | CONTIGUOUS);
      board.access(va);
      return leaf;
    });
    for (const leaf of leaves) board.write(leaf, 0n);
    board.invalidate('VAE1', at(PAGES.PAGE + 0x5000n));
    const kept = leaves.flatMap((_, page) => {
      const found = board.access(PAGES.PAGE + BigInt(page) * 0x1000n);
      return typeof found === 'bigint' ? [page] : [];
    });
    expect(kept).toEqual([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  });

  // "A TLB maintenance instruction is not affected by TCR_EL1.AS": all 16 bits are compared, with zeros in 8-bit contexts.
  it.each([
    [0x05n, false],
    [0x1205n, true],
  ])('with TCR_EL1.AS = 0 an operand with ASID %s leaves an entry of ASID 5: %s', (asid, kept) => {
    const board = new Board();
    board.mmu().state.tcrHi &= ~(1 << 4);
    // Bits 63:56 of TTBR0_EL1 do not count.
    board.setAsid(0x7705);
    board.access(PAGES.PAGE);
    const leaf = board.map(PAGES.PAGE, STALE);
    board.access(PAGES.PAGE);
    board.write(leaf, 0n);
    board.invalidate('VAE1', at(PAGES.PAGE, Number(asid)));
    expect(board.access(PAGES.PAGE) === STALE).toBe(kept);
  });

  it('both TLBs are reached: data and instructions', () => {
    const board = new Board();
    const leaf = board.map(PAGES.PAGE, STALE, AF | NOT_GLOBAL | INNER);
    for (const access of [Access.Read, Access.Fetch]) expect(board.access(PAGES.PAGE, 0, access)).toBe(STALE);
    board.write(leaf, 0n);
    for (const access of [Access.Read, Access.Fetch]) expect(board.access(PAGES.PAGE, 0, access)).toBe(STALE);
    board.invalidate('VAE1', at(PAGES.PAGE));
    for (const access of [Access.Read, Access.Fetch]) {
      expect(board.access(PAGES.PAGE, 0, access)).toBe('fault 0b000111');
    }
  });

  // "Context synchronization": a fault is never cached, so a new entry needs no TLBI.
  it('a page that is mapped after a fault needs no invalidation', () => {
    const board = new Board();
    board.map(PAGES.NEXT, STALE);
    expect(board.access(PAGES.PAGE)).toBe('fault 0b000111');
    board.map(PAGES.PAGE, FRESH);
    expect(board.access(PAGES.PAGE)).toBe(FRESH);
  });

  it('an instruction that the CPU does not have does nothing', () => {
    const board = new Board({ features: { tlbiRange: false } });
    expect(board.domain.tlbi(0, 'RVAE1', 0n)).toMatch(/FEAT_TLBIRANGE/);
    expect(board.domain.tlbi(0, 'VAE1', 0n, 0)).toMatch(/EL0/);
    expect(board.domain.pendingFor(0, 'data')).toEqual([]);
  });

  it('observers are told the instruction by its number', () => {
    expect(flushEventName(tlbiNamed('rvale1isnxs').index)).toBe('TLBI RVALE1ISnXS');
    expect(flushEventName(99)).toBe('TLBI operation 99');
  });
});
