/** Every word that `tablewalk decode` explains, by name. */
import { InputError } from '../base/input-error.ts';
import { hex } from '../base/u64.ts';
import { ARM64_DECODE_KINDS } from './arm64/decode-kinds.ts';
import type { Decoded, DecodeKind, DecodeOptions } from './decode-kind.ts';
import { X86_64_DECODE_KINDS } from './x86_64/decode-kinds.ts';

export const DECODE_KINDS: readonly DecodeKind[] = [...X86_64_DECODE_KINDS, ...ARM64_DECODE_KINDS];

/**
 * Explains a word.
 * @throws InputError when the kind is unknown, the value too wide, or an option missing or out of range
 */
export function decodeWord(kindName: string, value: bigint, options: DecodeOptions = {}): Decoded {
  const wanted = kindName.toLowerCase();
  const kind = DECODE_KINDS.find(({ name }) => name === wanted);
  if (kind === undefined) {
    const names = DECODE_KINDS.map(({ name }) => name).join(', ');
    throw new InputError(`unknown kind of word '${kindName}'`, { expected: `one of ${names}` });
  }
  if (BigInt.asUintN(kind.width, value) !== value) {
    throw new InputError(`value does not fit ${kind.name}`, {
      expected: `an unsigned number of ${kind.width} bits`,
      found: hex(value),
    });
  }
  return kind.decode(value, options);
}
