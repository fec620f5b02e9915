/**
 * Random programs. Alone, they are compared with a plain model of memory; side by side on several CPUs under random
 * schedules, every count and every TLB is audited afterwards.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProcessorOptions } from '../../../src/arch/processor-options.ts';
import type { Task } from '../../../src/base/task.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import { SEGV_ACCERR, SEGV_MAPERR } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../src/userland/calls/access.ts';
import { PROCESSORS } from '../../support/architecture.ts';
import { addressOf, ProcessWorld } from './process-world.ts';

const ARENA = 16;
type Step =
  | {
      readonly op: 'map';
      readonly page: number;
      readonly pages: number;
      readonly prot: number;
      readonly shared: boolean;
    }
  | { readonly op: 'unmap'; readonly page: number; readonly pages: number }
  | { readonly op: 'protect'; readonly page: number; readonly pages: number; readonly prot: number }
  | { readonly op: 'store'; readonly page: number; readonly value: number }
  | { readonly op: 'load'; readonly page: number }
  | { readonly op: 'fork' }
  | { readonly op: 'exit' };

const range = { page: fc.nat({ max: ARENA - 4 }), pages: fc.integer({ min: 1, max: 4 }) };
const prot = fc.constantFrom(PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE);
const memoryStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('map' as const), ...range, prot, shared: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('unmap' as const), ...range }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('protect' as const), ...range, prot }) },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('store' as const),
      page: fc.nat({ max: ARENA - 1 }),
      value: fc.integer({ min: 1, max: 255 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('load' as const), page: fc.nat({ max: ARENA - 1 }) }) },
);
const anyStep = fc.oneof(
  { weight: 12, arbitrary: memoryStep },
  { weight: 1, arbitrary: fc.constant<Step>({ op: 'fork' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ op: 'exit' }) },
);

/** What one step does to the kernel; loads and stores give the value or the si_code. */
function* perform(task: TaskStruct, step: Step): Task<number> {
  const length = 'pages' in step ? BigInt(step.pages) << 12n : 0n;
  const address = 'page' in step ? addressOf(step.page) : 0n;
  switch (step.op) {
    case 'map': {
      const flags = MAP_FIXED | MAP_ANONYMOUS | (step.shared ? MAP_SHARED : MAP_PRIVATE);
      return (yield* sysMmap(task, address, length, step.prot, flags, null, 0n)) === address ? 0 : -1;
    }
    case 'unmap':
      return yield* sysMunmap(task, address, length);
    case 'protect':
      return yield* sysMprotect(task, address, length, step.prot);
    case 'store':
      return signalCode(yield* userStore(task, address, Uint8Array.of(step.value)));
    case 'load': {
      const byte = new Uint8Array(1);
      const signal = yield* userLoad(task, address, byte);
      return signal === null ? (byte[0] as number) : signalCode(signal);
    }
    default:
      throw new Error(`${step.op} is for the driver`);
  }
}

const signalCode = (signal: { readonly code: number } | null): number =>
  signal === null ? 0 : 1000 + signal.code;

/** A page as the model has it: private pages hold their byte, shared ones share a cell. */
interface ModelPage {
  prot: number;
  readonly shared: boolean;
  cell: { value: number };
}

/** What the program should see, without any page table. */
class ModelProcess {
  readonly pages: Map<number, ModelPage>;

  constructor(pages = new Map<number, ModelPage>()) {
    this.pages = pages;
  }

  fork(): ModelProcess {
    const copy = (page: ModelPage): ModelPage => ({
      ...page,
      cell: page.shared ? page.cell : { ...page.cell },
    });
    return new ModelProcess(new Map([...this.pages].map(([at, page]) => [at, copy(page)])));
  }

  perform(step: Step): number {
    switch (step.op) {
      case 'map':
        for (const at of pagesOf(step))
          this.pages.set(at, { prot: step.prot, shared: step.shared, cell: { value: 0 } });
        return 0;
      case 'unmap':
        for (const at of pagesOf(step)) this.pages.delete(at);
        return 0;
      case 'protect':
        return this.#protect(step);
      case 'store':
      case 'load':
        return this.#access(step);
      default:
        return 0;
    }
  }

  /** Everything up to the first hole is changed. */
  #protect(step: Step & { readonly op: 'protect' }): number {
    for (const at of pagesOf(step)) {
      const page = this.pages.get(at);
      if (page === undefined) return -12;
      page.prot = step.prot;
    }
    return 0;
  }

  #access(step: Step & { readonly op: 'store' | 'load' }): number {
    const page = this.pages.get(step.page);
    if (page === undefined) return 1000 + SEGV_MAPERR;
    const needed = step.op === 'store' ? PROT_WRITE : PROT_READ;
    if ((page.prot & needed) === 0) return 1000 + SEGV_ACCERR;
    if (step.op === 'store') page.cell.value = step.value;
    return step.op === 'load' ? page.cell.value : 0;
  }
}

function pagesOf({ page, pages }: { readonly page: number; readonly pages: number }): number[] {
  return Array.from({ length: pages }, (_, at) => page + at);
}

