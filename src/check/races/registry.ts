/** All checks of a run, and how they are put on a system. */

import { anonPageReachable } from './anon-page-reachable.ts';
import { audit } from './audit.ts';
import { breakBeforeMake } from './break-before-make.ts';
import type { CheckDefinition, CheckFinding } from './check.ts';
import { entryBeyondMapping } from './entry-beyond-mapping.ts';
import { foreignData } from './foreign-data.ts';
import { forkUnlockedVma } from './fork-unlocked-vma.ts';
import { frameFreedInUse } from './frame-freed-in-use.ts';
import { gupPage } from './gup-page.ts';
import { gupRights } from './gup-rights.ts';
import { lockHeldAtReturn } from './lock-held-at-return.ts';
import { lockOrder } from './lock-order.ts';
import { lostDirty } from './lost-dirty.ts';
import { mmUseAfterFree } from './mm-use-after-free.ts';
import { pageContents } from './page-contents.ts';
import { pageTableUseAfterFree } from './page-table-use-after-free.ts';
import { pteOverwritten } from './pte-overwritten.ts';
import { pteWithoutLock } from './pte-without-lock.ts';
import { pteWithoutMappingLock } from './pte-without-mapping-lock.ts';
import { refcountRules } from './refcount.ts';
import { rightsAfterCall } from './rights-after-call.ts';
import { sleepInAtomic } from './sleep-in-atomic.ts';
import { staleLookup } from './stale-lookup.ts';
import { staleRemoteAccess } from './stale-remote-access.ts';
import { staleTlbEntry } from './stale-tlb-entry.ts';
import { deadlock, lostWakeUp } from './stuck.ts';
import { tornRemoteRead } from './torn-remote-read.ts';
import { unpinnedMm } from './unpinned-mm.ts';
import { useAfterFree } from './use-after-free.ts';
import { vmaLockCount } from './vma-lock-count.ts';
import { vmaTreeChange } from './vma-tree-change.ts';
import { vmaWithoutLock } from './vma-without-lock.ts';
import { Watch, type WatchedSystem } from './watch.ts';
import { writableEntry } from './writable-entry.ts';

/** Every check there is, by name. All are on unless a run leaves them out by name. */
export const CHECKS: readonly CheckDefinition[] = [
  anonPageReachable,
  audit,
  breakBeforeMake,
  deadlock,
  entryBeyondMapping,
  foreignData,
  forkUnlockedVma,
  frameFreedInUse,
  gupPage,
  gupRights,
  lockHeldAtReturn,
  lockOrder,
  lostDirty,
  lostWakeUp,
  mmUseAfterFree,
  pageContents,
  pageTableUseAfterFree,
  pteOverwritten,
  pteWithoutLock,
  pteWithoutMappingLock,
  refcountRules,
  rightsAfterCall,
  sleepInAtomic,
  staleLookup,
  staleRemoteAccess,
  staleTlbEntry,
  tornRemoteRead,
  unpinnedMm,
  useAfterFree,
  vmaLockCount,
  vmaTreeChange,
  vmaWithoutLock,
  writableEntry,
];

export const CHECK_NAMES: readonly string[] = CHECKS.map(({ name }) => name);

export interface AttachedChecks {
  /** What was found so far, oldest first. A live view. */
  readonly findings: readonly CheckFinding[];
  /** For `RunOptions.afterStep`; null when no check wants to look after every step. */
  readonly afterStep: (() => void) | null;
  /** To be called when the run is over and every program at its end. */
  finish(): void;
}

/** Checks that look at one run after another, of systems of one make. */
export class RunChecks {
  readonly #checks: readonly CheckDefinition[];
  #watch: Watch | null = null;

  /**
   * @param others put in before the checks, so that they are told of everything first
   * @throws Error for a name that is no check's
   */
  constructor(names: readonly string[] = CHECK_NAMES, others: readonly CheckDefinition[] = []) {
    for (const name of names) if (!CHECK_NAMES.includes(name)) throw new Error(`there is no check "${name}"`);
    this.#checks = [...others, ...CHECKS.filter(({ name }) => names.includes(name))];
  }

  /** Puts them on a system, before any task runs. What is given ends with the next call. */
  attach(system: WatchedSystem): AttachedChecks {
    const watch = this.#watch ?? this.#watchOf(system);
    watch.begin(system);
    return {
      findings: watch.findings,
      afterStep: watch.stepsWanted ? () => watch.stepped() : null,
      finish: () => watch.ended(),
    };
  }

  #watchOf(system: WatchedSystem): Watch {
    const watch = new Watch(system);
    this.#watch = watch;
    for (const check of this.#checks) check.attach?.(watch);
    return watch;
  }
}

/**
 * Puts checks on a single system, before any task runs. Dear: who watches many runs makes `RunChecks`.
 * @param names which; default all
 * @throws Error for a name that is no check's
 */
export function attachChecks(system: WatchedSystem, names: readonly string[] = CHECK_NAMES): AttachedChecks {
  return new RunChecks(names).attach(system);
}
