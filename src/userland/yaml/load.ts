/**
 * Reads a scenario from YAML: straight-line programs, one call an item. The file says the same as a TypeScript scenario
 * and becomes one. What is wrong with it is an `InputError` with file, line and column, found before anything runs.
 *
 *     title: after fork, a write copies the page
 *     programs:
 *       parent:
 *         - mmap: { bytes: 4096, prot: rw }
 *           as: page
 *         - store: { address: $page, value: 1 }
 *         - fork: child
 *         - load: { address: $page }
 *           expect: 1
 *     children:
 *       child:
 *         - store: { address: $page, value: 2 }
 *
 * `as` keeps the result in a variable all programs share; a program that uses one that is not set yet waits for it.
 * Without `expect` a call must succeed; `expect` is a value, `{ errno: NAME }` or `{ signal: NAME, code: NAME }`.
 */
import { z } from 'zod';
import { InputError } from '../../base/input-error.ts';
import type { Task } from '../../base/task.ts';
import { BUG_NAMES } from '../../kernel/bugs.ts';
import { DESIGN_NAMES } from '../../kernel/remote/design-names.ts';
import {
  type MachineSettings,
  mergedSettings,
  PROC_MEM_FORCE,
  THP_SHMEM_MODES,
} from '../machine-settings.ts';
import { formatFailure, formatOutcome, type Outcome } from '../outcome.ts';
import { type Assertion, defineScenario, type Program, type Scenario } from '../scenario.ts';
import type { Share, SharedValue } from '../share.ts';
import type { User } from '../user.ts';
import { CALLS, PLAIN_ARGUMENT } from './calls.ts';
import { CHECKS } from './checks.ts';
import type { CallDefinition } from './define-call.ts';
import { show, YamlDocument, type YamlPath } from './document.ts';
import { count, isMisalignedPage, type Operand, operand, operandValue, variableName } from './values.ts';

/** A size in bytes: a number, or one with a unit. */
const size = z
  .unknown()
  .transform((value) => (typeof value === 'bigint' ? Number(value) : (value as string)));

/** The keys of `MachineSettings`. */
const machineSchema = {
  memory: size.optional(),
  swap: size.optional(),
  movable: size.optional(),
  cma: size.optional(),
  hugepages: z
    .strictObject({ '2MiB': count(0, 2 ** 16).optional(), '1GiB': count(0, 2 ** 16).optional() })
    .optional(),
  transparentHugepage: z.enum(['never', 'madvise', 'always']).optional(),
  transparentHugepageShmem: z.enum(THP_SHMEM_MODES).optional(),
  khugepaged: z.boolean().optional(),
  lockdep: z.boolean().optional(),
  perVmaLocks: z.boolean().optional(),
  maxMapCount: count(0, 2 ** 31 - 1).optional(),
  overcommitMemory: count(0, 2).optional(),
  procMemForceOverride: z.enum(PROC_MEM_FORCE).optional(),
  design: z.enum(DESIGN_NAMES).optional(),
  kernelBugs: z.array(z.enum(BUG_NAMES)).optional(),
};

const topLevel = z.strictObject({
  title: z.string().min(1),
  description: z.string().optional(),
  arch: z.string().min(1).optional(),
  cpus: count(1, 64).optional(),
  retention: z.enum(['profile', 'adversarial', 'none']).optional(),
  ...machineSchema,
  programs: z.record(z.string(), z.array(z.record(z.string(), z.unknown()))),
  children: z.record(z.string(), z.array(z.record(z.string(), z.unknown()))).optional(),
  placement: z.record(z.string(), count(0, 63)).optional(),
  always: z.array(z.record(z.string(), z.unknown())).optional(),
  finally: z.array(z.record(z.string(), z.unknown())).optional(),
});

const failureSchema = z.strictObject({
  errno: z.string().optional(),
  signal: z.enum(['SIGSEGV', 'SIGBUS']).optional(),
  code: z.string().optional(),
  address: operand().optional(),
});

