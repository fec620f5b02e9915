/**
 * Which CPUs a TLBI reaches, and when. Sections are of the Arm ARM (DDI 0487): "Broadcast TLB maintenance", "Ordering and
 * completion of TLB maintenance instructions".
 */
import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { barrierNamed, completes, isVisibleToWalkers } from '../../../src/arch/arm64/barriers.ts';
import { tlbiAndComplete } from '../../../src/arch/arm64/shareability-domain.ts';
import { tlbiNamed } from '../../../src/arch/arm64/tlbi.ts';
import { addressOperand } from '../../../src/arch/arm64/tlbi-operands.ts';
import { InputError } from '../../../src/base/input-error.ts';
import { AF, Board, type BoardOptions, INNER, NOT_GLOBAL } from './board.ts';

const PAGE = 0x7fff_0000_0000n;
const OTHER = 0x7fff_0000_1000n;
const STALE = 0x4000_0000n;
const XT = addressOperand(Number(PAGE >> 12n), 0);
const GONE = 'fault 0b000111';

/** Four CPUs that have both pages cached, which are then unmapped. */
function unmapped(options: BoardOptions = {}): Board {
  const board = new Board({ cpus: 4, ...options });
  const leaves = [PAGE, OTHER].map((va) => board.map(va, STALE));
  for (const cpu of [0, 1, 2, 3]) for (const va of [PAGE, OTHER]) board.access(va, cpu);
  for (const leaf of leaves) board.write(leaf, 0n);
  return board;
}

const holding = (board: Board, va = PAGE): number[] =>
  [0, 1, 2, 3].filter((cpu) => board.access(va, cpu) === STALE);

describe('whom it reaches', () => {
  const innerDomains = [0, 0, 1, 1];
  it.each<[string, BoardOptions, number[]]>([
    ['VAE1', {}, [0, 2, 3]],
    ['VAE1IS', {}, []],
    ['VAE1OS', {}, []],
    ['VAE1', { innerDomains }, [0, 2, 3]],
    ['VAE1IS', { innerDomains }, [2, 3]],
    ['VAE1OS', { innerDomains }, []],
    ['VAAE1ISnXS', { innerDomains }, [2, 3]],
    ['VAALE1OSnXS', { innerDomains }, []],
  ])('%s of CPU 1 in %o leaves it with CPUs %j', (name, options, left) => {
    const board = unmapped(options);
    board.invalidate(name, XT, 1);
    expect(holding(board)).toEqual(left);
    expect(holding(board, OTHER)).toEqual([0, 1, 2, 3]);
  });
});

describe('when it is complete', () => {
  it.each(['profile', 'none'] as const)('with %s retention it is at once', (retention) => {
    const board = unmapped({ retention });
    board.domain.tlbi(1, 'VAE1IS', XT);
    expect(holding(board)).toEqual([]);
    expect(board.domain.pendingFor(0, 'data')).toEqual([]);
    expect(holding(board, OTHER)).toEqual(retention === 'none' ? [] : [0, 1, 2, 3]);
  });

  it('with adversarial retention everybody, the own CPU too, may use the old entry until the DSB', () => {
    const board = unmapped();
    board.domain.tlbi(1, 'VAE1IS', XT);
    expect(holding(board)).toEqual([0, 1, 2, 3]);
    expect(board.domain.pendingFor(3, 'data')).toHaveLength(1);
    board.domain.dsb(1, 'ISH');
    expect(holding(board)).toEqual([]);
    expect(board.domain.pendingFor(3, 'data')).toEqual([]);
  });

  it('only a DSB of the CPU that issued it completes it', () => {
    const board = unmapped();
    board.domain.tlbi(1, 'VAE1IS', XT);
    for (const cpu of [0, 2, 3]) board.domain.dsb(cpu, 'SY');
    expect(holding(board)).toEqual([0, 1, 2, 3]);
    board.domain.synchronizeContext(1);
    expect(holding(board)).toEqual([0, 1, 2, 3]);
    board.domain.dsb(1, 'SY');
    expect(holding(board)).toEqual([]);
  });
});

