/**
 * Changes of live descriptors that need break-before-make, each done without it, in each wrong way, and as it should be.
 * Sections are of the Arm ARM (DDI 0487): "Using break-before-make when updating translation table entries", "Support
 * levels for changing table or block size".
 */
import { describe, expect, it } from 'vitest';
import { Arm64LiveTableRules } from '../../../src/arch/arm64/break-before-make.ts';
import { TCR2_EL1 } from '../../../src/arch/arm64/system-registers.ts';
import { asidOperand } from '../../../src/arch/arm64/tlbi-operands.ts';
import { describeViolation } from '../../../src/check/break-before-make.ts';
import { AF, Board, type BoardOptions, CONTIGUOUS, INNER, NOT_GLOBAL, READ_ONLY, USER } from './board.ts';
import { ASID, attributes, DBM, FRAME, INBETWEEN, OTHER, PAGE, VA, Watched, xt } from './watched-board.ts';

// Old and new page descriptor, the change that is named; null when it needs no break-before-make.
const PAGE_CHANGES: readonly [string, bigint, bigint, string | null][] = [
  ['nothing', FRAME | PAGE, FRAME | PAGE, null],
  [
    'the output address of a writable page',
    FRAME | PAGE,
    OTHER | PAGE,
    'output address, with write permission',
  ],
  [
    'from read-only to a writable page elsewhere',
    FRAME | PAGE | READ_ONLY,
    OTHER | PAGE,
    'output address, with write permission',
  ],
  [
    'from writable to a read-only page elsewhere',
    FRAME | PAGE,
    OTHER | PAGE | READ_ONLY,
    'output address, with write permission',
  ],
  [
    'read-only to elsewhere with other contents',
    FRAME | PAGE | READ_ONLY,
    OTHER | PAGE | READ_ONLY,
    'output address, with other contents there',
  ],
  [
    'read-only to elsewhere with the same contents',
    FRAME | PAGE | READ_ONLY,
    (OTHER + 0x1000n) | PAGE | READ_ONLY,
    null,
  ],
  ['Normal to Device', FRAME | PAGE, FRAME | PAGE | attributes(1), 'memory type (Normal, now Device-nGnRE)'],
  ['Device to Normal', FRAME | PAGE | attributes(1), FRAME | PAGE, 'memory type (Device-nGnRE, now Normal)'],
  [
    'Write-Back to Non-cacheable',
    FRAME | PAGE,
    FRAME | PAGE | attributes(2),
    'Cacheability (outer Write-Back, inner Write-Back, now outer Non-cacheable, inner Non-cacheable)',
  ],
  [
    'Write-Back to Write-Through',
    FRAME | PAGE,
    FRAME | PAGE | attributes(3),
    'Cacheability (outer Write-Back, inner Write-Back, now outer Write-Through, inner Write-Through)',
  ],
  ['Write-Back to Tagged Write-Back', FRAME | PAGE, FRAME | PAGE | attributes(4), null],
  ['Inner Shareable to Non-shareable', FRAME | PAGE, (FRAME | PAGE) & ~INNER, 'Shareability'],
  [
    'SH of Device memory, which is Outer Shareable anyway',
    FRAME | PAGE | attributes(1),
    (FRAME | PAGE | attributes(1)) & ~INNER,
    null,
  ],
  [
    'SH of Non-cacheable memory, which is Outer Shareable anyway',
    FRAME | PAGE | attributes(2),
    (FRAME | PAGE | attributes(2)) & ~INNER,
    null,
  ],
  ['the Contiguous bit', FRAME | PAGE, FRAME | PAGE | CONTIGUOUS, 'Contiguous bit'],
  [
    'not global to global',
    FRAME | PAGE,
    (FRAME | PAGE) & ~NOT_GLOBAL,
    'a global entry over a non-global one',
  ],
  ['global to not global', (FRAME | PAGE) & ~NOT_GLOBAL, FRAME | PAGE, null],
  ['writable to read-only', FRAME | PAGE, FRAME | PAGE | READ_ONLY, null],
  ['read-only to writable', FRAME | PAGE | READ_ONLY, FRAME | PAGE, null],
  [
    'executable or not, EL0 or not, guarded, software bits',
    FRAME | PAGE,
    FRAME | (PAGE & ~USER) | ((0x7an << 52n) & ~CONTIGUOUS) | (1n << 50n),
    null,
  ],
  ['from nothing', 0n, FRAME | PAGE, null],
  ['to nothing', FRAME | PAGE, 0n, null],
  ['the Access flag was clear: no TLB had it', (FRAME | PAGE) & ~AF, OTHER | PAGE, null],
  ['the Access flag is clear now: no TLB will have it', FRAME | PAGE, (OTHER | PAGE) & ~AF, null],
];