type Expectation =
  | { readonly kind: 'success' }
  | { readonly kind: 'value'; readonly value: Operand }
  | { readonly kind: 'failure'; readonly failure: z.output<typeof failureSchema> };

/** One item of a program, checked. */
interface Call {
  readonly name: string;
  readonly definition: CallDefinition;
  readonly args: Readonly<Record<string, unknown>>;
  readonly as: string | undefined;
  readonly expect: Expectation;
  readonly line: number;
}

/**
 * The scenario that `text` describes.
 * @param file its name, for messages
 * @throws InputError with file, line and column
 */
export function loadYamlScenario(text: string, file: string): Scenario {
  const document = new YamlDocument(text, file);
  const top = document.parse(topLevel, document.value ?? {}, []);
  const programs = readPrograms(document, top.programs, 'programs');
  const childCalls = readPrograms(document, top.children ?? {}, 'children');
  const all = { ...programs, ...childCalls };
  checkNames(document, all, Object.keys(childCalls));
  const children: Record<string, Program> = {};
  for (const [name, calls] of Object.entries(childCalls)) children[name] = makeProgram(calls, children, file);
  const { title, description, arch, cpus, retention, placement } = top;
  const scenario: Scenario = {
    title,
    ...(description === undefined ? {} : { description }),
    ...(arch === undefined ? {} : { arch }),
    ...(cpus === undefined ? {} : { cpus }),
    ...(retention === undefined ? {} : { retention }),
    ...(placement === undefined ? {} : { placement }),
    ...mergedSettings(top as MachineSettings, {}),
    programs: Object.fromEntries(
      Object.entries(programs).map(([name, calls]) => [name, makeProgram(calls, children, file)]),
    ),
    always: readChecks(document, top.always ?? [], 'always', Object.keys(all)),
    finally: readChecks(document, top.finally ?? [], 'finally', Object.keys(all)),
    file,
  };
  try {
    return defineScenario(scenario);
  } catch (error) {
    if (error instanceof InputError) throw error.at({ file });
    throw error;
  }
}

type RawItem = Readonly<Record<string, unknown>>;

function readPrograms(
  document: YamlDocument,
  raw: Readonly<Record<string, readonly RawItem[]>>,
  group: 'programs' | 'children',
): Record<string, readonly Call[]> {
  const programs: Record<string, readonly Call[]> = {};
  for (const [name, items] of Object.entries(raw)) {
    programs[name] = items.map((item, index) => readCall(document, item, [group, name, index]));
  }
  return programs;
}

function readCall(document: YamlDocument, item: RawItem, path: YamlPath): Call {
  const names = Object.keys(item).filter((key) => key !== 'as' && key !== 'expect');
  const [name, second] = names;
  if (name === undefined) throw document.fail(path, 'an item of a program names no call');
  const definition = Object.hasOwn(CALLS, name) ? CALLS[name] : undefined;
  if (definition === undefined) throw document.unknownKey(path, name, 'call', Object.keys(CALLS));
  if (second !== undefined) throw document.unknownKey(path, second, 'key', [name, 'as', 'expect']);
  const args = readArguments(document, item[name], name, definition, path);
  const expect = readExpectation(document, item['expect'], path);
  if (expect.kind !== 'failure') checkAlignment(document, name, definition, args, path);
  return {
    name,
    definition,
    args,
    as: item['as'] === undefined ? undefined : document.parse(variableName, item['as'], [...path, 'as']),
    expect,
    line: document.position(path).line,
  };
}

function readArguments(
  document: YamlDocument,
  raw: unknown,
  name: string,
  definition: CallDefinition,
  path: YamlPath,
): Readonly<Record<string, unknown>> {
  const plain = PLAIN_ARGUMENT[name];
  const isPlain = plain !== undefined && raw !== null && typeof raw !== 'object';
  const value = isPlain ? { [plain]: raw } : (raw ?? {});
  return document.parse(definition.schema, value, [...path, name]) as Readonly<Record<string, unknown>>;
}

