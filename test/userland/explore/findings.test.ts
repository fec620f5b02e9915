/** What is found is never lost, is told with where it was, and what is nothing wrong is not told. */
import { describe, expect, it } from 'vitest';
import { type ExploreConfig, exploreScenario } from '../../../src/index.ts';
import { scheduleTimelineText } from '../../../src/report/schedule-timeline.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { ReplayPolicy } from '../../../src/sched/policy/replay.ts';
import { parseSchedule } from '../../../src/sched/schedule-text.ts';
import { SEARCH_POLICIES } from '../../../src/sched/search/search.ts';
import { settleExploration } from '../../../src/userland/explore/config.ts';
import type { ExploreResult } from '../../../src/userland/explore/explore.ts';
import { ExploredRuns } from '../../../src/userland/explore/explored-runs.ts';
import { kernelPlace } from '../../../src/userland/explore/step-tracer.ts';
import { traceRun } from '../../../src/userland/explore/traced-run.ts';
import { defineScenario, type Scenario } from '../../../src/userland/scenario.ts';
import { architecture } from '../../support/architecture.ts';
import { exhibitNamed } from '../../support/exhibits.ts';

function explore(scenario: Scenario, config: Partial<ExploreConfig> = {}): ExploreResult {
  const exploration = exploreScenario(scenario, { architecture, runs: 60, ...config });
  let step = exploration.next();
  while (!step.done) step = exploration.next();
  return step.value;
}

const PAGE = 4096;

/** Two threads that fault one page in and take it away. */
const faults = defineScenario({
  title: 'two threads fault and unmap a page',
  cpus: 2,
  programs: {
    *main(u) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.attempt(t.store(page, 1n));
          yield* t.munmap(page, PAGE);
        }, 'thread'),
      );
      yield* u.attempt(u.store(page, 2n));
    },
  },
  placement: { main: 0, thread: 1 },
});

describe('an exploration of programs that remember the run before', () => {
  let runs = 0;
  const remembering = (what: (n: number) => boolean, rest: Partial<Scenario> = {}): Scenario => ({
    ...defineScenario({
      title: 'a variable from outside',
      cpus: 2,
      programs: {
        *first(u) {
          runs++;
          yield* u.must(u.brk(0n));
          if (what(runs)) yield* u.must(u.brk(0n));
        },
        *second(u) {
          yield* u.must(u.brk(0n));
        },
      },
      placement: { first: 0, second: 1 },
    }),
    ...rest,
  });

  it.each(SEARCH_POLICIES)('under %s says that a run cannot be made again', (policy) => {
    runs = 0;
    const scenario = remembering((n) => n % 3 === 0);
    expect(() => explore(scenario, { policy, runs: 1000 })).toThrow('the same schedule gives another run');
  });

  it('tells what it found, and that it cannot be made again', () => {
    runs = 0;
    const once = remembering(() => false, { finally: { 'fewer than 5 runs': () => runs !== 5 } });
    const { findings, ended } = explore(once, { policy: 'random' });
    expect(ended).toBe('finding');
    expect(findings[0]).toMatchObject({
      name: 'fewer than 5 runs',
      schedule: expect.stringMatching(/./),
      remark: expect.stringContaining('the same schedule gives another run'),
    });
  });
});

describe('the bound on steps', () => {
  it('is refused when it is below the length of the first run', () => {
    expect(() => explore(faults, { maxSteps: 50 })).toThrow(
      /^the bound on steps is below the length of the first run: expected at least \d+ steps, found 50$/,
    );
  });
});

describe('fills', () => {
  it.each(SEARCH_POLICIES)('can be asked for with %s', (policy) => {
    const { findings, runs } = explore(faults, { policy, speculation: true, runs: 4 });
    expect({ findings, runs }).toEqual({ findings: [], runs: 4 });
  });

  it('are chosen, and replayed from the schedule alone', () => {
    const never = { ...faults, finally: { 'is found': () => 'as asked' } };
    const [found] = explore(never, { policy: 'random', speculation: true, runs: 2 }).findings;
    const first = (found?.schedule ?? '').split(' ')[0] as string;
    const { findings } = explore(never, { schedule: `${first} f0:0` });
    expect(findings[0]?.schedule).toMatch(/ f0:0 /);
    expect(findings[0]?.traced.trace.some(({ kind }) => kind === 'hardware')).toBe(true);
  });
});

