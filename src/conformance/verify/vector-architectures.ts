/** The architectures that have recorded vectors, by the name in a vector's field `arch`. */
import { InputError } from '../../base/input-error.ts';
import type { Place } from '../json-fields.ts';
import { ARM64_VECTORS } from './arm64-runner.ts';
import type { VectorArchitecture } from './vector-runner.ts';
import { X86_64_VECTORS } from './x86_64-runner.ts';

const ARCHITECTURES: readonly VectorArchitecture[] = [X86_64_VECTORS, ARM64_VECTORS];

/** @throws InputError when `arch` names none of them */
export function vectorArchitecture(arch: unknown, place: Place): VectorArchitecture {
  const known = ARCHITECTURES.find(({ name }) => name === arch);
  if (known !== undefined) return known;
  throw new InputError('field arch', {
    ...place,
    expected:
      typeof arch === 'string'
        ? ARCHITECTURES.map(({ name }) => `"${name}"`).join(' or ')
        : 'the name of an architecture',
    found: arch === undefined ? 'nothing' : JSON.stringify(arch),
  });
}
