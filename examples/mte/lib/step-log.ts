/** What a program did, step by step, as a table: the tag of the pointer, the tag of the memory, and what came of it. */
import type { Failure, Outcome, ReportTable, Task, User } from 'tablewalk';
import { tagOf, untagged } from './allocator.ts';

/** One line of the table. */
export type StepRow = readonly [what: string, address: string, pointer: string, memory: string, came: string];

const failureText = (failure: Failure): string =>
  'errno' in failure
    ? failure.errno
    : `${failure.signal} ${failure.code}, si_addr 0x${failure.address.toString(16)}`;

export const outcomeText = (outcome: Outcome<unknown>): string =>
  outcome.ok
    ? `done${typeof outcome.value === 'bigint' ? `: 0x${outcome.value.toString(16)}` : ''}`
    : failureText(outcome);

export class StepLog {
  readonly rows: StepRow[] = [];
  readonly #u: User;

  constructor(u: User) {
    this.#u = u;
  }

  /** Stores one byte through a pointer. */
  *store(what: string, pointer: bigint, value: bigint): Task<void> {
    yield* this.#access(what, pointer, this.#u.store(pointer, value, 1));
  }

  /** Loads one byte through a pointer. */
  *load(what: string, pointer: bigint): Task<void> {
    yield* this.#access(what, pointer, this.#u.load(pointer, 1));
  }

  *#access(what: string, pointer: bigint, access: Task<Outcome<unknown>>): Task<void> {
    this.add(what, pointer, yield* this.#u.attempt(access), yield* this.#u.must(this.#u.ldg(pointer)));
  }

  /** A step of another kind. @param memory a pointer with the tag of the memory, as LDG gives it */
  add(what: string, pointer: bigint, outcome: Outcome<unknown>, memory: bigint): void {
    const address = `0x${untagged(pointer).toString(16)}`;
    this.rows.push([what, address, String(tagOf(pointer)), String(tagOf(memory)), outcomeText(outcome)]);
  }
}

/** The table of the rows that a program returned. */
export const stepTable = (rows: unknown): ReportTable => ({
  columns: [
    'step',
    'address',
    { title: 'pointer tag', align: 'right' },
    { title: 'memory tag', align: 'right' },
    'what came',
  ],
  rows: rows as readonly StepRow[],
});

/** Did the step of this name end in a synchronous tag check fault? */
export function wasStopped(rows: unknown, what: string): boolean {
  const row = (rows as readonly StepRow[]).find(([name]) => name === what);
  return row?.[4].startsWith('SIGSEGV SEGV_MTESERR') === true;
}
