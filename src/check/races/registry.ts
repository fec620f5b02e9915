/** All checks of a run, and how they are put on a system. */
import type { CheckDefinition, CheckFinding } from './check.ts';
import { pteWithoutLock } from './pte-without-lock.ts';
import { useAfterFree } from './use-after-free.ts';
import { Watch, type WatchedSystem } from './watch.ts';

/** Every check there is, by name. All are on unless a run leaves them out by name. */
export const CHECKS: readonly CheckDefinition[] = [pteWithoutLock, useAfterFree];

export const CHECK_NAMES: readonly string[] = CHECKS.map(({ name }) => name);

export interface AttachedChecks {
  /** What was found so far, oldest first. A live view. */
  readonly findings: readonly CheckFinding[];
  /** For `RunOptions.afterStep`; null when no check wants to look after every step. */
  readonly afterStep: (() => void) | null;
  /** To be called when the run is over and every program at its end. */
  finish(): void;
}

/**
 * Puts checks on a system, before any task runs.
 * @param names which; default all
 * @throws Error for a name that is no check's
 */
export function attachChecks(system: WatchedSystem, names: readonly string[] = CHECK_NAMES): AttachedChecks {
  const watch = new Watch(system);
  for (const check of CHECKS) if (names.includes(check.name)) check.attach(watch);
  for (const name of names) if (!CHECK_NAMES.includes(name)) throw new Error(`there is no check "${name}"`);
  watch.install();
  return {
    findings: watch.findings,
    afterStep: watch.stepsWanted ? () => watch.stepped() : null,
    finish: () => watch.ended(),
  };
}
