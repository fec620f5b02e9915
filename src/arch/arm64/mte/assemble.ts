/**
 * The word of a tag instruction from its text, the counterpart of `formatTagInstruction`: the same table read the other
 * way. Left out: labels, expressions, comments; one instruction at a time.
 */
import { InputError } from '../../../base/input-error.ts';
import { encodeTagInstruction, TAG_ENCODINGS, type TagEncoding, type TagForm } from './encodings.ts';
import { type Operand, operandOfText } from './operands.ts';

/** Text taken apart: `stg x1, [x2, #16]!` is `stg`, form `pre`, operands `x1`, `x2`, `#16`. */
interface Parsed {
  readonly mnemonic: string;
  readonly form: TagForm;
  readonly operands: readonly string[];
}

function formOf(operands: string): TagForm {
  if (operands.endsWith(']!')) return 'pre';
  if (operands.endsWith(']')) return 'offset';
  return operands.includes('[') ? 'post' : 'list';
}

function parse(text: string): Parsed {
  const [, mnemonic = '', operands = ''] = /^\s*(\S+)\s*(.*?)\s*$/.exec(text.toLowerCase()) ?? [];
  const separate = operands.replace(/[[\]!]/g, '').split(',');
  return { mnemonic, form: formOf(operands), operands: separate.map((operand) => operand.trim()) };
}

/** What an operand is when it is not written: XZR, or an offset of 0. */
const unwritten = (operand: Operand, form: TagForm): number | null =>
  operand.omitted ?? (form === 'offset' && operand.kind === 'signed' ? 0 : null);

/** The values of a row's operands, or null when the text is not of this row. */
function valuesFor(row: TagEncoding, { mnemonic, form, operands }: Parsed): number[] | null {
  if (row.form !== form) return null;
  const alias = row.alias?.mnemonic === mnemonic ? row.alias : null;
  if (alias === null && row.mnemonic !== mnemonic) return null;
  let next = 0;
  const values: number[] = [];
  for (const operand of row.operands) {
    const written = operand === alias?.when ? undefined : operands[next++];
    const absent = operand === alias?.when ? 31 : unwritten(operand, form);
    const value = written === undefined ? absent : operandOfText(operand, written);
    if (value === null) return null;
    values.push(value);
  }
  return next < operands.length ? null : values;
}

/**
 * @param text in the manual's syntax: `stg x1, [x2, #16]!`
 * @returns the 32-bit word as an int32
 * @throws InputError when it is no instruction of the table, or an operand does not fit
 */
export function assembleTagInstruction(text: string): number {
  const parsed = parse(text);
  for (const row of TAG_ENCODINGS) {
    const values = valuesFor(row, parsed);
    if (values === null) continue;
    try {
      return encodeTagInstruction(row, values);
    } catch (error) {
      throw new InputError('no such tag instruction', {
        found: `'${text}', but ${(error as Error).message}`,
      });
    }
  }
  throw new InputError('no such tag instruction', { found: `'${text}'` });
}
