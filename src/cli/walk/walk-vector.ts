/** `tablewalk walk --vectors`: one access of a recorded vector. */
import { InputError } from '../../base/input-error.ts';
import { jsonText } from '../json.ts';
import { wholeNumber } from '../option-values.ts';
import type { Session } from '../session.ts';
import type { WalkOptions } from './options.ts';

export async function walkVector(file: string, options: WalkOptions, session: Session): Promise<void> {
  if (options.id === undefined) {
    throw new InputError('option --id is missing', { expected: 'the id of a vector' });
  }
  const { explainVector } = await import('../../conformance/verify/explain-vector.ts');
  const { walkText } = await import('../../report/walk-text.ts');
  const step =
    options.step === undefined ? undefined : wholeNumber('option --step', options.step, 1, 1_000_000);
  const explained = await explainVector(file, options.id, step);
  const { vector, index, operation, state, walk, recorded } = explained;
  if (options.json) {
    const [id, steps] = [vector.id, vector.steps.length];
    session.print(jsonText({ id, step: index + 1, steps, operation, state, recorded, walk }));
    return;
  }
  const place = vector.steps.length === 1 ? '' : `, step ${index + 1} of ${vector.steps.length}`;
  session.line(`${vector.id}${place}: ${operation}`);
  for (const line of state) session.line(line);
  session.print(`\n${walkText(walk, { fields: options.brief !== true })}\n\nrecorded: ${recorded}\n`);
}
