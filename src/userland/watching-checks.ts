/** The checks of src/check/races on one run after another, and what they found as the outcome of a run. */
import { InputError } from '../base/input-error.ts';
import type { CheckDefinition, CheckFinding } from '../check/races/check.ts';
import { type AttachedChecks, CHECK_NAMES, CHECKS, RunChecks } from '../check/races/registry.ts';
import type { RunEnd, ScenarioOutcome } from './scenario-outcome.ts';
import type { System } from './system.ts';

export class WatchingChecks {
  /** For `ScenarioRunOptions.attach`. */
  readonly attach: (system: System) => void;
  #checks: AttachedChecks | null = null;

  /**
   * @param others that look on beside the checks, and are told first
   * @throws InputError for a name that no check has
   */
  constructor(wanted: boolean | readonly string[], others: readonly CheckDefinition[] = []) {
    const names = wanted === true ? CHECK_NAMES : wanted === false ? [] : checkedNames(wanted);
    const checks = new RunChecks(names, others);
    this.attach = (system) => {
      this.#checks = checks.attach(system);
    };
  }

  /** What was found first in the run that is over; null when that is nothing. @param end how it ended */
  finding(end: RunEnd): CheckFinding | null {
    if (end.kind === 'finished') this.#checks?.finish();
    return this.#checks?.findings[0] ?? null;
  }

  /** The same as an outcome. */
  failure(end: RunEnd): ScenarioOutcome | null {
    const finding = this.finding(end);
    if (finding === null) return null;
    const { check, text } = finding;
    return { kind: 'check failed', name: check, text, ...ruleOf(check) };
  }
}

/** What a check is about, and where that is said. */
export function ruleOf(check: string): { readonly rule: string; readonly source: string } {
  const definition = CHECKS.find(({ name }) => name === check);
  if (definition === undefined) throw new Error(`there is no check "${check}"`);
  const { rule, source } = definition;
  return { rule, source };
}

/** @throws InputError for a name that no check has */
export function checkedNames(names: readonly string[]): readonly string[] {
  const unknown = names.find((name) => !CHECK_NAMES.includes(name));
  if (unknown === undefined) return names;
  throw new InputError('there is no such check', { expected: CHECK_NAMES.join(', '), found: unknown });
}
