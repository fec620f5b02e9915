/**
 * `npm run bench -- explore`: runs of a small scenario per second of CPU time, with every way of searching, and how many
 * runs the reduction saves a depth-first search, which must not change what the search finds.
 * Two processes: one maps a page, the other reads it through process_vm_readv as soon as it knows where. The figure that
 * is promised is of the programs' own steps, watched by nobody; with all checks on, and with the exits of both processes,
 * it stands beside it. Rounds are taken by turns, and their median counts, so that a busy machine slows them all.
 */
import { setFlagsFromString } from 'node:v8';
import { architectureNamed } from '../src/arch/registry.ts';
import { attachChecks } from '../src/check/races/registry.ts';
import { createSearch } from '../src/sched/search/create-search.ts';
import type { SearchOptions, SearchPolicy } from '../src/sched/search/search.ts';
import { defineScenario, type Scenario } from '../src/userland/scenario.ts';
import { type ExitManner, type RunOutcome, ScenarioRunner } from '../src/userland/scenario-runner.ts';
import { median } from './limit/measure.ts';

const PROMISED_RUNS = 20_000;
const PROMISED_SAVING = 10;
const ROUNDS = 7;
const RUNS_PER_ROUND = 2000;
/** A depth-first search without reduction that takes more runs than this is not waited for. */
const MOST_RUNS = 40_000;
const PAGE = 4096;

const peek = defineScenario({
  title: 'a page is mapped, and read by another process',
  cpus: 2,
  programs: {
    *owner(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      share.set('page', page);
    },
    *reader(u, share) {
      const page = yield* share.waitWord('page');
      yield* u.must(u.processVmReadv(u.pidOf('owner'), [{ address: page, bytes: 8 }]));
    },
  },
});

/** Small enough for every interleaving without reduction. What programs return is what a search finds. */
const SMALL: readonly Scenario[] = [
  defineScenario({
    title: 'two mappings beside each other',
    cpus: 2,
    programs: {
      *left(u) {
        const page = yield* u.mmap({ bytes: PAGE, prot: 'rw' });
        return page.ok;
      },
      *right(u) {
        const page = yield* u.mmap({ bytes: PAGE, prot: 'rw' });
        return page.ok;
      },
    },
  }),
  defineScenario({
    title: 'a word that one process sets and another looks at, between system calls',
    cpus: 2,
    programs: {
      *writer(u, share) {
        yield* u.mprotect(0x10_0000n, PAGE, 'r');
        share.set('word', 1);
        yield* u.mprotect(0x10_0000n, PAGE, 'r');
      },
      *reader(u, share) {
        yield* u.munmap(0x10_0000n, PAGE);
        const seen = share.get('word');
        yield* u.munmap(0x10_0000n, PAGE);
        return `${seen ?? 'nothing'} ${share.get('word') ?? 'nothing'}`;
      },
    },
  }),
];

const architecture = architectureNamed('x86_64');

function options(policy: SearchPolicy, seed: number, reduction = true): SearchOptions {
  return { policy, seed, preemptions: null, depth: 2, reduction, shard: { index: 0, count: 1 } };
}

function microseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

interface Manner {
  readonly name: string;
  readonly policy: SearchPolicy;
  readonly checks: boolean;
  readonly exit: ExitManner;
  /** Its rate is what is promised. */
  readonly promised: boolean;
}

const MANNERS: readonly Manner[] = [
  { name: 'random', policy: 'random', checks: false, exit: 'left out', promised: true },
  { name: 'pct', policy: 'pct', checks: false, exit: 'left out', promised: false },
  { name: 'auto', policy: 'auto', checks: false, exit: 'left out', promised: false },
  { name: 'depth-first', policy: 'dfs', checks: false, exit: 'left out', promised: false },
  { name: 'random, checks', policy: 'random', checks: true, exit: 'left out', promised: false },
  { name: 'random, exits', policy: 'random', checks: false, exit: 'in a row', promised: false },
  { name: 'auto, checks, exits', policy: 'auto', checks: true, exit: 'in a row', promised: false },
];

