/**
 * One vector of a file, step by step, with every translation explained: what `walk --vectors FILE --id ID` shows.
 * It runs on a machine without caches held over from other vectors, under the default TLB retention.
 */
import type { ExplainedWalk } from '../../arch/x86_64/explain.ts';
import { InputError } from '../../base/input-error.ts';
import { type JsonLine, readJsonLines } from '../jsonl.ts';
import { outcomeText, sameOutcome } from './outcome.ts';
import { operationText, X86VectorRunner } from './x86_64-runner.ts';
import { parseX86Vector, type VectorStep, type X86Vector } from './x86_64-vector.ts';

export interface ExplainedVectorStep {
  /** The step in words. */
  readonly operation: string;
  readonly expected: string;
  readonly got: string;
  readonly agrees: boolean;
  /** What decides beside the control registers; with them for steps that translate nothing. */
  readonly state: readonly string[];
  readonly walk: ExplainedWalk | null;
}

export interface ExplainedVector {
  readonly id: string;
  readonly file: string;
  readonly line: number;
  readonly tags: readonly string[];
  readonly steps: readonly ExplainedVectorStep[];
}

/**
 * Finds the vector with this id and explains it.
 * @throws InputError when the file has none, it is not of x86-64, or a line before it is malformed
 */
export async function explainVector(file: string, id: string): Promise<ExplainedVector> {
  const line = await findVector(file, id);
  const { arch } = line.value as { readonly arch?: unknown };
  if (arch !== 'x86_64') {
    throw new InputError(`vector ${id} cannot be explained yet`, {
      file,
      line: line.line,
      expected: 'arch "x86_64"',
      found: JSON.stringify(arch) ?? 'nothing',
    });
  }
  const vector = parseX86Vector(line.value, line);
  const runner = new X86VectorRunner('profile');
  const steps = vector.steps.map((step, index) => explainStep(runner, vector, step, index));
  return { id, file, line: line.line, tags: vector.tags, steps };
}

async function findVector(file: string, id: string): Promise<JsonLine> {
  let first: unknown;
  for await (const line of readJsonLines(file)) {
    const found = (line.value as { readonly id?: unknown } | null)?.id;
    if (found === id) return line;
    first ??= found;
  }
  throw new InputError(`no vector with the id "${id}"`, {
    file,
    ...(typeof first === 'string' ? { expected: `an id such as ${first}` } : {}),
  });
}

function explainStep(
  runner: X86VectorRunner,
  vector: X86Vector,
  step: VectorStep,
  index: number,
): ExplainedVectorStep {
  const got = runner.outcome(vector, index);
  const expected = step.op === 'write64' ? got : step.expect;
  return {
    operation: operationText(step),
    expected: outcomeText(expected),
    got: outcomeText(got),
    agrees: sameOutcome(expected, got),
    ...runner.explain(vector, index),
  };
}