function readExpectation(document: YamlDocument, raw: unknown, path: YamlPath): Expectation {
  if (raw === undefined) return { kind: 'success' };
  const at = [...path, 'expect'];
  if (typeof raw === 'object' && raw !== null) {
    const failure = document.parse(failureSchema, raw, at);
    if ((failure.errno === undefined) === (failure.signal === undefined)) {
      throw document.fail(at, 'expect needs an errno or a signal, and not both');
    }
    return { kind: 'failure', failure };
  }
  return { kind: 'value', value: document.parse(operand(), raw, at) };
}

/** A constant address that is no page start is a mistake, unless the call is there to be refused. */
function checkAlignment(
  document: YamlDocument,
  name: string,
  { pageAligned }: CallDefinition,
  args: Readonly<Record<string, unknown>>,
  path: YamlPath,
): void {
  for (const key of pageAligned) {
    const value = args[key] as Operand | undefined;
    if (value === undefined || !isMisalignedPage(value)) continue;
    throw document.fail([...path, name, key], `${name}: the ${key} is not page aligned`, {
      expected: 'a multiple of 0x1000, or "expect: { errno: EINVAL }"',
      found: show(value.constant),
    });
  }
}

/** Variables that are used must be set somewhere; `fork` and `pid-of` must name a program. */
function checkNames(
  document: YamlDocument,
  programs: Readonly<Record<string, readonly Call[]>>,
  children: readonly string[],
): void {
  const calls = Object.values(programs).flat();
  const set = new Set(
    calls.flatMap(({ name, as, args }) => [as, name === 'set' ? (args['variable'] as string) : undefined]),
  );
  const known = [...set].filter((name): name is string => name !== undefined);
  for (const { name, args, line, expect } of calls) {
    for (const used of variablesOf([args, expect])) {
      if (!set.has(used)) throw unknownName(document, line, `nothing sets the variable "${used}"`, known);
    }
    if (name === 'wait-for' && !set.has(args['variable'] as string)) {
      throw unknownName(document, line, `nothing sets the variable "${args['variable'] as string}"`, known);
    }
    const program = args['program'] as string | undefined;
    const allowed = name === 'fork' ? children : Object.keys(programs);
    if (program !== undefined && !allowed.includes(program)) {
      throw unknownName(document, line, `${name}: there is no program "${program}"`, allowed);
    }
  }
}

function unknownName(
  document: YamlDocument,
  line: number,
  message: string,
  known: readonly string[],
): InputError {
  return new InputError(message, {
    file: document.file,
    line,
    expected: known.length === 0 ? 'an "as" that sets it' : `one of ${known.join(', ')}`,
  });
}

function variablesOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const { variable, constant } = value as { variable?: unknown; constant?: unknown };
  if (typeof constant === 'bigint') return typeof variable === 'string' ? [variable] : [];
  return Object.values(value).flatMap(variablesOf);
}

function readChecks(
  document: YamlDocument,
  items: readonly RawItem[],
  group: 'always' | 'finally',
  programs: readonly string[],
): Record<string, Assertion> {
  const assertions: Record<string, Assertion> = {};
  items.forEach((item, index) => {
    const path = [group, index];
    const kinds = Object.keys(item).filter((key) => key !== 'name');
    const [kind, second] = kinds;
    const definition = kind !== undefined && Object.hasOwn(CHECKS, kind) ? CHECKS[kind] : undefined;
    if (kind === undefined)
      throw document.fail(path, 'a check says nothing', { expected: Object.keys(CHECKS).join(', ') });
    if (definition === undefined) throw document.unknownKey(path, kind, 'check', Object.keys(CHECKS));
    if (second !== undefined) throw document.unknownKey(path, second, 'key', [kind, 'name']);
    const args = document.parse(definition.schema, item[kind], [...path, kind]) as Readonly<
      Record<string, unknown>
    >;
    const process = args['process'];
    if (typeof process === 'string' && !programs.includes(process)) {
      throw document.fail([...path, kind, 'process'], `there is no program "${process}"`, {
        expected: `one of ${programs.join(', ')}`,
      });
    }
    const name =
      typeof item['name'] === 'string' ? item['name'] : `${kind} (line ${document.position(path).line})`;
    assertions[name] = definition.make(args as never, group === 'finally');
  });
  return assertions;
}