describe('a page descriptor replaced by another', () => {
  it.each(PAGE_CHANGES)('%s', (_, old, next, change) => {
    const board = new Watched();
    board.write(OTHER, 1n);
    board.set(old);
    board.set(next);
    expect(board.found).toEqual(change === null ? [] : [`${change}; ${INBETWEEN}`]);
  });

  it.each(PAGE_CHANGES)('%s, as it should be done', (_, old, next) => {
    const board = new Watched();
    board.write(OTHER, 1n);
    board.set(old);
    board.break();
    board.set(next);
    expect(board.found).toEqual([]);
  });

  it.each<[string, BoardOptions, bigint, string[]]>([
    // AP[2] = 1 with DBM = 1 grants writes where hardware manages dirty state.
    ['writable-clean, not managed', {}, READ_ONLY | DBM, []],
    [
      'writable-clean, managed',
      { hardwareDirty: true },
      READ_ONLY | DBM,
      [`output address, with write permission; ${INBETWEEN}`],
    ],
    // Hardware sets the Access flag without being told.
    [
      'the Access flag clear, managed',
      { hardwareAccessFlag: true },
      0n,
      [`output address, with write permission; ${INBETWEEN}`],
    ],
  ])('with registers that count: %s', (name, options, bits, found) => {
    const board = new Watched(options);
    const cleared = name.startsWith('the Access flag') ? AF : 0n;
    board.set(FRAME | PAGE | bits);
    board.set((OTHER | PAGE | bits) & ~cleared);
    expect(board.found).toEqual(found);
  });

  // FEAT_BBM level 1 and above.
  it.each([
    [0, ['Contiguous bit; an invalid entry in between']],
    [1, []],
    [2, []],
  ] as const)('FEAT_BBM level %i and the Contiguous bit', (bbm, found) => {
    const board = new Watched({ features: { bbm } });
    board.set(FRAME | PAGE);
    board.set(FRAME | PAGE | CONTIGUOUS);
    expect(board.found).toEqual(found);
  });
});

const SWAP = 'output address, with write permission';

const STEPS: readonly [string, (board: Watched) => void, string[]][] = [
  ['all steps', (board) => board.break(), []],
  ['no invalidation', (board) => board.set(0n), ['an invalidation']],
  [
    'no DSB after the invalidation',
    (board) => {
      board.set(0n);
      board.domain.dsb(0, 'ISHST');
      board.domain.tlbi(0, 'VAE1IS', xt());
    },
    ['a barrier after the invalidation'],
  ],
  [
    'a DSB that is not enough after it',
    (board) => {
      board.set(0n);
      board.domain.dsb(0, 'ISHST');
      board.domain.tlbi(0, 'VAE1IS', xt());
      board.domain.dsb(0, 'ISHST');
      board.domain.dsb(0, 'NSH');
    },
    ['a barrier after the invalidation'],
  ],
  [
    'a DSB of another CPU after it',
    (board) => {
      board.set(0n);
      board.domain.dsb(0, 'ISHST');
      board.domain.tlbi(0, 'VAE1IS', xt());
      board.domain.dsb(1, 'SY');
    },
    ['a barrier after the invalidation'],
  ],
  [
    'no DSB before the invalidation',
    (board) => {
      board.set(0n);
      board.domain.tlbi(0, 'VAE1IS', xt());
      board.domain.dsb(0, 'ISH');
    },
    ['a barrier after the invalid entry'],
  ],
  [
    'a DSB for loads only before it',
    (board) => {
      board.set(0n);
      board.domain.dsb(0, 'ISHLD');
      board.domain.tlbi(0, 'VAE1IS', xt());
      board.domain.dsb(0, 'ISH');
    },
    ['a barrier after the invalid entry'],
  ],
  [
    'an invalidation of one CPU only',
    (board) => board.break(3, 'VAE1'),
    ['an invalidation that reaches every CPU'],
  ],
  [
    'one of each CPU',
    (board) => {
      board.break(3, 'VAE1');
      board.domain.tlbi(1, 'VAE1', xt());
      board.domain.dsb(1, 'NSH');
    },
    [],
  ],
  [
    'another ASID',
    (board) => {
      board.set(0n);
      board.domain.dsb(0, 'ISHST');
      board.domain.tlbi(0, 'VAE1IS', xt(VA, 6));
      board.domain.dsb(0, 'ISH');
    },
    ['an invalidation'],
  ],
  [
    'another address',
    (board) => {
      board.set(0n);
      board.domain.dsb(0, 'ISHST');
      board.domain.tlbi(0, 'VAE1IS', xt(VA + 0x1000n));
      board.domain.dsb(0, 'ISH');
    },
    ['an invalidation'],
  ],
  ['its last level', (board) => board.break(3, 'VALE1IS'), []],
  ['all ASIDs', (board) => board.break(3, 'VAAE1IS'), []],
  [
    'the Outer Shareable domain, but a DSB of the Inner one',
    (board) => board.break(3, 'VAAE1OS'),
    ['a barrier after the invalidation'],
  ],
  ['everything', (board) => board.break(3, 'VMALLE1IS'), []],
  [
    'the ASID',
    (board) => {
      board.set(0n);
      board.domain.dsb(0, 'ISHST');
      board.domain.tlbi(0, 'ASIDE1IS', asidOperand(ASID));
      board.domain.dsb(0, 'ISH');
    },
    [],
  ],
];

