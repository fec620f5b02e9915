/**
 * Every path into another process' memory, in every situation, under every design that was proposed: what a path gives, which
 * pages are there afterwards and what they hold, the faults that are counted and the pages that the target has are those
 * of today's code.
 */
import { describe, expect, it } from 'vitest';
import { jsonText } from '../../../src/cli/json.ts';
import { architecture } from '../../support/architecture.ts';
import { PATHS } from './paths.ts';
import { type RunOutcome, runProduct, situationNames } from './run.ts';

const isArm64 = architecture.name === 'arm64';
const DESIGNS = ['v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const;

describe.each(situationNames)('%s', (situation) => {
  let today: RunOutcome | null = null;
  const asToday = (): RunOutcome => {
    today ??= runProduct('v0', situation);
    return today;
  };

  it.each(DESIGNS)('is to %s what it is today', (design) => {
    const { paths, accounts } = runProduct(design, situation);
    for (const [name, outcome] of asToday().paths)
      expect({ name, ...paths.get(name) }).toEqual({ name, ...outcome });
    expect(accounts).toEqual(asToday().accounts);
  });
});

describe('the product', () => {
  it('has paths that all succeed where nothing is in the way', () => {
    const { paths } = runProduct('v0', 'present pages');
    expect(paths.size).toBe(Object.values(PATHS).filter(({ arm64 }) => arm64 !== true || isArm64).length);
    for (const [name, { gave }] of paths) {
      const tags = name.includes('MTETAGS');
      expect(`${name} ${/"ok":\s*false/.test(jsonText(gave))}`).toBe(`${name} ${tags}`);
    }
  });

  it('has situations in which each design does its own work, and some that it leaves to mmap_lock', () => {
    for (const design of DESIGNS) expect(runProduct(design, 'two VMAs').fallbacks).toBeGreaterThan(0);
    expect(runProduct('v4', 'present pages').fallbacks).toBeLessThan(
      runProduct('v1', 'present pages').fallbacks,
    );
  });
});
