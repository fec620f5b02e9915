/**
 * Break-before-make of blocks and of whole tables: splitting, merging, linking and unlinking, and which old entry a new one
 * is held against.
 */
import { describe, expect, it } from 'vitest';
import { Board, LOWER_ROOT, NOT_GLOBAL, PAGE_TYPE, VALID } from './board.ts';
import { ASID, FRAME, INBETWEEN, NT, OTHER, PAGE, PLAIN, VA, Watched, xt } from './watched-board.ts';

const BLOCK = FRAME | PLAIN;
/** A table that maps the block's memory page by page. */
const table = (board: Board, from = FRAME): bigint => {
  const made = board.newTable();
  for (let page = 0n; page < 512n; page++) board.write(made + page * 8n, (from + page * 0x1000n) | PAGE);
  return made | PAGE_TYPE | VALID;
};

describe('blocks and tables', () => {
  it.each<[0 | 1 | 2, bigint, boolean]>([
    [0, 0n, true],
    [0, NT, true],
    [1, 0n, true],
    [1, NT, false],
    [2, 0n, false],
  ])('FEAT_BBM level %i, nT %s: splitting and merging is reported: %s', (bbm, nT, reported) => {
    const split = new Watched({ features: { bbm } });
    split.set(0n, 2);
    split.break(2);
    split.set(BLOCK | nT, 2);
    split.set(table(split), 2);
    expect(split.found.every((text) => text === `block size; ${INBETWEEN}`)).toBe(true);
    expect(split.found.length > 0).toBe(reported);

    const merged = new Watched({ features: { bbm } });
    merged.set(table(merged), 2);
    merged.set(BLOCK | nT, 2);
    expect(merged.found.every((text) => text === `block size; ${INBETWEEN}`)).toBe(true);
    expect(merged.found.length > 0).toBe(reported);
  });

  it('splitting and merging as it should be done', () => {
    const board = new Watched();
    board.break(2);
    board.set(BLOCK, 2);
    board.break(2);
    board.set(table(board), 2);
    board.set(0n, 2);
    board.domain.dsb(0, 'ISHST');
    // Each page of the table.
    for (let page = 0n; page < 512n; page++) board.domain.tlbi(0, 'VAE1IS', xt(VA + page * 0x1000n));
    board.domain.dsb(0, 'ISH');
    board.set(BLOCK, 2);
    expect(board.found).toEqual([]);
  });

  it('merging after the last level only was invalidated: the table may still be in a walk cache', () => {
    const board = new Watched();
    board.break(2);
    board.set(table(board), 2);
    board.set(0n, 2);
    board.domain.dsb(0, 'ISHST');
    for (let page = 0n; page < 512n; page++) board.domain.tlbi(0, 'VALE1IS', xt(VA + page * 0x1000n));
    board.domain.dsb(0, 'ISH');
    board.set(BLOCK, 2);
    expect(board.found).toEqual(['block size; an invalidation']);
  });

  it('with FEAT_BBM level 2 the output address still may not change', () => {
    const board = new Watched({ features: { bbm: 2 } });
    board.break(2);
    board.set(BLOCK, 2);
    board.set(table(board, OTHER), 2);
    expect(board.found).toContain(`output address, with write permission; ${INBETWEEN}`);
  });
});

it('a block and a table without entries at its level differ in size too, either way', () => {
  const emptied = new Watched();
  emptied.break(2);
  emptied.set(BLOCK, 2);
  emptied.set(emptied.newTable() | PAGE_TYPE | VALID, 2);
  expect(emptied.found).toEqual([`block size; ${INBETWEEN}`]);

  const filled = new Watched();
  filled.break(2);
  filled.set(filled.newTable() | PAGE_TYPE | VALID, 2);
  filled.set(BLOCK, 2);
  expect(filled.found).toEqual([`block size; ${INBETWEEN}`]);
});

