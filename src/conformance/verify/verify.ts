/** Runs files of recorded hardware vectors and counts what agrees. */
import { InputError } from '../../base/input-error.ts';
import type { Retention } from '../../hardware/retention.ts';
import { type JsonLine, readJsonLines } from '../jsonl.ts';
import { vectorArchitecture } from './vector-architectures.ts';
import type { VectorDifference, VectorOutcome, VectorRunner } from './vector-runner.ts';

export interface VerifyOptions {
  /** How long the model's TLBs keep what they may keep; `profile` unless given. Every mode must pass. */
  readonly retention?: Retention;
  /** Only vectors with one of these ids or tags; `*` stands for any characters. */
  readonly only?: readonly string[];
  /** Stop at the first vector that fails. */
  readonly firstFailure?: boolean;
  /** Aborted: what was counted so far is returned. */
  readonly signal?: AbortSignal;
  /** Told now and then how many vectors were run. */
  readonly progress?: (run: number) => void;
}

export interface Count {
  passed: number;
  failed: number;
}

export interface VerifyResult {
  readonly files: readonly string[];
  readonly retention: Retention;
  readonly passed: number;
  readonly failed: number;
  /** Left out by `only`. */
  readonly skipped: number;
  /** Not run, as they name a feature that the model does not have. */
  readonly unsupported: number;
  /** Those features, and how many vectors name them. */
  readonly unsupportedFeatures: ReadonlyMap<string, number>;
  /** By kind: `sequences`, `MTE accesses`; in the order in which they were met. */
  readonly kinds: ReadonlyMap<string, Readonly<Count>>;
  /** Steps of the sequences, one for each other vector. */
  readonly steps: number;
  readonly tags: ReadonlyMap<string, Readonly<Count>>;
  /** The first vector that failed, in full. */
  readonly first: VectorDifference | null;
  /** Ids of the vectors that failed, the first `MOST_IDS` of them. */
  readonly failedIds: readonly string[];
  /** Was it stopped before the end, by `firstFailure` or by the signal? */
  readonly stopped: boolean;
}

/** How many ids of failed vectors are kept. */
const MOST_IDS = 100;
/** Vectors between two calls of `progress`. */
const PROGRESS_STEP = 1024;

class Verification {
  readonly total: Count = { passed: 0, failed: 0 };
  readonly kinds = new Map<string, Count>();
  readonly tags = new Map<string, Count>();
  readonly failedIds: string[] = [];
  readonly unsupportedFeatures = new Map<string, number>();
  skipped = 0;
  unsupported = 0;
  steps = 0;
  first: VectorDifference | null = null;
  readonly #runners = new Map<string, VectorRunner>();
  readonly #retention: Retention;
  readonly #only: RegExp | null;

  constructor(retention: Retention, only: readonly string[]) {
    this.#retention = retention;
    this.#only = only.length === 0 ? null : patternOf(only);
  }

  get run(): number {
    return this.total.passed + this.total.failed;
  }

  /** Returns whether the vector failed. */
  line({ value, file, line }: JsonLine): boolean {
    const fields = value as (NamedLine & { readonly arch?: unknown }) | null;
    if (this.#only !== null && !wanted(this.#only, fields)) {
      this.skipped++;
      return false;
    }
    if (isTrace(fields)) {
      throw new InputError('a recorded kernel trace, not a hardware vector', {
        file,
        line,
        expected: 'vectors; traces are for replay',
      });
    }
    return this.#count(this.#runnerOf(fields?.arch, file, line).run(value, { file, line }));
  }

  #count({ id, kind, steps, tags, difference, unsupported }: VectorOutcome): boolean {
    if (unsupported !== undefined) {
      this.unsupported++;
      const { unsupportedFeatures: counts } = this;
      for (const feature of unsupported) counts.set(feature, (counts.get(feature) ?? 0) + 1);
      return false;
    }
    const side = difference === null ? 'passed' : 'failed';
    this.total[side]++;
    this.steps += steps;
    countIn(this.kinds, kind, side);
    for (const tag of tags) countIn(this.tags, tag, side);
    if (difference === null) return false;
    this.first ??= difference;
    if (this.failedIds.length < MOST_IDS) this.failedIds.push(id);
    return true;
  }

  #runnerOf(arch: unknown, file: string, line: number): VectorRunner {
    const known = this.#runners.get(arch as string);
    if (known !== undefined) return known;
    const architecture = vectorArchitecture(arch, { file, line });
    const runner = architecture.createRunner(this.#retention);
    this.#runners.set(architecture.name, runner);
    return runner;
  }
}

/** A trace has steps as a vector has, and the range of addresses in which they happen. */
const isTrace = (fields: object | null): boolean =>
  fields !== null && Object.hasOwn(fields, 'steps') && Object.hasOwn(fields, 'arena');

function countIn(counts: Map<string, Count>, name: string, side: keyof Count): void {
  const count = counts.get(name);
  if (count === undefined) counts.set(name, { passed: 0, failed: 0, [side]: 1 });
  else count[side]++;
}

interface NamedLine {
  readonly id?: unknown;
  readonly tags?: unknown;
  readonly labels?: unknown;
}

/** x86-64 vectors have `tags`, arm64 ones `labels`. */
function wanted(pattern: RegExp, fields: NamedLine | null): boolean {
  if (typeof fields?.id === 'string' && pattern.test(fields.id)) return true;
  const tags = fields?.tags ?? fields?.labels;
  return Array.isArray(tags) && tags.some((tag) => pattern.test(String(tag)));
}

function patternOf(only: readonly string[]): RegExp {
  const expression = (text: string): string =>
    text.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');
  return new RegExp(`^(?:${only.map(expression).join('|')})$`);
}

/**
 * Runs every vector of the files, in order.
 * @throws InputError for a file that cannot be read and for a malformed line
 */
export async function verifyVectors(
  files: readonly string[],
  options: VerifyOptions = {},
): Promise<VerifyResult> {
  const retention = options.retention ?? 'profile';
  const verification = new Verification(retention, options.only ?? []);
  const stopped = await runFiles(files, verification, options);
  const { total, kinds, skipped, unsupported, unsupportedFeatures, steps, tags, first, failedIds } =
    verification;
  return {
    files,
    retention,
    passed: total.passed,
    failed: total.failed,
    skipped,
    unsupported,
    unsupportedFeatures,
    kinds,
    steps,
    tags,
    first,
    failedIds,
    stopped,
  };
}

/** Returns whether it stopped early. */
async function runFiles(
  files: readonly string[],
  verification: Verification,
  { firstFailure = false, signal, progress }: VerifyOptions,
): Promise<boolean> {
  for (const file of files) {
    for await (const line of readJsonLines(file)) {
      if (signal?.aborted === true) return true;
      const failed = verification.line(line);
      if (failed && firstFailure) return true;
      if (progress !== undefined && verification.run % PROGRESS_STEP === 0) progress(verification.run);
    }
  }
  return false;
}
