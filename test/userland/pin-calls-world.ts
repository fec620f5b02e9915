/** What tests of drivers that pin memory have in common. */
import { expect } from 'vitest';
import type { Task } from '../../src/base/task.ts';
import type { MachineSettings } from '../../src/userland/machine-settings.ts';
import type { Outcome } from '../../src/userland/outcome.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import type { Program } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { architecture } from '../support/architecture.ts';

export const PAGE = 4096;
export const P = 4096n;

/** What a program returns. */
export function answersOf(program: Program, settings: MachineSettings = {}): unknown {
  const result = runScenario({ title: 'pins', programs: { program }, ...settings }, { architecture });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return result.programs[0]?.value;
}

/** `ok`, or the errno. */
export function* tell<T>(call: Task<Outcome<T>>): Task<string> {
  const outcome = yield* call;
  if (outcome.ok) return outcome.value === undefined ? 'ok' : String(outcome.value);
  return 'errno' in outcome ? outcome.errno : outcome.signal;
}

/** `pages` anonymous pages, each with its number from 1 in its first byte. */
export function* memory(u: User, pages: number): Task<bigint> {
  const start = yield* u.must(u.mmap({ bytes: pages * PAGE, prot: 'rw' }));
  for (let page = 0; page < pages; page++) {
    yield* u.must(u.store(start + BigInt(page) * P, page + 1, 1));
  }
  return start;
}