// What the reports promise of a page and a block that are cached for one address (docs/decisions/0010-arm64-choices.md).
it.each(['profile', 'adversarial'] as const)('the page is used, not the block (%s)', (retention) => {
  const board = new Board({ retention });
  board.map(VA, OTHER);
  expect(board.access(VA)).toBe(OTHER);
  board.write(board.descriptorAddress(VA, 2), BLOCK);
  board.mmu().pagingStructure.dropAll();
  expect(board.access(VA + 0x1000n)).toBe(FRAME + 0x1000n);
  expect(board.access(VA)).toBe(OTHER);
});

describe('which tables are live', () => {
  it('a table that is filled before it is linked, or after it was unlinked, is of no concern', () => {
    const board = new Watched();
    const unlinked = board.newTable();
    board.store(unlinked, FRAME | PAGE);
    board.store(unlinked, OTHER | PAGE);
    board.break(2);
    board.set(unlinked | PAGE_TYPE | VALID, 2);
    expect(board.found).toEqual([]);
    board.break(2);
    board.store(unlinked, FRAME | PAGE);
    expect(board.found).toEqual([]);
  });

  it('entries below a table that is linked are live', () => {
    const board = new Watched();
    const linked = table(board);
    board.set(linked, 2);
    board.store((linked & ~0xfffn) + 8n, OTHER | PAGE);
    expect(board.check.violations).toMatchObject([{ address: VA + 0x1000n, cpus: [0, 1] }]);
  });

  it('a table with nothing in it leaves no page behind that a new one could meet', () => {
    const board = new Watched();
    board.set(0n, 2);
    board.set(table(board), 2);
    expect(board.found).toEqual([]);
  });

  it('a root that is given up is forgotten', () => {
    const board = new Watched();
    board.set(FRAME | PAGE);
    board.check.removeRoot(LOWER_ROOT);
    board.set(OTHER | PAGE);
    expect(board.found).toEqual([]);
    board.check.addRoot(LOWER_ROOT, 0n, () => ASID);
    board.set(FRAME | PAGE);
    expect(board.found).toHaveLength(1);
  });
});

describe('what is held against what', () => {
  it('one change of a table is one report for each old entry', () => {
    const board = new Watched();
    board.break(2);
    board.set(BLOCK, 2);
    board.set(table(board), 2);
    expect(board.found).toEqual([`block size; ${INBETWEEN}`]);
  });

  it('a page that is gone with its table does not meet the next table', () => {
    const board = new Watched();
    board.set(FRAME | PAGE);
    board.set(0n);
    board.set(board.newTable() | PAGE_TYPE | VALID, 2);
    expect(board.found).toEqual([]);
  });

  it('a page elsewhere does not meet a block', () => {
    const board = new Watched();
    const elsewhere = board.descriptorAddress(VA - 0x1000n);
    board.check.removeRoot(LOWER_ROOT);
    board.check.addRoot(LOWER_ROOT, 0n, () => ASID);
    for (const value of [FRAME | PAGE, 0n]) board.store(elsewhere, value);
    board.break(2);
    board.set(BLOCK, 2);
    expect(board.found).toEqual([]);
    board.store(elsewhere, OTHER | PAGE);
    expect(board.found).toHaveLength(1);
  });

  it('the same entry, taken away twice, is one', () => {
    const board = new Watched();
    for (const value of [FRAME | PAGE, 0n, FRAME | PAGE, 0n, OTHER | PAGE]) board.set(value);
    expect(board.found).toHaveLength(1);
  });

  it.each([
    [NOT_GLOBAL, []],
    [0n, ['output address, with write permission; an invalidation']],
  ])('entries of the ASID that the tables had before: nG %s', (nG, found) => {
    const board = new Watched();
    board.check.removeRoot(LOWER_ROOT);
    let asid: number | null = null;
    board.check.addRoot(LOWER_ROOT, 0n, () => asid);
    const page = (PAGE & ~NOT_GLOBAL) | nG;
    board.set(FRAME | page);
    // Without an ASID nothing was cached yet.
    board.set(OTHER | page);
    expect(board.found).toEqual([]);
    asid = 1;
    board.set(0n);
    asid = 2;
    board.set(FRAME | page);
    expect(board.found).toEqual(found);
  });
});
