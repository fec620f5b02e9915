/** One access of one recorded vector, explained: the vector is run up to it and the access is made under observation. */
import type { ExplainedWalk } from '../../arch/explained-walk.ts';
import { InputError } from '../../base/input-error.ts';
import { readJsonLines } from '../jsonl.ts';
import { outcomeText } from './outcome.ts';
import { operationText, X86VectorRunner } from './x86_64-runner.ts';
import { parseX86Vector, type X86Vector } from './x86_64-vector.ts';

export interface ExplainedVector {
  readonly vector: X86Vector;
  /** The step that is explained, from 0. */
  readonly index: number;
  /** The step in words. */
  readonly operation: string;
  /** What decides beside the control registers, which the walk names. */
  readonly state: readonly string[];
  readonly walk: ExplainedWalk;
  /** What the recording machine gave. */
  readonly recorded: string;
}

/**
 * @param step which step, from 1; the last access when not given
 * @throws InputError when the file has no such vector, or the step is no access
 */
export async function explainVector(file: string, id: string, step?: number): Promise<ExplainedVector> {
  const vector = await findVector(file, id);
  const index = step === undefined ? vector.steps.findLastIndex(({ op }) => op === 'access') : step - 1;
  const chosen = vector.steps[index];
  if (chosen?.op !== 'access') {
    const accesses = vector.steps.flatMap(({ op }, at) => (op === 'access' ? [at + 1] : []));
    throw new InputError(`vector ${id} has no access at step ${step}`, {
      file,
      expected: `one of the accesses: ${accesses.join(', ')}`,
      found: chosen === undefined ? `${vector.steps.length} steps` : operationText(chosen),
    });
  }
  const { state, walk } = new X86VectorRunner('profile').explain(vector, index);
  if (walk === null) throw new Error(`step ${index + 1} of ${id} is an access and was not translated`);
  return {
    vector,
    index,
    operation: operationText(chosen),
    state,
    walk,
    recorded: outcomeText(chosen.expect),
  };
}

async function findVector(file: string, id: string): Promise<X86Vector> {
  for await (const { value, line } of readJsonLines(file)) {
    if ((value as { readonly id?: unknown } | null)?.id !== id) continue;
    const { arch } = value as { readonly arch?: unknown };
    if (arch !== 'x86_64') {
      throw new InputError(`vector ${id} is of another architecture`, {
        file,
        line,
        expected: 'x86_64',
        found: String(arch),
      });
    }
    return parseX86Vector(value, { file, line });
  }
  throw new InputError(`no vector ${id}`, { file, expected: 'an id of this file' });
}
