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
  const explained = await explainVector(file, options.id, step, options.arch);
  if (options.json) {
    const { walkJson } = await import('../../report/walk-json.ts');
    session.print(jsonText({ ...explained, walk: walkJson(explained.walk) }));
    return;
  }
  const { id, steps, operation, state, walk, recorded } = explained;
  const place = steps === 1 ? '' : `, step ${explained.step} of ${steps}`;
  session.line(`${id}${place}: ${operation}`);
  for (const line of state) session.line(line);
  session.print(`\n${walkText(walk, { fields: options.brief !== true })}\n\nrecorded: ${recorded}\n`);
}
