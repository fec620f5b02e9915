/**
 * The operands of the tag instructions: where each is in the 32-bit word, what it means and how it is written. One
 * declaration reads, writes and prints it, and understands its text.
 */

export interface Operand {
  /** As in the manual's syntax: `Xd|SP`, `imm`. */
  readonly name: string;
  /** Lowest bit of the field; -1 for an operand that is the same in every word. */
  readonly low: number;
  readonly width: number;
  /** `sp` and `zr`: a register, where number 31 is SP or XZR. `fixed`: the name itself. */
  readonly kind: 'sp' | 'zr' | 'unsigned' | 'signed' | 'fixed';
  /** What one unit of the field stands for; 1 for registers. */
  readonly scale: number;
  /** Not written when it has this value. */
  readonly omitted: number | null;
}

/** A register field where 31 is SP. */
export const spRegister = (name: string, low: number): Operand => ({
  name: `${name}|SP`,
  low,
  width: 5,
  kind: 'sp',
  scale: 1,
  omitted: null,
});

/** A register field where 31 is XZR. @param optional XZR is not written */
export const zrRegister = (name: string, low: number, optional = false): Operand => ({
  name,
  low,
  width: 5,
  kind: 'zr',
  scale: 1,
  omitted: optional ? 31 : null,
});

export const unsignedField = (name: string, low: number, width: number, scale: number): Operand => ({
  name,
  low,
  width,
  kind: 'unsigned',
  scale,
  omitted: null,
});

/** A multiple of 16, sign-extended. */
export const signedField = (name: string, low: number, width: number): Operand => ({
  name,
  low,
  width,
  kind: 'signed',
  scale: 16,
  omitted: null,
});

/** Part of the text only. */
export const fixedName = (name: string): Operand => ({
  name,
  low: -1,
  width: 0,
  kind: 'fixed',
  scale: 1,
  omitted: null,
});

/** The register number, or the immediate in the units of the text. 0 for a fixed operand. */
export function operandValue(operand: Operand, word: number): number {
  const { low, width, kind, scale } = operand;
  if (kind === 'fixed') return 0;
  const up = 32 - low - width;
  const field = kind === 'signed' ? (word << up) >> (32 - width) : (word << up) >>> (32 - width);
  return field * scale;
}

/**
 * The bits of an operand in place.
 * @throws RangeError when the value has no place in the field
 */
export function operandBits(operand: Operand, value: number): number {
  const { name, low, width, kind, scale } = operand;
  if (kind === 'fixed') return 0;
  const field = value / scale;
  const least = kind === 'signed' ? -(2 ** (width - 1)) : 0;
  const most = least + 2 ** width - 1;
  if (!Number.isInteger(field) || field < least || field > most) {
    throw new RangeError(
      `${name} is a multiple of ${scale} from ${least * scale} to ${most * scale}, not ${value}`,
    );
  }
  return (field & (2 ** width - 1)) << low;
}

/** The operand as text: `x3`, `sp`, `#-16`. */
export function operandText(operand: Operand, word: number): string {
  const value = operandValue(operand, word);
  switch (operand.kind) {
    case 'fixed':
      return operand.name;
    case 'sp':
      return value === 31 ? 'sp' : `x${value}`;
    case 'zr':
      return value === 31 ? 'xzr' : `x${value}`;
    default:
      return `#${value}`;
  }
}

const REGISTER_31 = { sp: 'sp', zr: 'xzr' } as const;

/** The value that a text stands for, as `operandText` writes it; null when it is no operand of this kind. */
export function operandOfText(operand: Operand, text: string): number | null {
  const { kind, name } = operand;
  if (kind === 'fixed') return text === name ? 0 : null;
  if (kind === 'sp' || kind === 'zr') {
    if (text === REGISTER_31[kind]) return 31;
    return /^x([12]?\d|30)$/.test(text) ? Number(text.slice(1)) : null;
  }
  return /^#-?\d+$/.test(text) ? Number(text.slice(1)) : null;
}
