/**
 * A recorded kernel trace as data, and its reader. One line of a trace file is one script: every step has the system
 * call or access that was made, its result, and the state of the address spaces after it. The reader checks the shape
 * of everything it hands out, so that the runner need not; which operations exist is the runner's business.
 * Left out: the meaning of arguments (`arguments.ts`).
 */
import { InputError } from '../../base/input-error.ts';
import { type JsonLine, readJsonLines } from '../jsonl.ts';
import { StepArguments } from './arguments.ts';

/**
 * One mapping as the trace shows it: start, end, permissions, file offset, kind, VmFlags. Text, since it is compared
 * and printed, never computed with.
 */
export type VmaRow = readonly [string, string, string, string, string, string];
/** A run of pages in one state: address of the first, how many, flags (`P`, `X`, `Z`, `m2` …). */
export type PageRow = readonly [string, number, string];
/** KiB: resident, anonymous, swapped, locked. */
export interface RssRow {
  readonly rss: number;
  readonly anon: number;
  readonly swap: number;
  readonly lck: number;
}

/** What a trace tells of one process after a step; `null` when the process is dead. */
export type ProcessState = {
  readonly vmas: readonly VmaRow[];
  readonly pages: readonly PageRow[];
  readonly rss: RssRow;
} | null;

/** The recorded result: `ret`, `errno`, `sig` and so on, as written in the trace. */
export type StepResult = Readonly<Record<string, unknown>>;

export interface Step {
  /** From 0, as the recorder counted. */
  readonly index: number;
  readonly op: string;
  /** The process the step is about, 1…8. */
  readonly pid: number;
  /** Who makes a remote access: 0 is the supervisor, outside every arena; `undefined` when the trace names nobody. */
  readonly by: number | undefined;
  readonly args: StepArguments;
  readonly result: StepResult;
  readonly state: ProcessState;
  /** Other processes whose state changed, by their number. */
  readonly others: ReadonlyMap<number, ProcessState>;
}

export interface Trace {
  readonly id: string;
  readonly arch: string;
  readonly kernel: string;
  /** First byte of the range in which everything happens. */
  readonly arena: bigint;
  /** Bytes. */
  readonly arenaSize: bigint;
  /** What the script shows, in a sentence; empty for random scripts. */
  readonly rule: string;
  readonly steps: readonly Step[];
  readonly file: string;
  readonly line: number;
}

/**
 * The traces of a file in order.
 * @throws InputError that names file, line and step for anything that is not a trace
 */
export async function* readTraces(file: string): AsyncGenerator<Trace> {
  for await (const line of readJsonLines(file, { wideIntegersAsText: true })) yield parseTrace(line);
}

/** @throws InputError when the line is not a trace */
export function parseTrace(line: JsonLine): Trace {
  const at = new Place(line, '');
  const object = at.record(line.value, 'a trace object');
  const steps = at.list(object['steps'], '"steps"');
  return {
    id: at.text(object['id'], '"id"'),
    arch: at.text(object['arch'], '"arch"'),
    kernel: object['kernel'] === undefined ? '' : at.text(object['kernel'], '"kernel"'),
    arena: at.address(object['arena'], '"arena"'),
    arenaSize: at.address(object['arena_size'], '"arena_size"'),
    rule: object['rule'] === undefined ? '' : at.text(object['rule'], '"rule"'),
    steps: steps.map((step, index) => parseStep(step, index, line)),
    file: line.file,
    line: line.line,
  };
}

function parseStep(value: unknown, index: number, line: JsonLine): Step {
  const at = new Place(line, `step ${index}: `);
  const object = at.record(value, 'an object');
  const op = at.text(object['op'], '"op"');
  const others = new Map<number, ProcessState>();
  if (object['others'] !== undefined) {
    for (const [pid, state] of Object.entries(at.record(object['others'], '"others"'))) {
      others.set(at.count(Number(pid), `process number "${pid}" in "others"`), parseState(state, at));
    }
  }
  const args = object['args'] === undefined ? {} : at.record(object['args'], '"args"');
  return {
    index,
    op,
    pid: at.count(object['pid'], '"pid"'),
    by: object['by'] === undefined ? undefined : at.count(object['by'], '"by"'),
    args: new StepArguments(op, args, (message, found) => at.fail(message, found)),
    result: at.record(object['result'], '"result"'),
    state: parseState(object, at),
    others,
  };
}

function parseState(value: unknown, at: Place): ProcessState {
  const object = at.record(value, 'the state of a process');
  if (object['dead'] === true) return null;
  const rss = at.record(object['rss'], '"rss"');
  return {
    vmas: at.list(object['vmas'], '"vmas"').map((row) => parseVma(row, at)),
    pages: at.list(object['pages'], '"pages"').map((row) => parsePages(row, at)),
    rss: {
      rss: at.count(rss['rss'], '"rss.rss"'),
      anon: at.count(rss['anon'], '"rss.anon"'),
      swap: at.count(rss['swap'], '"rss.swap"'),
      lck: at.count(rss['lck'], '"rss.lck"'),
    },
  };
}

function parseVma(value: unknown, at: Place): VmaRow {
  const row = at.list(value, 'a row of "vmas"');
  if (row.length !== 6) throw at.fail('a row of "vmas" has 6 fields', row);
  return row.map((field) => at.text(field, 'a field of "vmas"')) as unknown as VmaRow;
}

function parsePages(value: unknown, at: Place): PageRow {
  const row = at.list(value, 'a row of "pages"');
  if (row.length !== 3) throw at.fail('a row of "pages" has 3 fields', row);
  return [
    at.text(row[0], 'the address of "pages"'),
    at.count(row[1], 'the count of "pages"'),
    at.text(row[2], 'the flags of "pages"'),
  ];
}

/** Where in the file we are, for the message when something is not as it must be. */
class Place {
  readonly #line: JsonLine;
  readonly #prefix: string;

  constructor(line: JsonLine, prefix: string) {
    this.#line = line;
    this.#prefix = prefix;
  }

  fail(message: string, found: unknown): InputError {
    const text = found === undefined ? 'nothing' : (JSON.stringify(found) ?? 'nothing');
    return new InputError(`${this.#prefix}${message}`, {
      file: this.#line.file,
      line: this.#line.line,
      found: text.length > 60 ? `${text.slice(0, 60)}…` : text,
    });
  }

  record(value: unknown, what: string): Readonly<Record<string, unknown>> {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.fail(`${what} must be an object`, value);
    }
    return value as Readonly<Record<string, unknown>>;
  }

  list(value: unknown, what: string): readonly unknown[] {
    if (!Array.isArray(value)) throw this.fail(`${what} must be a list`, value);
    return value;
  }

  text(value: unknown, what: string): string {
    if (typeof value !== 'string') throw this.fail(`${what} must be text`, value);
    return value;
  }

  count(value: unknown, what: string): number {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
      throw this.fail(`${what} must be a number of 0 or more`, value);
    }
    return value;
  }

  address(value: unknown, what: string): bigint {
    const text = this.text(value, what);
    if (!/^0x[0-9a-fA-F]{1,16}$/.test(text)) throw this.fail(`${what} must be 0x and up to 16 digits`, value);
    return BigInt(text);
  }
}
