/**
 * The checks of a YAML scenario: what `always` and `finally` may say without a line of code. Each compares one thing of
 * the world with what is written, and says what it found when they differ.
 */
import { z } from 'zod';
import { hex } from '../../base/u64.ts';
import { counterMistake } from '../counter-names.ts';
import type { Assertion } from '../scenario.ts';
import { noLockOrderViolation, type ProcessView, type WorldView } from '../world-view.ts';
import {
  accessBytes,
  count,
  formatOperand,
  type Operand,
  operand,
  valueNow,
  variableName,
} from './values.ts';

export interface CheckDefinition {
  readonly schema: z.ZodType;
  /** @param atEnd for `finally`: a process whose memory is gone is a failure there, not nothing to check. */
  readonly make: (args: never, atEnd: boolean) => Assertion;
}

function check<Shape extends z.ZodRawShape>(
  shape: Shape,
  make: (args: z.output<z.ZodObject<Shape>>, atEnd: boolean) => Assertion,
): CheckDefinition {
  return { schema: z.strictObject(shape), make: make as CheckDefinition['make'] };
}

const place = { process: z.string(), address: operand() };

/**
 * A check of one address of one process. While the variable of the address is not set, or the process is not there yet
 * or no longer, `always` has nothing to check; for `finally` that is a failure.
 */
function atAddress(
  { process, address }: { readonly process: string; readonly address: Operand },
  atEnd: boolean,
  test: (process: ProcessView, address: bigint, world: WorldView) => boolean | string,
): Assertion {
  return (world) => {
    const view = world.process(process);
    const at = valueNow(address, world.share);
    if (view?.state === 'running' && at !== undefined) return test(view, at, world);
    if (!atEnd) return true;
    return at === undefined ? `$${address.variable} was never set` : `${process} has no memory any more`;
  };
}

const range = {
  equals: count(0, 2 ** 53 - 1),
  'at-least': count(0, 2 ** 53 - 1),
  'at-most': count(0, 2 ** 53 - 1),
};

const counterName = z.string().superRefine((name, ctx) => {
  const mistake = counterMistake(name);
  if (mistake === null) return;
  ctx.addIssue({ code: 'custom', message: mistake.text, params: { expected: mistake.expected } });
});

/** By name in the file. */
export const CHECKS: Readonly<Record<string, CheckDefinition>> = {
  memory: check({ ...place, value: operand(), bytes: accessBytes.default(8) }, (args, atEnd) =>
    atAddress(args, atEnd, (process, address, world) => {
      const expected = valueNow(args.value, world.share);
      if (expected === undefined) return true;
      const found = process.read(address, args.bytes);
      const number = found === undefined ? undefined : littleEndian(found);
      if (number === expected) return true;
      return `${args.process} has ${number === undefined ? 'nothing' : hex(number)} at ${hex(address)}, not ${hex(expected)}`;
    }),
  ),
  vma: check({ ...place, prot: z.string().optional(), mapped: z.boolean().default(true) }, (args, atEnd) =>
    atAddress(args, atEnd, (process, address) => {
      const vma = process.vmaAt(address);
      if ((vma !== undefined) !== args.mapped) {
        return `${args.process} has ${vma === undefined ? 'no mapping' : 'a mapping'} at ${hex(address)}`;
      }
      if (vma === undefined || args.prot === undefined || vma.permissions === args.prot) return true;
      return `the mapping of ${args.process} at ${hex(address)} is ${vma.permissions}, not ${args.prot}`;
    }),
  ),
  page: check(
    {
      ...place,
      present: z.boolean().optional(),
      writable: z.boolean().optional(),
      zero: z.boolean().optional(),
      exclusive: z.boolean().optional(),
      mapcount: count(0, 2 ** 31).optional(),
      pageBytes: count(0, 2 ** 30).optional(),
    },
    (args, atEnd) =>
      atAddress(args, atEnd, (process, address) => {
        const page = process.pageAt(address);
        const found: Readonly<Record<string, boolean | number>> = {
          present: page !== undefined,
          writable: page?.writable ?? false,
          zero: page?.zero ?? false,
          exclusive: page?.exclusive ?? false,
          mapcount: page?.mapcount ?? 0,
          pageBytes: page?.pageBytes ?? 0,
        };
        for (const [key, value] of Object.entries(found)) {
          const wanted = args[key as 'present'];
          if (wanted !== undefined && wanted !== value) {
            return `the page of ${args.process} at ${hex(address)}: ${key} is ${value}, not ${wanted}`;
          }
        }
        return true;
      }),
  ),
  'vm-flags': check(
    { ...place, has: z.array(z.string()).default([]), lacks: z.array(z.string()).default([]) },
    (args, atEnd) =>
      atAddress(args, atEnd, (process, address) => {
        const flags = process.smapsAt(address)?.vmFlags;
        if (flags === undefined) return `${args.process} has no mapping at ${hex(address)}`;
        const words = flags.split(' ');
        const holds =
          args.has.every((flag) => words.includes(flag)) && !args.lacks.some((flag) => words.includes(flag));
        return holds || `the mapping of ${args.process} at ${hex(address)} has VmFlags ${flags}`;
      }),
  ),
  pagemap: check({ ...place, flags: z.string() }, (args, atEnd) =>
    atAddress(args, atEnd, (process, address) => {
      const found = process.pagemap(address, 1)[0]?.flags ?? '';
      return found === args.flags || `the page of ${args.process} at ${hex(address)} is ${found || 'none'}`;
    }),
  ),
  'lock-order': check({}, () => noLockOrderViolation),
  counter: check(
    {
      name: counterName,
      equals: range.equals.optional(),
      'at-least': range['at-least'].optional(),
      'at-most': range['at-most'].optional(),
    },
    (args) => (world) => {
      const value = world.counter(args.name);
      const { equals, 'at-least': least, 'at-most': most } = args;
      const holds =
        (equals === undefined || value === equals) &&
        (least === undefined || value >= least) &&
        (most === undefined || value <= most);
      return holds || `${args.name} is ${value}`;
    },
  ),
  variable: check({ name: variableName, value: operand() }, (args) => (world) => {
    const found = world.share.getWord(args.name);
    const expected = valueNow(args.value, world.share);
    if (found === expected) return true;
    return `$${args.name} is ${found === undefined ? 'not set' : hex(found)}, not ${formatOperand(args.value)}`;
  }),
  exited: check({ process: z.string(), status: count(0, 0xffff) }, (args) => (world) => {
    const process = world.process(args.process);
    if (process === undefined) return `there is no process ${args.process}`;
    if (process.state === 'running') return `${args.process} has not ended`;
    return process.exitStatus === args.status || `${args.process} ended with status ${process.exitStatus}`;
  }),
};

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}
