/**
 * Random programs over all calls about memory, by several processes, one after the other and side by side on several CPUs:
 * at rest everything adds up (`auditKernel`), and when all have gone nothing is left. 100,000 calls on each architecture.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Retention } from '../../../src/hardware/retention.ts';
import { architectureName, PROCESSORS } from '../../support/architecture.ts';
import { Program, type ProgramOptions } from './programs/program.ts';
import { crowdedStep, listing, type Step, stepOf, type Weights } from './programs/step.ts';

/** Programs, of 95 and of 32 calls on average. */
const RUNS = Number(process.env['RUNS'] ?? 900);
const RUNS_TOGETHER = Number(process.env['RUNS_TOGETHER'] ?? 500);
const timeout = (share: number): number => 300_000 * Math.max(1, share);

/** What may run beside anything else. */
const MEMORY: Weights = {
  mmap: 14,
  munmap: 4,
  mprotect: 5,
  mremap: 5,
  madvise: 12,
  collapse: 1,
  mlock: 2,
  munlock: 1,
  mlockall: 1,
  munlockall: 1,
  msync: 1,
  mincore: 1,
  brk: 1,
  remapFilePages: 1,
  load: 12,
  store: 20,
  storeAcross: 2,
  fetch: 1,
  atomic: 1,
  reclaim: 1,
  ftruncate: 2,
  fallocate: 2,
  pread: 1,
  pwrite: 1,
  read: 1,
  write: 1,
  processVm: 2,
  processMadvise: 1,
  procMem: 1,
  ...(architectureName === 'x86_64' ? {} : { tag: 3, tagControl: 1 }),
  pkeyAlloc: 1,
  pkeyFree: 1,
  pkeyMprotect: 1,
};

const EVERYTHING: Weights = {
  ...MEMORY,
  fork: 3,
  vfork: 1,
  exec: 1,
  exit: 2,
  ptrace: 1,
  breakMemory: 1,
  uffdOpen: 1,
  uffdRegister: 2,
  uffdUnregister: 1,
  uffdProtect: 1,
  uffdCopy: 1,
  uffdZero: 1,
  uffdContinue: 1,
  uffdPoison: 1,
  uffdMove: 1,
  uffdClose: 1,
};

/** The pool of huge pages, and little beside it. */
const LITTLE_MEMORY = { swapPages: 400, frameLimit: 4 * 512 + 120 };
const RETENTIONS: readonly Retention[] = ['profile', 'adversarial', 'none'];

/** The machine of a program: one of a few. */
function machine(kind: number): ProgramOptions {
  return {
    processor: PROCESSORS[kind % PROCESSORS.length] ?? {},
    retention: RETENTIONS[Math.floor(kind / 2) % RETENTIONS.length] as Retention,
    kernel: {
      ...(kind % 4 === 3 ? LITTLE_MEMORY : {}),
      lockdep: kind % 5 === 0,
      transparentHugepage: kind % 3 === 0 ? 'always' : 'madvise',
      shmemEnabled: kind % 4 === 2 ? 'always' : 'advise',
    },
  };
}

/** What a failure says: the machine and the program, to be pasted into REPLAYS. */
const describeProgram = (kind: number, steps: readonly Step[]): string => `kind ${kind}, ${listing(steps)}`;

/** Runs the steps and audits, every so many of them and at the end. The steps made. */
function run(kind: number, steps: readonly Step[], every = 30): number {
  const program = new Program(machine(kind));
  const name = describeProgram(kind, steps);
  try {
    for (const step of steps) {
      program.perform(step);
      if (program.steps % every === 0) expect(program.audit(), name).toEqual([]);
    }
    expect(program.audit(), name).toEqual([]);
    expect(program.end(), name).toEqual([]);
  } catch (error) {
    throw error instanceof Error && error.message.startsWith(name)
      ? error
      : new Error(name, { cause: error });
  }
  return program.steps;
}

/** Some steps one after the other, and then the scripts side by side. */
function runTogether(seed: number, before: readonly Step[], scripts: readonly (readonly Step[])[]): number {
  const program = new Program({ ...machine(seed % 60), cpus: 2 + (seed % 2), seed });
  try {
    for (const step of before) program.perform(step);
    program.performTogether(scripts);
    expect(program.audit()).toEqual([]);
    expect(program.end()).toEqual([]);
  } catch (error) {
    const all = [before, ...scripts].map((each) => listing(each)).join(', ');
    throw new Error(`seed ${seed}, ${all}`, { cause: error });
  }
  return program.steps;
}

/** Programs that have failed once, and what was wrong. */
const REPLAYS: readonly (readonly [what: string, kind: number, steps: readonly Step[]])[] = [
  [
    'a stack that grows is promised, also where it is not accounted for',
    0,
    [
      ['mmap', 0, 3, 1, 0, 48],
      ['load', 0, 0, 1, 0, 0],
    ],
  ],
  [
    'the huge zero page is flushed before a huge page takes its place',
    33,
    [
      ['mmap', 3, 2567, 1024, 8, 208],
      ['madvise', 1, 3080, 512, 40, 41],
      ['load', 1, 1032, 1024, 31, 169],
      ['mlockall', 1, 3592, 512, 1, 79],
    ],
  ],
  [
    'the owner of promises keeps its anonymous huge page locked while it takes it from its children',
    0,
    [
      ['mmap', 0, 8, 1, 0, 15],
      ['fallocate', 0, 0, 1, 0, 185],
      ['processVm', 0, 8, 1, 0, 0],
      ['fork', 0, 0, 1, 0, 0],
      ['fork', 0, 0, 1, 0, 0],
      ['store', 1, 8, 1, 0, 0],
      ['storeAcross', 0, 8, 1, 0, 0],
      ['mmap', 0, 0, 1, 0, 0],
    ],
  ],
];

const script = fc.array(crowdedStep(MEMORY), { minLength: 2, maxLength: 12, size: 'max' });

describe('random programs of all calls', () => {
  it(
    'one after the other, keep everything adding up: 85,000 calls',
    () => {
      let steps = 0;
      const begun = performance.now();
      const program = fc.array(stepOf(EVERYTHING), { minLength: 1, maxLength: 200, size: 'max' });
      fc.assert(
        fc.property(program, fc.nat({ max: 59 }), (calls, kind) => {
          steps += run(kind, calls);
        }),
        { numRuns: RUNS },
      );
      report(steps, begun);
    },
    timeout(RUNS / 900),
  );

  it(
    'side by side on two and three CPUs, whatever the schedule: 15,000 calls',
    () => {
      let steps = 0;
      const begun = performance.now();
      const all = fc.array(stepOf(EVERYTHING), { minLength: 5, maxLength: 20, size: 'max' });
      fc.assert(
        fc.property(all, fc.tuple(script, script, script), fc.nat(), (before, scripts, seed) => {
          steps += runTogether(seed, before, scripts);
        }),
        { numRuns: RUNS_TOGETHER },
      );
      report(steps, begun);
    },
    timeout(RUNS_TOGETHER / 500),
  );

  it.each(REPLAYS)('once failed: %s', (_what, kind, steps) => {
    run(kind, steps, 1);
  });
});

function report(steps: number, begun: number): void {
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  process.stdout.write(`${architectureName}: ${steps} calls in ${seconds} s\n`);
}
