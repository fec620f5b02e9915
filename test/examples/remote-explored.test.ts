/**
 * The scenarios of remote access under many schedules, watched by all checks: designs that are right hold, those that are wrong on
 * purpose are caught, and the first version tears a read over two mappings.
 */
import { describe, expect, it } from 'vitest';
import { commandOf, make } from '../support/question-rows.ts';
import { BREAKING, type Explored, HOLDING } from '../support/remote-explored.ts';

const named = (rows: readonly Explored[]) =>
  rows.map(({ finding, ...experiment }) => [commandOf(experiment), experiment, finding] as const);

describe('what is wrong is found', () => {
  it.each(named(BREAKING))(
    '%s',
    async (_, experiment, finding) => {
      const { findings } = await make(experiment, 0);
      expect(findings.map(({ name }) => name)).toEqual([finding]);
    },
    120_000,
  );
});

describe('what is right holds', () => {
  it.each(named(HOLDING))(
    '%s',
    async (_, experiment) => {
      const { findings, unsupported } = await make(experiment);
      expect({ unsupported, findings: findings.map(({ text }) => text) }).toEqual({
        unsupported: null,
        findings: [],
      });
    },
    120_000,
  );
});
