/**
 * How often does memory tagging find a bug? Every bug is made many times for every policy of the allocator, on fresh
 * memory with tags that IRG chooses, and the share of those that a synchronous tag check stopped is compared with what
 * follows from the policy.
 *
 * The number of trials is fixed beforehand. The intervals are exact (Clopper-Pearson), and all of them together hold
 * with 99.9 %: each may miss with 0.1 % divided by their number (Bonferroni), so that a right model fails for one seed
 * in a thousand at most.
 */
import { defineScenario, type ReportCell, type ReportSection, type Task, type User } from 'tablewalk';
import { enableTagChecks, GRANULE, TaggingAllocator } from './allocator.ts';
import {
  afterNext,
  type Formula,
  type FormulaByPolicy,
  freed,
  neighbour,
  never,
  otherFrame,
  ownFrame,
  reusedTwice,
} from './formulas.ts';
import { POLICIES, type TagPolicy } from './policies.ts';
import { clopperPearson, type Interval } from './statistics.ts';
import { TaggedStack } from './tagged-stack.ts';

/** Even, so that half of them are at even places. */
const TRIALS = 2000;
const ERROR_OF_ALL = 0.001;
/** Bytes of an allocation: one granule and a half, in a slot of two. */
const SIZE = 24;

/** Makes the bug once. True: the tag check stopped it. */
type Trial<Place> = (u: User, place: Place) => Task<boolean>;

interface HeapBug {
  readonly name: string;
  readonly formula: FormulaByPolicy;
  readonly trial: Trial<TaggingAllocator>;
}

function* storeFails(u: User, pointer: bigint): Task<boolean> {
  return !(yield* u.attempt(u.store(pointer, 0xbadn))).ok;
}

/** Three objects, one after the other. */
function* three(heap: TaggingAllocator): Task<readonly [bigint, bigint, bigint]> {
  return [yield* heap.allocate(SIZE), yield* heap.allocate(SIZE), yield* heap.allocate(SIZE)];
}

const HEAP_BUGS: readonly HeapBug[] = [
  {
    name: 'overflow by one byte, inside the last granule',
    formula: () => never,
    *trial(u, heap) {
      const object = yield* heap.allocate(SIZE);
      return !(yield* u.attempt(u.store(object + BigInt(SIZE), 0xbdn, 1))).ok;
    },
  },
  {
    name: 'overflow into the next object',
    formula: neighbour,
    *trial(u, heap) {
      const [first] = yield* three(heap);
      return yield* storeFails(u, first + BigInt(heap.slotBytes));
    },
  },
  {
    name: 'overflow into the object after next',
    formula: afterNext,
    *trial(u, heap) {
      const [first] = yield* three(heap);
      return yield* storeFails(u, first + BigInt(2 * heap.slotBytes));
    },
  },
  {
    name: 'use after free',
    formula: freed,
    *trial(u, heap) {
      const [, object] = yield* three(heap);
      yield* heap.free(object);
      return yield* storeFails(u, object);
    },
  },
  {
    name: 'use after free, handed out twice since',
    formula: reusedTwice,
    *trial(u, heap) {
      const [, object] = yield* three(heap);
      yield* heap.free(object);
      yield* heap.free(yield* heap.allocate(SIZE));
      yield* heap.allocate(SIZE);
      return yield* storeFails(u, object);
    },
  },
  {
    name: 'double free',
    formula: freed,
    *trial(_u, heap) {
      const [, object] = yield* three(heap);
      yield* heap.free(object);
      return !(yield* heap.free(object)).ok;
    },
  },
];

const VARIABLES = 3;

