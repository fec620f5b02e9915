/**
 * Looks on at one run as the checks do, to tell where in the kernel its steps were made: the functions that a step was in
 * when it touched something, and the frames whose entries it changed. A path of the kernel is a chain of generators, so the
 * stack of JavaScript at such a place is that of the kernel, with our functions in the spelling of Linux.
 */
import type { CheckDefinition } from '../../check/races/check.ts';
import type { Watch } from '../../check/races/watch.ts';

/** Where in the kernel a task was. */
export interface KernelPlace {
  /** Innermost first, in the spelling of Linux. */
  readonly functions: readonly string[];
  /** `src/kernel/mm/zap-range.ts:175`, where that is known: of the innermost function. */
  readonly at: string | null;
}

/** A step that has touched something, and the stack there. */
interface Capture {
  readonly step: number;
  readonly stack: Error;
}

export class StepTracer implements CheckDefinition {
  readonly name = 'step-tracer';
  readonly rule = '';
  readonly source = '';
  /** By the number of the step, from 1: frames of entries that it changed. */
  readonly frames = new Map<number, Set<number>>();
  /** By the name of the task, its last one. */
  readonly #captures = new Map<string, Capture>();
  #watch: Watch | null = null;

  readonly attach = (watch: Watch): void => {
    this.#watch = watch;
    const note = (): void => this.#note();
    watch.onTableChange(({ old, next }) => {
      this.#note();
      this.#changed(old.frame);
      this.#changed(next.frame);
    });
    watch.onLocks({ acquire: note, acquired: note, release: note, downgrade: note });
    watch.onReferences({ counted: note, mapped: note });
    watch.onFrames({ allocated: note, freed: note });
    watch.onKernel({ entered: note, flushBegins: note, grabbed: note, usedAfterFree: note, copied: note });
    watch.onVmas({ freed: note, touched: note, readerCounted: note, writeLocked: note, treeChanges: note });
  };

  /** Where a task was when it last touched something, and at which step; null: never. */
  placeOf(task: string): (KernelPlace & { readonly step: number }) | null {
    const capture = this.#captures.get(task);
    return capture === undefined ? null : { step: capture.step, ...kernelPlace(capture.stack) };
  }

  #note(): void {
    const { loop } = this.#watch as Watch;
    const { stepping } = loop;
    if (stepping !== null) this.#captures.set(stepping.name, { step: loop.steps, stack: new Error('here') });
  }

  #changed(frame: number): void {
    if (frame < 0) return;
    const { steps } = (this.#watch as Watch).loop;
    const frames = this.frames.get(steps);
    if (frames === undefined) this.frames.set(steps, new Set([frame]));
    else frames.add(frame);
  }
}

/** More than any path of the kernel has, generators and all that is around them. */
const DEEPEST_STACK = 100;

/** Runs something with stacks kept whole. */
export function withDeepStacks<T>(run: () => T): T {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = DEEPEST_STACK;
  try {
    return run();
  } finally {
    Error.stackTraceLimit = before;
  }
}

/** `    at zapPteRange (/somewhere/src/kernel/mm/zap-range.ts:138:26)`. */
const framePattern = /^ +at (?:async )?(.+?) \((.*)\)$/;
const placePattern = /(src\/(?:kernel|arch)\/.*:\d+):\d+$/;
/** How V8 shows that the frame before is one of a generator. */
const RESUMED = /\.next$/;
/** Not of the kernel, which begins above them. */
const OUTSIDE =
  /^(?:(?:ProcessContext|ScenarioProcesses|User|RunLoop)\.|(?:inKernel|systemCall|faultSignal)$)/;

/** The part of a stack that is the kernel's. */
export function kernelPlace({ stack = '' }: Error): KernelPlace {
  const frames = stack.split('\n').flatMap((line) => {
    const [, name, file] = framePattern.exec(line) ?? [];
    return name === undefined || file === undefined ? [] : [{ name, file }];
  });
  const end = frames.findIndex(({ name }) => OUTSIDE.test(name));
  const inside = end < 0 ? frames : frames.slice(0, end);
  const tasks = inside.filter(
    ({ file }, index) => RESUMED.test(inside[index + 1]?.name ?? '') && !file.includes('/src/userland/'),
  );
  return {
    functions: tasks.map(({ name }) => linuxSpelling(name)),
    at: placePattern.exec(tasks[0]?.file ?? '')?.[1] ?? null,
  };
}

/** `VmaLock.#startWrite` as `start_write`. */
const linuxSpelling = (name: string): string =>
  (name.split('.').at(-1) as string)
    .replace(/^#/, '')
    .replaceAll(/(?<=[a-z0-9])[A-Z]/g, (letter) => `_${letter}`)
    .toLowerCase();
