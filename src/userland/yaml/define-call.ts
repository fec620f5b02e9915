/** How a call of a YAML program is defined, and what several calls need. */
import { z } from 'zod';
import type { Task } from '../../base/task.ts';
import type { Outcome } from '../outcome.ts';
import type { Program } from '../scenario.ts';
import type { Share } from '../share.ts';
import type { User } from '../user.ts';
import { type Operand, operandValue } from './values.ts';

/** What a call needs while it runs. */
export interface CallContext {
  readonly u: User;
  readonly share: Share;
  /** The programs that `fork` may start. */
  readonly children: Readonly<Record<string, Program>>;
}

export interface CallDefinition {
  readonly schema: z.ZodType;
  /** Arguments that must start at a page, when they are constants. */
  readonly pageAligned: readonly string[];
  readonly run: (context: CallContext, args: never) => Task<Outcome<unknown>>;
}

export function call<Shape extends z.ZodRawShape>(
  shape: Shape,
  run: (context: CallContext, args: z.output<z.ZodObject<Shape>>) => Task<Outcome<unknown>>,
  pageAligned: readonly (keyof Shape & string)[] = [],
): CallDefinition {
  return { schema: z.strictObject(shape), pageAligned, run: run as CallDefinition['run'] };
}

/** A pid, a descriptor, a key. */
export function* asNumber(at: Operand, share: Share): Task<number> {
  return Number(yield* operandValue(at, share));
}

/** Without the keys that hold `undefined`, which exact optional properties do not allow. */
export function dropUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as never;
}
