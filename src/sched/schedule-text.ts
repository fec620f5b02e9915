/**
 * A schedule: what was chosen, each time there was a choice. As text it is what a failure prints and `--schedule`
 * takes:
 *
 *     0*12 1*3 i1 idle1 f1:3 0
 *
 * task 0 twelve times, task 1 three times, CPU 1 takes an interrupt, CPU 1 (which has no task) goes on with its
 * handler, CPU 1 fills the fourth of the translations it could fill, task 0. Besides: `e0:2` CPU 0 forgets the third of
 * the translations it holds, `g` a grace period ends, `a` the next allocation fails, `k1` task 1 gets SIGKILL. A
 * schedule with no choice is `-`. Steps without a choice are not in it.
 */
import { InputError } from '../base/input-error.ts';
import {
  ALLOCATION_FAILURE_CODE,
  EVICTIONS_PER_CPU,
  evictionCode,
  evictionOf,
  FILLS_PER_CPU,
  fillCode,
  fillOf,
  GRACE_PERIOD_CODE,
  idleCode,
  interruptCode,
  killCode,
  killOf,
  stepCode,
} from './policy/policy.ts';

/** Run-length coded: `codes[i]` was chosen `repeats[i]` times in a row. */
export interface Schedule {
  readonly codes: readonly number[];
  readonly repeats: readonly number[];
}

/** Collects a schedule while a run goes on. */
export class ScheduleRecorder implements Schedule {
  readonly codes: number[] = [];
  readonly repeats: number[] = [];
  /** Choices recorded. */
  length = 0;
  #last: number | null = null;

  add(code: number): void {
    this.length++;
    if (code === this.#last) (this.repeats[this.repeats.length - 1] as number)++;
    else {
      this.codes.push(code);
      this.repeats.push(1);
      this.#last = code;
    }
  }
}

/** Gives the choices of a schedule one by one. */
export class ScheduleReader {
  /** Choices given so far. */
  position = 0;
  readonly #schedule: Schedule;
  #run = 0;
  #used = 0;

  constructor(schedule: Schedule) {
    this.#schedule = schedule;
  }

  /** The next choice, or null at the end. */
  next(): number | null {
    const code = this.#schedule.codes[this.#run];
    if (code === undefined) return null;
    this.position++;
    this.#used++;
    if (this.#used === this.#schedule.repeats[this.#run]) {
      this.#run++;
      this.#used = 0;
    }
    return code;
  }
}

/** One choice: `3`, `i1`, `idle1`, `f1:3`, `e1:3`, `g`, `a`, `k3`. */
export function formatChoice(code: number): string {
  const fill = fillOf(code);
  if (fill !== null) return `f${fill.cpu}:${fill.index}`;
  const eviction = evictionOf(code);
  if (eviction !== null) return `e${eviction.cpu}:${eviction.index}`;
  if (code === GRACE_PERIOD_CODE) return 'g';
  if (code === ALLOCATION_FAILURE_CODE) return 'a';
  const killed = killOf(code);
  if (killed !== null) return `k${killed}`;
  if (code < 0) return `idle${-code - 1}`;
  return code % 2 === 1 ? `i${(code - 1) / 2}` : `${code / 2}`;
}

export function formatSchedule(schedule: Schedule): string {
  if (schedule.codes.length === 0) return '-';
  return schedule.codes
    .map((code, index) => {
      const repeats = schedule.repeats[index] as number;
      return repeats === 1 ? formatChoice(code) : `${formatChoice(code)}*${repeats}`;
    })
    .join(' ');
}

/** Numbers of up to 9 digits: no machine has more CPUs or tasks, and no sum leaves the safe integers. */
const choicePattern = /^(i|idle|f|e|g|a|k)?(0|[1-9]\d{0,8})?(?::(0|[1-9]\d{0,3}))?(?:\*([1-9]\d{0,8}))?$/;

/**
 * @throws InputError with line and column when the text is not a schedule
 */
export function parseSchedule(text: string): Schedule {
  if (text.trim() === '-') return { codes: [], repeats: [] };
  const codes: number[] = [];
  const repeats: number[] = [];
  for (const token of text.matchAll(/\S+/g)) {
    const match = choicePattern.exec(token[0]);
    const code = match === null ? null : codeOf(match[1], match[2], match[3]);
    if (code === null) throw malformed(text, token.index, token[0]);
    codes.push(code);
    repeats.push(Number(match?.[4] ?? 1));
  }
  if (codes.length === 0) throw malformed(text, 0, 'nothing');
  return { codes, repeats };
}

/** Null when the letter and the numbers do not go together. */
function codeOf(
  prefix: string | undefined,
  first: string | undefined,
  second: string | undefined,
): number | null {
  if (prefix === 'g' || prefix === 'a') {
    if (first !== undefined || second !== undefined) return null;
    return prefix === 'g' ? GRACE_PERIOD_CODE : ALLOCATION_FAILURE_CODE;
  }
  if (first === undefined) return null;
  const number = Number(first);
  if (prefix === 'f' || prefix === 'e') {
    return second === undefined ? null : indexedCodeOf(prefix, number, Number(second));
  }
  return second === undefined ? plainCodeOf(prefix, number) : null;
}

function indexedCodeOf(prefix: 'f' | 'e', cpu: number, index: number): number | null {
  if (prefix === 'f') return index < FILLS_PER_CPU ? fillCode(cpu, index) : null;
  return index < EVICTIONS_PER_CPU ? evictionCode(cpu, index) : null;
}

function plainCodeOf(prefix: string | undefined, number: number): number {
  if (prefix === undefined) return stepCode(number);
  if (prefix === 'k') return killCode(number);
  return prefix === 'i' ? interruptCode(number) : idleCode(number);
}

function malformed(text: string, index: number, found: string): InputError {
  const before = text.slice(0, index).split('\n');
  const column = (before[before.length - 1] as string).length + 1;
  const shown = found.length > 40 ? `${found.slice(0, 40)}…` : found;
  return new InputError('bad schedule', {
    line: before.length,
    column,
    expected: 'choices like 3, 3*12, i1, idle1, f1:3, e1:3, g, a or k3, or - for none',
    found: shown,
  });
}