describe('what the hardware has chosen', () => {
  it.each([1, 2, 3])('is replayed from the schedule, event by event, seed %i', (seed) => {
    const hardware = { evictions: true, gracePeriods: true, kills: true, failAllocations: 2 };
    const settings = settleExploration({ architecture, hardware, speculation: true });
    const made = (): ExploredRuns => new ExploredRuns(faults, settings.run, settings);
    const run = made().run(new RandomPolicy(seed), 10_000);
    expect(run.schedule()).toMatch(/ [fegk]/);
    const again = traceRun(made(), new ReplayPolicy(parseSchedule(run.schedule())));
    expect(again.events).toEqual(run.events);
    expect(again.steps).toBe(run.steps);
  });
});

describe('a call that must succeed', () => {
  it('and that a failed allocation makes fail is no finding', () => {
    const { findings, runs } = explore(faults, { hardware: { failAllocations: 2 }, runs: 300 });
    expect({ findings, runs }).toEqual({ findings: [], runs: 300 });
  });

  it('and that fails without is one', () => {
    const must = defineScenario({
      title: 'an address that is not there',
      programs: {
        *main(u) {
          yield* u.must(u.load(0x1000n));
        },
      },
    });
    expect(explore(must, { hardware: { failAllocations: 1 } }).findings).toHaveLength(1);
  });
});

describe('a finding in the kernel', () => {
  it('says where in the kernel its tasks were, and is counted with the run that has it', async () => {
    const { findings, runs } = explore(await exhibitNamed('dirty-cow'), { runs: 500 });
    const [found] = findings;
    expect(found?.run).toBe(runs);
    const [writer] = found?.traced.places ?? [];
    expect(writer).toMatchObject({
      task: 'writer',
      step: found?.steps,
      at: expect.stringMatching(/^src\/kernel\/.*\.ts:\d+$/),
    });
    expect(writer?.functions).toContain('access_remote_vm');
  });

  it('at the first run needs one', () => {
    const { findings, runs } = explore({ ...faults, finally: { 'is found': () => 'as asked' } });
    expect({ runs, run: findings[0]?.run }).toEqual({ runs: 1, run: 1 });
  });

  it('names the functions of a stack as Linux does, without those of programs', () => {
    const error = new Error('here');
    error.stack = [
      'Error: here',
      '    at PageTables.getAndClear (/x/src/kernel/mm/page-table.ts:202:10)',
      '    at zapPresent (/x/src/kernel/mm/zap-range.ts:175:14)',
      '    at zapPresent.next (<anonymous>)',
      '    at VmaLock.#startWrite (/x/src/kernel/mm/vma-lock.ts:12:1)',
      '    at #startWrite.next (<anonymous>)',
      '    at sysMunmap (/x/src/kernel/mm/munmap.ts:228:24)',
      '    at sysMunmap.next (<anonymous>)',
      '    at systemCall (/x/src/userland/calls/process-context.ts:163:42)',
      '    at systemCall.next (<anonymous>)',
      '    at main (/y/mine.ts:10:16)',
      '    at main.next (<anonymous>)',
      '    at ScenarioProcesses.#resume (/x/src/userland/scenario-processes.ts:184:26)',
    ].join('\n');
    expect(kernelPlace(error)).toEqual({
      functions: ['zap_present', 'start_write', 'sys_munmap'],
      at: 'src/kernel/mm/zap-range.ts:175',
    });
  });
});

describe('a timeline', () => {
  const step = {
    kind: 'step',
    cpu: 0,
    operation: 'set_pte_at',
    object: 'pte@105',
    access: 'write',
    inside: null,
    switches: false,
    preempts: false,
    firstEvent: 0,
  } as const;
  const alone = Array.from({ length: 9 }, () => ({ ...step, task: 'a', operation: 'other', frames: [] }));
  const timeline = {
    cpus: 1,
    arch: 'x86_64',
    steps: [...alone, { ...step, task: 'a', frames: ['frame 0x106'] }, ...alone],
    events: [],
    objects: ['frame 0x106'],
    waits: [],
    stands: [],
    found: null,
    all: false,
  };

  it('has the steps that change entries of a frame that the finding is about', () => {
    expect(scheduleTimelineText(timeline)).toMatch(
      /9 steps alone.*\n +10 +set_pte_at +pte@105\n.*8 steps alone/,
    );
  });

  it('has every step where that is asked for', () => {
    expect(scheduleTimelineText({ ...timeline, all: true }).split('\n')).toHaveLength(19 + 3);
  });

  it('says where somebody stood that went on no more', () => {
    const other = { ...step, task: 'b', frames: [], preempts: true };
    const stands = [{ task: 'a', operation: 'spin_lock', object: 'ptl' }];
    const text = scheduleTimelineText({ ...timeline, steps: [...alone, other], stands });
    expect(text).toContain('switch 1: a stops before spin_lock of ptl');
  });
});
