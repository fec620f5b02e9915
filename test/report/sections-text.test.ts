import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import { InputError } from '../../src/base/input-error.ts';
import { scenarioSummary } from '../../src/report/scenario-text.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Scenario } from '../../src/userland/scenario.ts';
import type { ReportSection } from '../../src/userland/scenario-report.ts';

const architecture = architectureNamed('x86_64');

function run(report: Scenario['report'], more: Partial<Scenario> = {}): ScenarioResult {
  const scenario = defineScenario({
    title: 'a run',
    programs: {
      *program(u) {
        return yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      },
    },
    ...(report === undefined ? {} : { report }),
    ...more,
  });
  return runScenario(scenario, { architecture });
}

const table = (rows: NonNullable<ReportSection['table']>['rows']): ReportSection => ({
  heading: 'how often?',
  table: { columns: ['what', { title: 'count', align: 'right' }], rows },
  notes: ['counted once'],
});

describe('the report of a scenario', () => {
  it('is printed above the programs: heading, table, notes', () => {
    const text = scenarioSummary(
      run(() => [
        table([
          ['faults', 12345],
          ['address', 0xff00n],
        ]),
      ]),
    );
    expect(text).toContain(
      [
        'a run: finished',
        '',
        'how often?',
        '',
        '  what      count',
        '  ───────  ──────',
        '  faults   12,345',
        '  address  0xff00',
        '',
        '  counted once',
        '',
        'program  pid',
      ].join('\n'),
    );
  });

  it('sees what the programs returned and the state at the end', () => {
    const { report } = run((world) => [
      {
        heading: 'at the end',
        notes: [`${world.value('program')}`, `${world.process('program')?.vmas().length}`],
      },
    ]);
    expect(report[0]?.notes).toEqual([String(0x7fff_f7ff_e000n), '1']);
  });

  it('is made when an assertion about the end fails, and not when a program did not get there', () => {
    const section = (): readonly ReportSection[] => [table([])];
    expect(run(section, { finally: { 'never holds': () => false } }).report).toHaveLength(1);
    const failing: Scenario['programs'] = {
      *program(u) {
        yield* u.check(false, 'no');
      },
    };
    expect(run(section, { programs: failing }).report).toEqual([]);
  });

  it.each([
    ['a row that does not fit', () => [table([['faults']])], '"how often?": row 1 does not fit the columns'],
    [
      'a mistake',
      (): never => {
        throw new TypeError('oops');
      },
      'oops',
    ],
  ])('refuses %s', (_, report, message) => {
    expect(() => run(report)).toThrow(InputError);
    expect(() => run(report)).toThrow(message);
  });

  it('must be a function, and timeline true or false', () => {
    expect(() => run('none' as never)).toThrow('"report" is not a function');
    expect(() => run(undefined, { timeline: 'no' as never })).toThrow('"timeline" is not known');
  });
});