const STACK_BUGS: readonly {
  readonly name: string;
  readonly formula: Formula;
  readonly trial: Trial<TaggedStack>;
}[] = [
  {
    name: 'overflow into the next variable',
    formula: ownFrame,
    *trial(u, stack) {
      const [first = 0n] = yield* stack.enter(VARIABLES);
      const found = yield* storeFails(u, first + BigInt(GRANULE));
      yield* stack.leave(VARIABLES);
      return found;
    },
  },
  {
    name: 'variable of a function that has returned',
    formula: ownFrame,
    *trial(u, stack) {
      const [, variable = 0n] = yield* stack.enter(VARIABLES);
      yield* stack.leave(VARIABLES);
      return yield* storeFails(u, variable);
    },
  },
  {
    name: 'the same, while another function uses the stack',
    formula: otherFrame,
    *trial(u, stack) {
      const [, variable = 0n] = yield* stack.enter(VARIABLES);
      yield* stack.leave(VARIABLES);
      yield* stack.enter(VARIABLES);
      const found = yield* storeFails(u, variable);
      yield* stack.leave(VARIABLES);
      return found;
    },
  },
];

/** What one line of the table says. */
interface Rate {
  readonly bug: string;
  readonly policy: string;
  readonly detected: number;
  readonly formula: Formula;
}

function* heapRate(u: User, bug: HeapBug, policy: TagPolicy): Task<Rate> {
  // Slots of a trial and its gap are odd in number: every second trial begins at an even place.
  const heap = new TaggingAllocator(u, policy, 5 * TRIALS);
  yield* heap.open();
  let detected = 0;
  for (let trial = 0; trial < TRIALS; trial++) {
    if (yield* bug.trial(u, heap)) detected++;
    heap.beginAt(5 * (trial + 1));
  }
  return { bug: bug.name, policy: policy.name, detected, formula: bug.formula(policy) };
}

function* stackRate(u: User, { name, formula, trial }: (typeof STACK_BUGS)[number]): Task<Rate> {
  const stack = new TaggedStack(u, 4096);
  yield* stack.open();
  let detected = 0;
  for (let i = 0; i < TRIALS; i++) if (yield* trial(u, stack)) detected++;
  return { bug: name, policy: 'stack frames', detected, formula };
}

const LINES = HEAP_BUGS.length * POLICIES.length + STACK_BUGS.length;

const intervalOf = ({ detected }: Rate): Interval => clopperPearson(detected, TRIALS, ERROR_OF_ALL / LINES);

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
    percent(rate.detected / TRIALS),
    `${percent(low)} … ${percent(high)}`,
    percent(rate.formula.probability),
    rate.formula.text,
    agrees(rate) ? 'yes' : 'NO',
  ];
}

function report(rates: readonly Rate[]): ReportSection[] {
  const right = (title: string) => ({ title, align: 'right' }) as const;
  return [
    {
      heading: `How often does a tag check find the bug? ${TRIALS.toLocaleString('en-US')} trials a line`,
      table: {
        columns: ['bug', 'tags', right('found'), right('interval'), right('formula'), '', 'agrees'],
        rows: rates.map(line),
      },
      notes: [
        `Clopper-Pearson intervals; all ${LINES} hold together with ${100 - 100 * ERROR_OF_ALL} %.`,
        'Tag 0 is left to memory that nobody owns: 15 tags remain, 7 even ones and 8 odd ones.',
      ],
    },
  ];
}

const ratesOf = (value: unknown): readonly Rate[] => value as readonly Rate[];

export default defineScenario({
  title: 'how often memory tagging finds a bug',
  description: 'detection rates by bug and tagging policy, against the closed formula',
  arch: 'arm64',
  timeline: false,
  programs: {
    *program(u) {
      yield* enableTagChecks(u, 'sync');
      const rates: Rate[] = [];
      for (const bug of HEAP_BUGS) {
        for (const policy of POLICIES) rates.push(yield* heapRate(u, bug, policy));
      }
      for (const bug of STACK_BUGS) rates.push(yield* stackRate(u, bug));
      return rates;
    },
  },
  finally: {
    'every formula lies in its interval': (world) => {
      const wrong = ratesOf(world.value('program')).filter((rate) => !agrees(rate));
      return wrong.length === 0 || wrong.map(({ bug, policy }) => `${bug} (${policy})`).join('; ');
    },
  },
  report: (world) => report(ratesOf(world.value('program'))),
});