/** Processes of the kernel and of the model, in pairs. */
class Pairs {
  readonly world: ProcessWorld;
  readonly pairs: { readonly task: TaskStruct; readonly model: ModelProcess }[];
  readonly #freeAtFirst: number;

  constructor(processor: ProcessorOptions) {
    this.world = new ProcessWorld({ processor });
    this.#freeAtFirst = this.world.kernel.frames.freeFrames;
    this.pairs = [{ task: this.world.process(), model: new ModelProcess() }];
  }

  perform(who: number, step: Step): void {
    const at = who % this.pairs.length;
    const { task, model } = this.pairs[at] as (typeof this.pairs)[number];
    if (step.op === 'fork') {
      if (this.pairs.length < 4) this.pairs.push({ task: this.world.fork(task), model: model.fork() });
    } else if (step.op === 'exit') {
      if (this.pairs.length === 1) return;
      this.world.run(task, doExit(task, 0));
      this.pairs.splice(at, 1);
    } else {
      expect(this.world.run(task, perform(task, step))).toBe(model.perform(step));
    }
  }

  /** Every page of every process reads as the model says, and then all memory comes back. */
  finish(): void {
    for (const { task, model } of this.pairs) {
      for (let page = 0; page < ARENA; page++) {
        const step: Step = { op: 'load', page };
        expect(this.world.run(task, perform(task, step))).toBe(model.perform(step));
      }
    }
    expect(this.world.inconsistencies()).toEqual([]);
    for (const { task } of this.pairs) this.world.run(task, doExit(task, 0));
    // One root table stays loaded on the CPU.
    expect(this.world.kernel.frames.freeFrames).toBe(this.#freeAtFirst - 1);
  }
}

describe('random programs', () => {
  it.each(PROCESSORS)('one after the other, see memory as a plain model does, on %o', (processor) => {
    const program = fc.array(fc.tuple(fc.nat({ max: 3 }), anyStep), { minLength: 5, maxLength: 60 });
    fc.assert(
      fc.property(program, (steps) => {
        const pairs = new Pairs(processor);
        for (const [who, step] of steps) pairs.perform(who, step);
        pairs.finish();
      }),
      { numRuns: 100 },
    );
  });

  it('on three CPUs, in two address spaces of two tasks each, keep counts and TLBs right on every schedule', () => {
    const script = fc.array(crowdedStep, { minLength: 1, maxLength: 15 });
    fc.assert(
      fc.property(fc.tuple(script, script, script, script), fc.integer(), (scripts, seed) => {
        const processor = PROCESSORS[Math.abs(seed) % PROCESSORS.length] ?? {};
        const world = new ProcessWorld({ cpus: 3, policy: new RandomPolicy(seed), processor });
        const tasks = fourTasks(world);
        scripts.forEach((steps, at) => {
          const task = tasks[at] as TaskStruct;
          world.system.loop.start(task, performAll(task, steps));
        });
        expect(world.system.loop.run().kind).toBe('finished');
        expect(world.inconsistencies()).toEqual([]);
        expectOneView(world, tasks);
      }),
      { numRuns: 200 },
    );
  });
});

/** The same steps, but all on the first pages, so that tasks meet. */
const crowdedStep = memoryStep.map((step): Step => {
  if (!('page' in step)) return step;
  return 'pages' in step ? { ...step, page: step.page % 4 } : { ...step, page: step.page % 6 };
});

/**
 * Two tasks of one process on CPUs 0 and 1, two of its child on CPUs 1 and 2: CPU 1 changes between address spaces.
 * Every page has been read or written before.
 */
function fourTasks(world: ProcessWorld): TaskStruct[] {
  const first = world.process('first', 0);
  world.map(first, 0, 6, PROT_READ | PROT_WRITE);
  const second = world.thread(first, 'second', 1);
  for (const page of [0, 2, 4]) world.store(first, page, page);
  const child = forked(world, first, 1);
  const last = world.thread(child, 'last', 2);
  const tasks = [first, second, child, last];
  for (const task of tasks) for (let page = 0; page < 6; page++) world.load(task, page);
  return tasks;
}

/** Tasks of one address space see the same, each through the TLB of its own CPU. */
function expectOneView(world: ProcessWorld, [first, second, child, last]: readonly TaskStruct[]): void {
  for (const [one, other] of [
    [first, second],
    [child, last],
  ] as [TaskStruct, TaskStruct][]) {
    for (let page = 0; page < 6; page++) expect(world.load(one, page)).toEqual(world.load(other, page));
  }
}

function forked(world: ProcessWorld, parent: TaskStruct, cpu: number): TaskStruct {
  const child = world.run(parent, sysFork(parent, `child on cpu ${cpu}`, cpu));
  if (typeof child === 'number') throw new Error(`fork failed with ${child}`);
  return child;
}

function* performAll(task: TaskStruct, steps: readonly Step[]): Task<void> {
  for (const step of steps) yield* perform(task, step);
}
