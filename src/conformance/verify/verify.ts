/**
 * Runs files of recorded hardware vectors and counts what agrees. A vector of an architecture that has no runner is
 * counted as unsupported, never as passed.
 */
import { InputError } from '../../base/input-error.ts';
import type { Retention } from '../../hardware/retention.ts';
import { type JsonLine, readJsonLines } from '../jsonl.ts';
import type { VectorArchitecture, VectorDifference, VectorOutcome, VectorRunner } from './vector-runner.ts';
import { X86_64_VECTORS } from './x86_64-runner.ts';

const ARCHITECTURES: readonly VectorArchitecture[] = [X86_64_VECTORS];

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
  /** Vectors of an architecture that is not built. */
  readonly unsupported: number;
  /** Left out by `only`. */
  readonly skipped: number;
  readonly singles: Readonly<Count>;
  readonly sequences: Readonly<Count>;
  /** Steps of the sequences, and the singles. */
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
  readonly singles: Count = { passed: 0, failed: 0 };
  readonly sequences: Count = { passed: 0, failed: 0 };
  readonly tags = new Map<string, Count>();
  readonly failedIds: string[] = [];
  unsupported = 0;
  skipped = 0;
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
    return this.singles.passed + this.singles.failed + this.sequences.passed + this.sequences.failed;
  }

  /** Returns whether the vector failed. */
  line({ value, file, line }: JsonLine): boolean {
    const fields = value as {
      readonly id?: unknown;
      readonly arch?: unknown;
      readonly tags?: unknown;
    } | null;
    if (this.#only !== null && !wanted(this.#only, fields)) {
      this.skipped++;
      return false;
    }
    const runner = this.#runnerOf(fields?.arch, file, line);
    if (runner === null) {
      this.unsupported++;
      return false;
    }
    return this.#count(runner.run(value, { file, line }));
  }

  #count({ id, sequence, steps, tags, difference }: VectorOutcome): boolean {
    const side = difference === null ? 'passed' : 'failed';
    (sequence ? this.sequences : this.singles)[side]++;
    this.steps += steps;
    for (const tag of tags) {
      const count = this.tags.get(tag);
      if (count === undefined) this.tags.set(tag, { passed: 0, failed: 0, [side]: 1 });
      else count[side]++;
    }
    if (difference === null) return false;
    this.first ??= difference;
    if (this.failedIds.length < MOST_IDS) this.failedIds.push(id);
    return true;
  }

  #runnerOf(arch: unknown, file: string, line: number): VectorRunner | null {
    if (typeof arch !== 'string') {
      throw new InputError('field arch', {
        file,
        line,
        expected: 'the name of an architecture',
        found: arch === undefined ? 'nothing' : JSON.stringify(arch),
      });
    }
    const known = this.#runners.get(arch);
    if (known !== undefined) return known;
    const architecture = ARCHITECTURES.find(({ name }) => name === arch);
    if (architecture === undefined) {
      if (arch === 'arm64') return null;
      throw new InputError('field arch', { file, line, expected: '"x86_64" or "arm64"', found: `"${arch}"` });
    }
    const runner = architecture.createRunner(this.#retention);
    this.#runners.set(arch, runner);
    return runner;
  }
}

function wanted(pattern: RegExp, fields: { readonly id?: unknown; readonly tags?: unknown } | null): boolean {
  if (typeof fields?.id === 'string' && pattern.test(fields.id)) return true;
  return Array.isArray(fields?.tags) && fields.tags.some((tag) => pattern.test(String(tag)));
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
  const { singles, sequences, unsupported, skipped, steps, tags, first, failedIds } = verification;
  return {
    files,
    retention,
    passed: singles.passed + sequences.passed,
    failed: singles.failed + sequences.failed,
    unsupported,
    skipped,
    singles,
    sequences,
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