/** Runs per second of CPU time, and steps of a run. */
function rate(runner: ScenarioRunner, manner: Manner, seed: number): { runs: number; steps: number } {
  const { policy: name, checks, exit } = manner;
  let search = createSearch(options(name, seed));
  let steps = 0;
  const start = microseconds();
  for (let run = 0; run < RUNS_PER_ROUND; run++) {
    let policy = search.next();
    if (policy === null) {
      search = createSearch(options(name, seed + run));
      policy = search.next();
    }
    if (policy === null) throw new Error(`a search without a run: ${name}`);
    const outcome = runner.run(
      policy,
      checks ? { exit, attach: (system) => void attachChecks(system) } : { exit },
    );
    if (outcome.end.kind !== 'finished' && outcome.end.kind !== 'stopped') {
      throw new Error(`a run ends as ${outcome.end.kind}`);
    }
    search.ended();
    steps += outcome.system.loop.steps;
  }
  return { runs: (RUNS_PER_ROUND * 1e6) / (microseconds() - start), steps: steps / RUNS_PER_ROUND };
}

function rates(): boolean {
  const runner = new ScenarioRunner(peek, { architecture });
  const measured = MANNERS.map((): { runs: number; steps: number }[] => []);
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [at, manner] of MANNERS.entries()) {
      const result = rate(runner, manner, 1 + round * RUNS_PER_ROUND);
      // The first round warms up.
      if (round > 0) measured[at]?.push(result);
    }
  }
  console.log(`${'search'.padEnd(24)}${'steps a run'.padStart(12)}${'runs a second'.padStart(16)}`);
  let kept = true;
  for (const [at, { name, promised }] of MANNERS.entries()) {
    const runs = median((measured[at] ?? []).map((result) => result.runs));
    const steps = median((measured[at] ?? []).map((result) => result.steps));
    const missed = promised && runs < PROMISED_RUNS;
    kept &&= !missed;
    const verdict = promised ? (missed ? `TOO FEW (${count(PROMISED_RUNS)})` : 'ok') : '';
    console.log(`${name.padEnd(24)}${steps.toFixed(0).padStart(12)}${count(runs).padStart(16)}  ${verdict}`);
  }
  return kept;
}

const count = (n: number): string => Math.round(n).toLocaleString('en');

interface Explored {
  readonly runs: number;
  readonly complete: boolean;
  /** Every way in which a run ended. */
  readonly ends: ReadonlySet<string>;
}

const endOf = ({ end, processes }: RunOutcome): string =>
  JSON.stringify([end, processes.contexts.map((context) => String(processes.valueOf(context)))]);

function explore(scenario: Scenario, reduction: boolean): Explored {
  const runner = new ScenarioRunner(scenario, { architecture });
  const search = createSearch(options('dfs', 1, reduction));
  const ends = new Set<string>();
  for (;;) {
    const policy = search.next();
    if (policy === null || search.progress.runs >= MOST_RUNS) {
      return { runs: search.progress.runs, complete: policy === null, ends };
    }
    const outcome = runner.run(policy, { exit: 'left out' });
    if (outcome.end.kind !== 'stopped') ends.add(endOf(outcome));
    search.ended();
  }
}

function savings(): boolean {
  console.log(`\n${'depth-first, every schedule'.padEnd(74)}${'without'.padStart(10)}${'with'.padStart(8)}`);
  let kept = true;
  for (const scenario of SMALL) {
    const all = explore(scenario, false);
    const reduced = explore(scenario, true);
    const same = reduced.complete && includesAll(reduced.ends, all.ends);
    const enough = all.runs >= reduced.runs * PROMISED_SAVING;
    kept &&= same && enough;
    const without = `${all.complete ? '' : '>'}${count(all.runs)}`;
    const verdict = same ? (enough ? 'ok' : 'TOO MANY') : 'FINDS LESS';
    console.log(
      `${scenario.title.padEnd(74)}${without.padStart(10)}${count(reduced.runs).padStart(8)}  ${verdict}`,
    );
  }
  return kept;
}

const includesAll = (have: ReadonlySet<string>, wanted: ReadonlySet<string>): boolean =>
  [...wanted].every((end) => have.has(end));

/** Prints the tables; 1 when a figure is missed. */
export function explorer(): number {
  // As the command line does: V8 takes objects of one run after another for long-lived ones otherwise.
  setFlagsFromString('--no-allocation-site-pretenuring');
  const fast = rates();
  const few = savings();
  return fast && few ? 0 : 1;
}
