/**
 * How often does memory tagging find a bug? Every bug is made many times for every policy of the allocator, on fresh
 * memory with tags that IRG chooses, and the share of those that a synchronous tag check stopped is compared with what
 * follows from the policy.
 *
 * The number of trials is fixed beforehand. The intervals are exact (Clopper-Pearson), and all of them together hold
 * with 99.9 %: each may miss with 0.1 % divided by their number (Bonferroni), so that a right model fails for one seed
 * in a thousand at most.
 */
import {
  defineScenario,
  type ReportCell,
  type ReportSection,
  type Scenario,
  type Task,
  type User,
} from 'tablewalk';
import { enableTagChecks, TaggingAllocator } from './lib/allocator.ts';
import { HEAP_BUGS, type HeapBug, STACK_BUGS, type StackBug } from './lib/bugs.ts';
import type { Formula } from './lib/formulas.ts';
import { POLICIES, type TagPolicy } from './lib/policies.ts';
import { clopperPearson, type Interval } from './lib/statistics.ts';
import { TaggedStack } from './lib/tagged-stack.ts';

/** Even, so that half of them are at even places. */
const TRIALS = 2000;
const ERROR_OF_ALL = 0.001;
/** What one line of the table says. */
interface Rate {
  readonly bug: string;
  readonly policy: string;
  readonly trials: number;
  readonly detected: number;
  readonly formula: Formula;
}

function* heapRate(u: User, bug: HeapBug, policy: TagPolicy, trials: number): Task<Rate> {
  // Slots of a trial and its gap are odd in number: every second trial begins at an even place.
  const heap = new TaggingAllocator(u, policy, 5 * trials);
  yield* heap.open();
  let detected = 0;
  for (let trial = 0; trial < trials; trial++) {
    if (yield* bug.trial(u, heap)) detected++;
    heap.beginAt(5 * (trial + 1));
  }
  return { bug: bug.name, policy: policy.name, trials, detected, formula: bug.formula(policy) };
}

function* stackRate(u: User, { name, formula, trial }: StackBug, trials: number): Task<Rate> {
  const stack = new TaggedStack(u, 4096);
  yield* stack.open();
  let detected = 0;
  for (let i = 0; i < trials; i++) if (yield* trial(u, stack)) detected++;
  return { bug: name, policy: 'stack frames', trials, detected, formula };
}

const LINES = HEAP_BUGS.length * POLICIES.length + STACK_BUGS.length;

const intervalOf = ({ detected, trials }: Rate): Interval =>
  clopperPearson(detected, trials, ERROR_OF_ALL / LINES);

function agrees(rate: Rate): boolean {
  const { low, high } = intervalOf(rate);
  return low <= rate.formula.probability && rate.formula.probability <= high;
}

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

function line(rate: Rate): ReportCell[] {
  const { low, high } = intervalOf(rate);
  return [
    rate.bug,
    rate.policy,
    percent(rate.detected / rate.trials),
    `${percent(low)} … ${percent(high)}`,
    percent(rate.formula.probability),
    rate.formula.text,
    agrees(rate) ? 'yes' : 'NO',
  ];
}

function report(rates: readonly Rate[], trials: number): ReportSection[] {
  const right = (title: string) => ({ title, align: 'right' }) as const;
  return [
    {
      heading: `How often does a tag check find the bug? ${trials.toLocaleString('en-US')} trials a line`,
      table: {
        columns: ['bug', 'tags', right('found'), right('interval'), right('formula'), '', 'agrees'],
        rows: rates.map(line),
      },
      notes: [
        `Clopper-Pearson intervals; all ${LINES} hold together with ${100 - 100 * ERROR_OF_ALL} %.`,
        'Tag 0 is left to memory that nobody owns: 15 tags remain, 7 even ones and 8 odd ones.',
        "IRG chooses evenly: Linux sets GCR_EL1.RRND, the processor's own generator. --seed gives other tags.",
      ],
    },
  ];
}

const ratesOf = (value: unknown): readonly Rate[] => value as readonly Rate[];

/** @param trials of each line; an even number */
export const detectionRate = (trials: number): Scenario =>
  defineScenario({
    title: 'how often memory tagging finds a bug',
    description: 'detection rates by bug and tagging policy, against the closed formula',
    arch: 'arm64',
    timeline: false,
    programs: {
      *program(u) {
        yield* enableTagChecks(u, 'sync');
        const rates: Rate[] = [];
        for (const bug of HEAP_BUGS) {
          for (const policy of POLICIES) rates.push(yield* heapRate(u, bug, policy, trials));
        }
        for (const bug of STACK_BUGS) rates.push(yield* stackRate(u, bug, trials));
        return rates;
      },
    },
    finally: {
      'every formula lies in its interval': (world) => {
        const wrong = ratesOf(world.value('program')).filter((rate) => !agrees(rate));
        return wrong.length === 0 || wrong.map(({ bug, policy }) => `${bug} (${policy})`).join('; ');
      },
    },
    report: (world) => report(ratesOf(world.value('program')), trials),
  });

export default detectionRate(TRIALS);
