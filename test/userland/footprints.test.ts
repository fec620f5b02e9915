import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/base/random.ts';
import type { Candidate, Policy, RunView } from '../../src/sched/policy/policy.ts';
import { CandidateKind } from '../../src/sched/policy/policy.ts';
import { RandomPolicy } from '../../src/sched/policy/random.ts';
import { checkScenario, type Scenario } from '../../src/userland/scenario.ts';
import { ScenarioRunner } from '../../src/userland/scenario-runner.ts';
import { architecture } from '../support/architecture.ts';
import { endDigest } from './end-digest.ts';

/**
 * Footprints are right when steps that do not conflict can change places: the end is the same then. A run is recorded step
 * by step; two neighbours on different CPUs whose footprints have nothing in common are swapped, all else stays, and the
 * digest of the end is compared.
 */
const FOLDERS = ['remote', 'questions', 'mm', 'complaints'];
const RUNS = Number(process.env['FOOTPRINT_RUNS'] ?? 2);
const SWAPS = Number(process.env['FOOTPRINT_SWAPS'] ?? 3);
const MOST_STEPS = 3000;

interface Step {
  readonly code: number;
  readonly kind: CandidateKind;
  readonly cpu: number;
  readonly switches: boolean;
  keys: Map<number, number>;
  everything: boolean;
}

/** Records what each step touched; follows `order` where there is one, else `chooser`. */
class Recorder implements Policy {
  readonly name = 'recorder';
  readonly footprints = true;
  readonly steps: Step[] = [];
  lost = false;
  readonly #chooser: Policy;
  readonly #order: readonly number[] | null;

  constructor(chooser: Policy, order: readonly number[] | null = null) {
    this.#chooser = chooser;
    this.#order = order;
  }

  choose(candidates: readonly Candidate[], count: number, run: RunView): ReturnType<Policy['choose']> {
    if (this.#order === null) return this.#chooser.choose(candidates, count, run);
    const wanted = this.#order[this.steps.length];
    for (let at = 0; at < count; at++) if (candidates[at]?.code === wanted) return at;
    this.lost = true;
    return this.#chooser.choose(candidates, count, run);
  }

  beforeStep({ code, kind, cpu, switches }: Candidate, run: RunView): void {
    this.endStep(run);
    this.steps.push({ code, kind, cpu, switches, keys: new Map(), everything: false });
    if (this.#order !== null && this.#order[this.steps.length - 1] !== code) this.lost = true;
  }

  endStep({ footprint }: Pick<RunView, 'footprint'>): void {
    const last = this.steps.at(-1);
    if (last === undefined) return;
    for (let at = 0; at < footprint.count; at++) {
      const key = footprint.keys[at] as number;
      last.keys.set(key, Math.max(last.keys.get(key) ?? 0, footprint.writes[at] as number));
    }
    last.everything = footprint.everything;
  }
}

function independent(a: Step, b: Step): boolean {
  if (a.cpu === b.cpu || a.everything || b.everything || a.switches || b.switches) return false;
  if (a.kind !== CandidateKind.Step || b.kind !== CandidateKind.Step) return false;
  for (const [key, write] of a.keys) {
    const other = b.keys.get(key);
    if (other !== undefined && (write === 1 || other === 1)) return false;
  }
  return true;
}

async function scenarios(): Promise<readonly (readonly [string, Scenario])[]> {
  const found: [string, Scenario][] = [];
  for (const folder of FOLDERS) {
    const url = new URL(`../../examples/${folder}/`, import.meta.url);
    for (const file of readdirSync(url).sort()) {
      if (!file.endsWith('.ts')) continue;
      const module: { readonly default?: unknown } = await import(new URL(file, url).href);
      const scenario = checkScenario(module.default);
      if (scenario.arch === undefined || scenario.arch === 'both' || scenario.arch === architecture.name)
        found.push([`${folder}/${file}`, scenario]);
    }
  }
  return found;
}

/** Swaps some neighbours of one run; what came out wrong, and how many were swapped. */
function swapSome(
  runner: ScenarioRunner,
  seed: number,
  random: SeededRandom,
): { readonly wrong: readonly string[]; readonly swapped: number } {
  const recorder = new Recorder(new RandomPolicy(seed));
  const outcome = runner.run(recorder, { exit: 'left out' });
  if (outcome.end.kind !== 'finished') return { wrong: [], swapped: 0 };
  const digest = endDigest(outcome);
  const { steps } = recorder;
  const codes = steps.map(({ code }) => code);
  const free = codes.flatMap((_, at) =>
    at > 0 && at < codes.length - 1 && independent(steps[at - 1] as Step, steps[at] as Step) ? [at] : [],
  );
  const wrong: string[] = [];
  let swapped = 0;
  for (; swapped < SWAPS && free.length > 0; swapped++) {
    const at = free.splice(random.below(free.length), 1)[0] as number;
    const order = codes.slice();
    [order[at - 1], order[at]] = [codes[at] as number, codes[at - 1] as number];
    const again = new Recorder(new RandomPolicy(1), order);
    const end = endDigest(runner.run(again, { exit: 'left out' }));
    if (again.lost) wrong.push(`seed ${seed}, steps ${at} and ${at + 1}: another course`);
    else if (end !== digest) wrong.push(`seed ${seed}, steps ${at} and ${at + 1}: another end`);
  }
  return { wrong, swapped };
}

const found = await scenarios();
let swappedInAll = 0;

describe('steps that touch nothing in common may change places', () => {
  it.each(found)('in %s', (_, scenario) => {
    const random = new SeededRandom(7);
    const runner = new ScenarioRunner(scenario, { architecture, maxSteps: MOST_STEPS });
    for (let seed = 1; seed <= RUNS; seed++) {
      const { wrong, swapped } = swapSome(runner, seed, random);
      expect(wrong).toEqual([]);
      swappedInAll += swapped;
    }
  });

  it('and there are many such steps', () => {
    expect(swappedInAll).toBeGreaterThan(50);
  });
});
