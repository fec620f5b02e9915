/** How a run of a scenario ended, and how what the run loop and the assertions say becomes that. */
import { InputError } from '../base/input-error.ts';
import { Unsupported } from '../kernel/unsupported.ts';
import { describeResult, type RunResult, TaskFailure, type WaitReport } from '../sched/run-result.ts';
import { AssertionFailure } from './calls/process-context.ts';
import { EventsNeeded } from './event-counter.ts';
import { mistakeOf } from './mistake.ts';
import { inFile } from './run-config.ts';
import type { Assertion, Scenario } from './scenario.ts';
import type { WorldView } from './world-view.ts';

export type ScenarioOutcome =
  | { readonly kind: 'finished' }
  /** `name` is the assertion's sentence, or the program whose own check failed. */
  | { readonly kind: 'assertion failed'; readonly name: string; readonly text: string }
  /** A check that watched the run found something: `rule` is what must hold, `source` where that is said. */
  | {
      readonly kind: 'check failed';
      readonly name: string;
      readonly text: string;
      readonly rule: string;
      readonly source: string;
    }
  | {
      readonly kind: 'deadlock';
      readonly text: string;
      readonly cycle: readonly string[];
      readonly waits: readonly WaitReport[];
    }
  | { readonly kind: 'step bound'; readonly text: string }
  /** Whoever ran it in slices ended it before its end. */
  | { readonly kind: 'interrupted'; readonly text: string }
  /** The scenario asks for something that is not built. */
  | { readonly kind: 'unsupported'; readonly what: string };

/** The same, and what only somebody who makes many runs wants to know as a value. */
export type RunEnd =
  | ScenarioOutcome
  /** A check asked the run loop to stop, or the search has no use for the rest. */
  | { readonly kind: 'stopped' }
  /** The kernel threw: a broken invariant. `error` is a `TaskFailure`, with its task and schedule, if it was a task that did. */
  | { readonly kind: 'thrown'; readonly error: unknown };

/** The first assertion that does not hold; null when all do. @throws InputError when one of them throws */
export function firstViolation(
  assertions: readonly (readonly [string, Assertion])[],
  world: WorldView,
  file: string | undefined,
): ScenarioOutcome | null {
  for (const [name, assertion] of assertions) {
    let answer: boolean | string;
    try {
      answer = assertion(world);
    } catch (error) {
      if (error instanceof EventsNeeded) throw error;
      throw mistakeOf(`assertion "${name}"`, error, file);
    }
    if (answer === true) continue;
    return { kind: 'assertion failed', name, text: answer === false ? 'does not hold' : answer };
  }
  return null;
}

/** A schedule asks for what cannot be chosen: it is of another run. */
export class ScheduleMisfit extends InputError {}

/** What the run loop's result says; null: the tasks have come to their ends. @throws ScheduleMisfit */
export function endOfResult(result: RunResult, scenario: Scenario): RunEnd | null {
  switch (result.kind) {
    case 'finished':
      return null;
    case 'deadlock':
      return { kind: 'deadlock', text: wordsOf(result), cycle: result.cycle, waits: result.waits };
    case 'step-limit':
      return { kind: 'step bound', text: wordsOf(result) };
    case 'impossible-choice':
      throw new ScheduleMisfit(misfitOf(result), inFile(scenario));
    case 'stopped':
    case 'redundant':
      return { kind: 'stopped' };
  }
}

function misfitOf(result: Extract<RunResult, { readonly kind: 'impossible-choice' }>): string {
  const [what = ''] = describeResult(result).split('\n');
  return result.wanted === null
    ? what
    : `${what}; is it of other options, another architecture, or another version of the scenario?`;
}

/** Without its last line, the schedule: the result has it. */
const wordsOf = (result: RunResult): string => describeResult(result).split('\n').slice(0, -1).join('\n');

/**
 * What was thrown in a run, told apart: a check of a program, something that is not built, ours.
 * @throws InputError for a mistake of a program, EventsNeeded for an assertion that counts what nobody has counted
 */
export function endOfError(error: unknown, scenario: Scenario): RunEnd {
  const cause = error instanceof TaskFailure ? error.cause : error;
  if (cause instanceof AssertionFailure) {
    const name = error instanceof TaskFailure ? error.task : scenario.title;
    return { kind: 'assertion failed', name, text: cause.message };
  }
  if (cause instanceof Unsupported) return { kind: 'unsupported', what: cause.what };
  if (cause instanceof InputError || cause instanceof EventsNeeded) throw cause;
  return { kind: 'thrown', error };
}
