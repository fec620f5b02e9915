/**
 * `npm run bench -- explore`: runs of a small scenario per second of CPU time, with every way of searching, and how many
 * runs the reduction saves a depth-first search, which must not change what the search finds.
 * Two processes, some 30 steps: one maps a page, the other reads its /proc/PID/maps before, meanwhile or after. The figure
 * that is promised is of the programs' own steps, watched by nobody; with all checks on, and with the exits of both processes,
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

/** Where the owner maps its page. */
const PLACE = 0x10_0000n;

const maps = defineScenario({
  title: 'a page is mapped while another process looks at /proc/PID/maps',
  cpus: 2,
  programs: {
    *owner(u) {
      yield* u.must(u.mmap({ address: PLACE, bytes: PAGE, prot: 'rw', fixed: true }));
    },
    *reader(u) {
      const lines = yield* u.must(u.procMaps(u.pidOf('owner')));
      return lines.length;
    },
  },
});

const peek = defineScenario({
  title: 'a page is mapped while another process reads there',
  cpus: 2,
  programs: {
    *owner(u) {
      yield* u.must(u.mmap({ address: PLACE, bytes: PAGE, prot: 'rw', fixed: true }));
    },
    *reader(u) {
      const bytes = yield* u.processVmReadv(u.pidOf('owner'), [{ address: PLACE, bytes: 8 }]);
      return bytes.ok;
    },
  },
});

interface Compared {
  readonly scenario: Scenario;
  /** Bound on preemptions: few enough that the search without reduction comes to its end. */
  readonly preemptions: number | null;
}

/** Small enough for every interleaving without reduction. What programs return is a part of what a search finds. */
const COMPARED: readonly Compared[] = [
  {
    preemptions: 2,
    scenario: defineScenario({
      title: 'work of their own, then a word that one sets and the other reads',
      cpus: 2,
      programs: {
        *writer(u, share) {
          yield* u.munmap(PLACE, PAGE);
          share.set('word', 1);
          yield* u.munmap(PLACE, PAGE);
        },
        *reader(u, share) {
          yield* u.munmap(PLACE, PAGE);
          const seen = share.get('word');
          yield* u.munmap(PLACE, PAGE);
          return `${seen ?? 'nothing'} ${share.get('word') ?? 'nothing'}`;
        },
      },
    }),
  },
  { preemptions: 2, scenario: peek },
  {
    preemptions: 2,
    scenario: defineScenario({
      title: 'a bug: the lock of a VMA is held where mmap_lock is waited for',
      kernelBugs: ['bpf-iterator-holds-vma-lock'],
      cpus: 2,
      programs: {
        *target(u, share) {
          const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw', populate: true }));
          share.set('ready', true);
          yield* u.must(u.munmap(page, PAGE));
        },
        *program(u, share) {
          yield* share.wait('ready');
          const seen = yield* u.must(u.bpfIterTaskVma(u.pidOf('target'), 1));
          return seen.length;
        },
      },
    }),
  },
];

const architecture = architectureNamed('x86_64');

function options(policy: SearchPolicy, seed: number): SearchOptions {
  return { policy, seed, preemptions: null, depth: 2, reduction: true, shard: { index: 0, count: 1 } };
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
  const runner = new ScenarioRunner(maps, { architecture });
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

/** What a run shows, but for how long it took. */
const endOf = ({ end, processes }: RunOutcome): string =>
  JSON.stringify([
    end.kind,
    'text' in end ? end.text.replace(/after \d+ steps/, '') : '',
    processes.contexts.map((context) => String(processes.valueOf(context))),
  ]);

function explore({ scenario, preemptions }: Compared, reduction: boolean): Explored {
  const runner = new ScenarioRunner(scenario, { architecture });
  const search = createSearch({ ...options('dfs', 1), preemptions, reduction });
  const ends = new Set<string>();
  for (;;) {
    const policy = search.next();
    if (policy === null || search.progress.runs >= MOST_RUNS) {
      const { runs, redundant } = search.progress;
      return { runs: runs + redundant, complete: policy === null, ends };
    }
    const outcome = runner.run(policy, { exit: 'left out' });
    if (outcome.end.kind !== 'stopped') ends.add(endOf(outcome));
    search.ended();
  }
}

function savings(): boolean {
  const columns = ['without', 'with', 'ends'].map((name) => name.padStart(9)).join('');
  console.log(`\n${'depth-first, every schedule with few preemptions'.padEnd(66)}${columns}`);
  let kept = true;
  for (const compared of COMPARED) {
    const all = explore(compared, false);
    const reduced = explore(compared, true);
    const verdict = verdictOn(all, reduced);
    kept &&= verdict === 'ok';
    const title = `${compared.scenario.title}, ${compared.preemptions ?? 'any'}`.padEnd(66);
    const figures = [all.runs, reduced.runs, reduced.ends.size].map((n) => count(n).padStart(9)).join('');
    console.log(`${title}${figures}  ${verdict}`);
  }
  return kept;
}

function verdictOn(all: Explored, reduced: Explored): string {
  if (!all.complete || !reduced.complete) return 'NOT FINISHED';
  const same = all.ends.size === reduced.ends.size && [...all.ends].every((end) => reduced.ends.has(end));
  if (!same) return 'FINDS SOMETHING ELSE';
  return all.runs >= reduced.runs * PROMISED_SAVING ? 'ok' : 'TOO MANY';
}

/** Prints the tables; 1 when a figure is missed. */
export function explorer(): number {
  // As the command line does: V8 takes objects of one run after another for long-lived ones otherwise.
  setFlagsFromString('--no-allocation-site-pretenuring');
  const fast = rates();
  const few = savings();
  return fast && few ? 0 : 1;
}