function makeProgram(
  calls: readonly Call[],
  children: Readonly<Record<string, Program>>,
  file: string,
): Program {
  return function* (u: User, share: Share): Task<unknown> {
    for (const item of calls) {
      const outcome = yield* item.expect.kind === 'failure'
        ? u.attempt(runCall(item, u, share))
        : runCall(item, u, share);
      yield* compareOutcome(item, outcome, u, share);
      if (item.as !== undefined && outcome.ok) share.set(item.as, resultWord(item, outcome.value, file));
    }
    return undefined;
  };

  function* runCall(item: Call, u: User, share: Share): Task<Outcome<unknown>> {
    try {
      return yield* item.definition.run({ u, share, children }, item.args as never);
    } catch (error) {
      throw error instanceof InputError ? inWordsOfFile(error, item, file) : error;
    }
  }
}

/** A mistake in a call, with its place and the name that the call has in the file in place of that of `User`. */
function inWordsOfFile({ reason, details }: InputError, { name, line }: Call, file: string): InputError {
  const camelCase = name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
  const own = reason.replace(/^\w+(?=:)/, (word) =>
    word.toLowerCase().endsWith(camelCase.toLowerCase()) ? name : word,
  );
  return new InputError(own, { file, line, ...details });
}

/** What `as` keeps: the result as a number. */
function resultWord({ name, line }: Call, value: unknown, file: string): SharedValue {
  const word = asWord(value);
  if (word !== undefined) return word;
  throw new InputError(`${name} has no result that "as" could keep`, { file, line });
}

function* compareOutcome(item: Call, outcome: Outcome<unknown>, u: User, share: Share): Task<void> {
  const { expect } = item;
  const where = `line ${item.line}: ${item.name}`;
  if (expect.kind === 'success') {
    yield* u.check(outcome.ok, outcome.ok ? '' : `${where}: ${formatFailure(outcome)}`);
  } else if (expect.kind === 'value') {
    const expected = yield* operandValue(expect.value, share);
    const got = outcome.ok ? asWord(outcome.value) : undefined;
    yield* u.check(
      got === expected,
      `${where}: expected 0x${expected.toString(16)}, got ${got === undefined ? formatOutcome(outcome) : `0x${got.toString(16)}`}`,
    );
  } else {
    const { errno, signal, code, address } = expect.failure;
    const at = address === undefined ? undefined : yield* operandValue(address, share);
    const wanted = [errno, signal, code, at === undefined ? undefined : `at 0x${at.toString(16)}`];
    const text = wanted.filter((part) => part !== undefined).join(' ');
    yield* u.check(
      matches(outcome, expect.failure, at),
      `${where}: expected ${text}, got ${formatOutcome(outcome)}`,
    );
  }
}

/** A result as a number: bytes that were read count as a little-endian number. */
function asWord(value: unknown): bigint | undefined {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return BigInt.asUintN(64, BigInt(value));
  if (!(value instanceof Uint8Array)) return undefined;
  return value.reduceRight((word, byte) => (word << 8n) | BigInt(byte), 0n);
}

function matches(
  outcome: Outcome<unknown>,
  failure: z.output<typeof failureSchema>,
  address: bigint | undefined,
): boolean {
  if (outcome.ok) return false;
  if ('errno' in outcome) return outcome.errno === failure.errno;
  return (
    outcome.signal === failure.signal &&
    (failure.code === undefined || outcome.code === failure.code) &&
    (address === undefined || outcome.address === address)
  );
}