describe('the sequence with a step left out', () => {
  it.each(STEPS)('%s', (_, steps, missing) => {
    const board = new Watched();
    board.set(FRAME | PAGE);
    steps(board);
    board.set(OTHER | PAGE);
    expect(board.found).toEqual(missing.map((step) => `${SWAP}; ${step}`));
  });

  it('a global entry is not invalidated by its ASID', () => {
    const board = new Watched();
    const global = PAGE & ~NOT_GLOBAL;
    board.set(FRAME | global);
    board.set(0n);
    board.domain.dsb(0, 'ISHST');
    board.domain.tlbi(0, 'ASIDE1IS', asidOperand(ASID));
    board.domain.dsb(0, 'ISH');
    board.set(OTHER | global);
    expect(board.found).toEqual([`${SWAP}; an invalidation`]);
  });

  it('writes of a CPU that is not known are taken to be visible at once', () => {
    const board = new Watched();
    board.set(FRAME | PAGE);
    board.set(0n, 3, -1);
    board.domain.tlbi(0, 'VAE1IS', xt());
    board.domain.dsb(0, 'ISH');
    board.set(OTHER | PAGE, 3, -1);
    expect(board.found).toEqual([]);
  });

  it('each wrong write is reported, and the next one is held against all that may still be cached', () => {
    const board = new Watched();
    board.set(FRAME | PAGE);
    board.set(OTHER | PAGE);
    board.set((OTHER + 0x1000n) | PAGE);
    // The second write against the first entry; the third against both.
    expect(board.found).toHaveLength(3);
    board.break();
    board.set(FRAME | PAGE);
    expect(board.found).toHaveLength(3);
  });
});

describe('what the registers say of a descriptor', () => {
  const changes = (board: Board, old: bigint, next: bigint): readonly string[] => {
    const { state, features } = board.mmu();
    const rules = new Arm64LiveTableRules(state, features);
    const entry = (value: bigint) => ({ address: VA, level: 3, value });
    return rules.forbiddenChanges(entry(old), entry(next), () => true);
  };

  it('TCR2_EL1.FNG0: nothing is global', () => {
    const board = new Board();
    expect(changes(board, PAGE, PAGE & ~NOT_GLOBAL)).toEqual(['a global entry over a non-global one']);
    board.mmu().state.tcr2Lo = TCR2_EL1.half('FNG0').lo;
    expect(changes(board, PAGE, PAGE & ~NOT_GLOBAL)).toEqual([]);
  });

  it('permission indirection: PIR_EL1 says what grants writes, AP[2] does not', () => {
    const board = new Board();
    const { state } = board.mmu();
    state.tcr2Lo = TCR2_EL1.half('PIE').lo;
    // Index 1 (USER): read-only; index 0: read and write.
    state.pirLo = 0x15;
    expect(changes(board, FRAME | PAGE, OTHER | PAGE)).toEqual([]);
    const writable = PAGE & ~USER;
    expect(changes(board, FRAME | writable | READ_ONLY, OTHER | writable | READ_ONLY)).toEqual([
      'output address, with write permission',
    ]);
  });

  it('TCR_EL1.DS = 1: bits 9:8 are address bits and not SH', () => {
    const board = new Board({ wide: true, inputBits: 52 });
    const page = (PAGE & ~INNER) | READ_ONLY;
    expect(changes(board, FRAME | page, FRAME | page | INNER)).toEqual([]);
  });
});

it('names the entries, the change, the missing step, and what the architecture says may happen', () => {
  const board = new Watched();
  board.set(FRAME | PAGE);
  board.set(0n);
  board.set(OTHER | PAGE);
  expect(board.check.violations.flatMap(describeViolation)).toEqual([
    '0x7fff00200000: 0x40000f43 (level 3) became 0x80000f43 (level 3): output address, with write permission; ' +
      'missing: an invalidation; cpu 0, 1 may still have the old one',
    'CONSTRAINED UNPREDICTABLE: a TLB conflict abort, or the old, the new or a mixture of both translations; here a CPU ' +
      'uses what it has cached, a page before a block',
  ]);
});

it('what may happen does: the CPU that has the old page cached goes on writing there', () => {
  const board = new Watched();
  board.set(FRAME | PAGE);
  board.setAsid(ASID);
  expect(board.access(VA, 1)).toBe(FRAME);
  board.set(OTHER | PAGE);
  expect([board.access(VA, 1), board.access(VA, 0)]).toEqual([FRAME, OTHER]);
});
