/** The values of a YAML scenario: numbers of stated width, variables with an offset, protections, bytes. */
import { z } from 'zod';
import { PAGE_SIZE } from '../../base/address.ts';
import { InputError } from '../../base/input-error.ts';
import type { Task } from '../../base/task.ts';
import { hex } from '../../base/u64.ts';
import type { Share } from '../share.ts';
import { protectionBits } from '../units.ts';

/** A number known when the file is read, or a shared variable plus an offset in bytes. */
export type Operand =
  | { readonly variable: undefined; readonly constant: bigint }
  | { readonly variable: string; readonly constant: bigint };

/** `$page`, `$page + 0x1000`, `$page - 8`. */
const VARIABLE = /^\$([A-Za-z_][A-Za-z0-9_]*)(?:\s*([+-])\s*(0x[0-9a-fA-F]+|\d+))?$/;
/** YAML reads 0x… itself; a quoted number is accepted as well. */
const NUMBER = /^(0x[0-9a-fA-F]+|-?\d+)$/;

const refuse = (ctx: z.core.$RefinementCtx, message: string, expected: string): never => {
  ctx.addIssue({ code: 'custom', message, params: { expected } });
  return z.NEVER;
};

function toNumber(value: unknown): bigint | undefined {
  if (typeof value === 'bigint') return value;
  return typeof value === 'string' && NUMBER.test(value) ? BigInt(value) : undefined;
}

/** A number of at most `bits` bits, or a variable. Negative constants are their two's complement. */
export const operand = (bits = 64): z.ZodType<Operand> =>
  z.unknown().transform((value, ctx): Operand => {
    const match = typeof value === 'string' ? VARIABLE.exec(value) : null;
    if (match !== null) {
      const offset = BigInt(match[3] ?? 0);
      return { variable: match[1] as string, constant: match[2] === '-' ? -offset : offset };
    }
    const number = toNumber(value);
    const expected = `a number of ${bits} bits, or $variable`;
    if (number === undefined) return refuse(ctx, 'not a number', expected);
    if (number >= 1n << BigInt(bits) || number < -(1n << BigInt(bits - 1))) {
      return refuse(ctx, 'the number is too wide', expected);
    }
    return { variable: undefined, constant: BigInt.asUintN(bits, number) };
  });

/** A whole number from `least` to `most`, known when the file is read. */
export const count = (least: number, most: number): z.ZodType<number> =>
  z.unknown().transform((value, ctx) => {
    const number = toNumber(value);
    const expected = `a whole number from ${least} to ${most}`;
    if (number === undefined) return refuse(ctx, 'not a whole number', expected);
    if (number < least || number > most) return refuse(ctx, 'the number is out of range', expected);
    return Number(number);
  });

/** The length of a range of addresses, in bytes: any 64 bits, since what is too long is for the kernel to refuse. */
export const length: z.ZodType<bigint> = z.unknown().transform((value, ctx) => {
  const number = toNumber(value);
  const expected = 'a whole number of up to 64 bits';
  if (number === undefined) return refuse(ctx, 'not a whole number', expected);
  if (number < 0n || number >= 1n << 64n) return refuse(ctx, 'the number is out of range', expected);
  return number;
});

/** How many bytes a call moves, up to 2^47. */
export const bytes = count(0, 2 ** 47);
/** How much one load or store moves. */
export const accessBytes: z.ZodType<1 | 2 | 4 | 8> = z.unknown().transform((value, ctx) => {
  const number = toNumber(value);
  if (number === 1n || number === 2n || number === 4n || number === 8n)
    return Number(number) as 1 | 2 | 4 | 8;
  return refuse(ctx, 'not a width of an access', '1, 2, 4 or 8');
});

/** Letters of rwx, or none. */
export const protection: z.ZodType<string> = z.unknown().transform((value, ctx) => {
  try {
    if (typeof value === 'string') {
      protectionBits(value);
      return value;
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
  }
  return refuse(ctx, 'not a protection', 'letters of rwx, or none');
});

export const variableName: z.ZodType<string> = z
  .unknown()
  .transform((value, ctx) =>
    typeof value === 'string' && /^[A-Za-z_][A-Za-z0-9_]*$/.test(value)
      ? value
      : refuse(ctx, 'not a name of a variable', 'letters, digits and _, without $'),
  );

/** The operand's value; a variable that nobody has set yet is waited for. */
export function* operandValue(at: Operand, share: Share): Task<bigint> {
  if (at.variable === undefined) return at.constant;
  return BigInt.asUintN(64, (yield* share.waitWord(at.variable)) + at.constant);
}

/** The operand's value now, or `undefined` when its variable is not set. */
export function valueNow(at: Operand, share: Share): bigint | undefined {
  if (at.variable === undefined) return at.constant;
  const value = share.getWord(at.variable);
  return value === undefined ? undefined : BigInt.asUintN(64, value + at.constant);
}

/** As it may be written in a file. */
export function formatOperand(at: Operand): string {
  if (at.variable === undefined) return hex(at.constant);
  if (at.constant === 0n) return `$${at.variable}`;
  return `$${at.variable} ${at.constant < 0n ? '-' : '+'} ${hex(at.constant < 0n ? -at.constant : at.constant)}`;
}

/** Is it a constant that no page starts at? A variable is not looked at: it has its value only in a run. */
export function isMisalignedPage(at: Operand): boolean {
  return at.variable === undefined && at.constant % BigInt(PAGE_SIZE) !== 0n;
}