describe('which DSB is enough', () => {
  // "The DSB is required to apply to both loads and stores"; NSH is enough for one PE, ISH for the Inner Shareable domain.
  it.each<[string, string, boolean]>([
    ['VAE1', 'NSH', true],
    ['VAE1', 'ISH', true],
    ['VAE1', 'SY', true],
    ['VAE1', 'NSHST', false],
    ['VAE1IS', 'NSH', false],
    ['VAE1IS', 'ISH', true],
    ['VAE1IS', 'ISHST', false],
    ['VAE1IS', 'ISHLD', false],
    ['VAE1IS', 'OSH', true],
    ['VAE1IS', 'SY', true],
    ['VAE1IS', 'ST', false],
    ['VAE1IS', 'LD', false],
    ['VAE1OS', 'ISH', false],
    ['VAE1OS', 'OSH', true],
    ['VAE1OS', 'SY', true],
    // "software must use a TLBI without the nXS qualifier, and a DSB without the nXS qualifier"
    ['VAE1IS', 'ISHnXS', false],
    ['VAE1ISnXS', 'ISHnXS', true],
    ['VAE1ISnXS', 'ISH', true],
    ['VAE1OSnXS', 'SYnXS', true],
    ['VAE1OSnXS', 'ISHnXS', false],
  ])('%s by DSB %s: %s', (operation, option, complete) => {
    expect(completes(barrierNamed(option), tlbiNamed(operation))).toBe(complete);
    const board = unmapped();
    board.domain.tlbi(1, operation, XT);
    board.domain.dsb(1, option);
    expect(board.access(PAGE, 1)).toBe(complete ? GONE : STALE);
    // What was not enough is made up for by what is.
    board.domain.dsb(1, 'SY');
    expect(board.access(PAGE, 1)).toBe(GONE);
  });

  it('a DSB before the TLBI completes nothing', () => {
    const board = unmapped();
    board.domain.dsb(1, 'SY');
    board.domain.tlbi(1, 'VAE1IS', XT);
    expect(holding(board)).toEqual([0, 1, 2, 3]);
  });

  it('a DSB completes all that its CPU has issued', () => {
    const board = unmapped();
    board.domain.tlbi(1, 'VAE1IS', XT);
    board.domain.tlbi(1, 'VAE1IS', addressOperand(Number(OTHER >> 12n), 0));
    board.domain.dsb(1, 'ISH');
    expect([...holding(board), ...holding(board, OTHER)]).toEqual([]);
  });

  it.each(['isht', 'NSHSY', ''])('there is no DSB %s', (name) => {
    expect(() => barrierNamed(name)).toThrow(InputError);
  });
});

// Table walks of the other CPUs are observers in the Inner Shareable domain.
it.each<[string, boolean]>([
  ['NSH', false],
  ['NSHST', false],
  ['ISH', true],
  ['ISHST', true],
  ['ISHLD', false],
  ['OSHST', true],
  ['SY', true],
  ['ST', true],
  ['LD', false],
])('stores to tables are visible to all walks after DSB %s: %s', (option, visible) => {
  expect(isVisibleToWalkers(barrierNamed(option))).toBe(visible);
});

describe('instruction fetches', () => {
  const fetched = (): Board => {
    const board = new Board({ cpus: 2 });
    const leaf = board.map(PAGE, STALE, AF | NOT_GLOBAL | INNER);
    for (const cpu of [0, 1]) board.access(PAGE, cpu, Access.Fetch);
    board.write(leaf, 0n);
    return board;
  };
  const fetch = (board: Board, cpu: number): bigint | string => board.access(PAGE, cpu, Access.Fetch);

  it('of the own CPU may use the old entry until its context is synchronized after the DSB; of others until the DSB', () => {
    const board = fetched();
    board.domain.tlbi(0, 'VAE1IS', XT);
    board.domain.synchronizeContext(0);
    board.domain.dsb(0, 'ISH');
    expect([fetch(board, 0), fetch(board, 1)]).toEqual([STALE, GONE]);
    expect(board.domain.pendingFor(0, 'fetch')).toHaveLength(1);
    expect(board.domain.pendingFor(0, 'data')).toEqual([]);
    board.domain.synchronizeContext(1);
    expect(fetch(board, 0)).toBe(STALE);
    board.domain.synchronizeContext(0);
    expect(fetch(board, 0)).toBe(GONE);
    expect(board.domain.pendingFor(0, 'fetch')).toEqual([]);
  });

  it('on one CPU alone, with all that is needed to complete it', () => {
    const board = fetched();
    expect(tlbiAndComplete(board.mmu(0), 'vae1', XT)).toBeNull();
    expect([fetch(board, 0), fetch(board, 1)]).toEqual([GONE, STALE]);
    expect(tlbiAndComplete(new Board({ features: { xs: false } }).mmu(), 'vae1nxs', XT)).toMatch(/FEAT_XS/);
  });
});

describe('what it costs', () => {
  it('is charged at the DSB, once for all, by the CPUs of the widest', () => {
    const charged: [cpu: number, cycles: number][] = [];
    const costs = {
      complete: 600,
      perTarget: 10,
      charge: (cpu: number, cycles: number) => charged.push([cpu, cycles]),
    };
    const { domain } = unmapped({
      costs: { ...costs, charge: (cpu, cycles) => void costs.charge(cpu, cycles) },
    });
    domain.tlbi(2, 'VAE1', XT);
    domain.tlbi(2, 'VAE1IS', XT);
    expect(charged).toEqual([]);
    domain.dsb(2, 'NSH');
    domain.dsb(2, 'ISHST');
    domain.dsb(2, 'ISH');
    domain.dsb(2, 'ISH');
    expect(charged).toEqual([
      [2, 600],
      [2, 630],
    ]);
  });
});
