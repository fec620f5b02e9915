/** One access of one recorded vector, explained: the vector is run up to it and the access is made under observation. */
import { InputError } from '../../base/input-error.ts';
import { readJsonLines } from '../jsonl.ts';
import { vectorArchitecture } from './vector-architectures.ts';
import type { ExplainedVector } from './vector-runner.ts';

/**
 * @param step which step, from 1; the last access when not given
 * @param arch the architecture it must be of; any when not given
 * @throws InputError when the file has no such vector, or the step makes no access
 */
export async function explainVector(
  file: string,
  id: string,
  step?: number,
  arch?: string,
): Promise<ExplainedVector> {
  for await (const { value, line } of readJsonLines(file)) {
    const fields = value as { readonly id?: unknown; readonly arch?: unknown } | null;
    if (fields?.id !== id) continue;
    const architecture = vectorArchitecture(fields.arch, { file, line });
    if (arch !== undefined && arch !== architecture.name) {
      throw new InputError(`vector ${id} is of another architecture`, {
        file,
        line,
        expected: arch,
        found: architecture.name,
      });
    }
    return architecture.explain(value, { file, line }, step);
  }
  throw new InputError(`no vector ${id}`, { file, expected: 'an id of this file' });
}
