/** The bugs that detection-rate.ts makes over and over: each trial makes one once, and says whether the tag check stopped it. */
import type { Outcome, Task, User } from 'tablewalk';
import { GRANULE, type TaggingAllocator } from './allocator.ts';
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
import type { TaggedStack } from './tagged-stack.ts';

/** Bytes of an allocation: one granule and a half, in a slot of two. */
const SIZE = 24;

/** Makes the bug once. True: the tag check stopped it. */
type Trial<Place> = (u: User, place: Place) => Task<boolean>;

export interface HeapBug {
  readonly name: string;
  readonly formula: FormulaByPolicy;
  readonly trial: Trial<TaggingAllocator>;
}

/** By a tag check: any other signal would be a mistake of the experiment. */
const stopped = (outcome: Outcome<unknown>): boolean =>
  !outcome.ok && 'code' in outcome && outcome.code === 'SEGV_MTESERR';

function* storeFails(u: User, pointer: bigint): Task<boolean> {
  return stopped(yield* u.attempt(u.store(pointer, 0xbadn)));
}

/** Three objects, one after the other. */
function* three(heap: TaggingAllocator): Task<readonly [bigint, bigint, bigint]> {
  return [yield* heap.allocate(SIZE), yield* heap.allocate(SIZE), yield* heap.allocate(SIZE)];
}

export const HEAP_BUGS: readonly HeapBug[] = [
  {
    name: 'overflow by one byte, inside the last granule',
    formula: () => never,
    *trial(u, heap) {
      const object = yield* heap.allocate(SIZE);
      return stopped(yield* u.attempt(u.store(object + BigInt(SIZE), 0xbdn, 1)));
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
      return stopped(yield* heap.free(object));
    },
  },
];

const VARIABLES = 3;

export interface StackBug {
  readonly name: string;
  readonly formula: Formula;
  readonly trial: Trial<TaggedStack>;
}

export const STACK_BUGS: readonly StackBug[] = [
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
