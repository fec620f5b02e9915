/**
 * A YAML document whose every value can be traced to its line and column, and errors that say so. Integers are
 * bigints, so that 64-bit numbers keep every digit. Known keys and value types come from zod schemas; what zod finds
 * wrong becomes one `InputError` in the words of the scenario format.
 */
import { isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import type { z } from 'zod';
import { InputError } from '../../base/input-error.ts';
import { nearestName } from '../units.ts';

const MOST_ALIASES = 100;

export type YamlPath = readonly (string | number)[];

export class YamlDocument {
  readonly file: string;
  readonly value: unknown;
  readonly #document: ReturnType<typeof parseDocument>;
  readonly #lines: LineCounter;

  /** @throws InputError with file, line and column for text that is not YAML, or has a key twice */
  constructor(text: string, file: string) {
    this.file = file;
    this.#lines = new LineCounter();
    this.#document = parseDocument(text, {
      intAsBigInt: true,
      lineCounter: this.#lines,
      prettyErrors: false,
    });
    const error = this.#document.errors[0] ?? this.#document.warnings[0];
    if (error !== undefined) throw this.#failAt(error.pos[0], syntaxWords(error.message));
    this.value = this.#unfold();
  }

  /** An alias can make a document of kilobytes unfold to gigabytes; scenarios have no use for more than a few. */
  #unfold(): unknown {
    try {
      return this.#document.toJS({ maxAliasCount: MOST_ALIASES });
    } catch (error) {
      if (!(error instanceof ReferenceError)) throw error;
      throw new InputError('aliases (*name) unfold to too much', {
        file: this.file,
        expected: `values of at most ${MOST_ALIASES} aliases`,
      });
    }
  }

  /** An error at the value of `path`, or at its key. */
  fail(path: YamlPath, message: string, details: Details = {}): InputError {
    return this.#failAt(this.#offsetOf(path, details.atKey ?? false), message, details);
  }

  /** Line and column of the value at `path`, from 1. */
  position(path: YamlPath): { readonly line: number; readonly column: number } {
    return this.#positionOf(this.#offsetOf(path, false));
  }

  /**
   * The value at `path` as `schema` makes it.
   * @throws InputError that names the first thing wrong
   */
  parse<Schema extends z.ZodType>(schema: Schema, value: unknown, path: YamlPath): z.output<Schema> {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    throw this.#issueError(tellingIssue(result.error.issues), schema, value, path);
  }

  /** The error of a key that is not among the known ones. */
  unknownKey(path: YamlPath, key: string, what: string, known: readonly string[]): InputError {
    const near = nearestName(key, known);
    const hint = near === undefined ? '' : `; did you mean "${near}"?`;
    return this.fail([...path, key], `unknown ${what} "${key}"${hint}`, {
      expected: `one of ${known.join(', ')}`,
      found: key,
      atKey: true,
    });
  }

  #issueError(issue: z.core.$ZodIssue, schema: z.ZodType, value: unknown, base: YamlPath): InputError {
    const inner = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
    const path = [...base, ...inner];
    if (issue.code === 'unrecognized_keys') {
      return this.unknownKey(path, issue.keys[0] as string, 'key', keysOf(schema, inner));
    }
    const at = inner.reduce<unknown>((parent, part) => child(parent, part), value);
    const name = path.at(-1);
    if (at === undefined)
      return this.fail(path.slice(0, -1), `"${String(name)}" is missing`, expectedOf(issue));
    const what = name === undefined ? 'the file' : String(name);
    return this.fail(path, `${what}: ${describe(issue)}`, { ...expectedOf(issue), found: show(at) });
  }

  #offsetOf(path: YamlPath, atKey: boolean): number {
    if (atKey) {
      const parent = this.#document.getIn(path.slice(0, -1), true);
      const pair = isMap(parent)
        ? parent.items.find((item) => isScalar(item.key) && item.key.value === path.at(-1))
        : undefined;
      const key = pair?.key as Node | undefined;
      if (key?.range) return key.range[0];
    }
    for (let depth = path.length; depth >= 0; depth--) {
      const part = path.slice(0, depth);
      const node = (depth === 0 ? this.#document.contents : this.#document.getIn(part, true)) as
        | Node
        | undefined;
      if (node?.range) return node.range[0];
    }
    return 0;
  }

  #positionOf(offset: number): { readonly line: number; readonly column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }

  #failAt(offset: number, message: string, details: Details = {}): InputError {
    const { expected, found } = details;
    return new InputError(message, {
      file: this.file,
      ...this.#positionOf(offset),
      ...(expected === undefined ? {} : { expected }),
      ...(found === undefined ? {} : { found }),
    });
  }
}

interface Details {
  readonly expected?: string;
  readonly found?: string;
  readonly atKey?: boolean;
}

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

function child(parent: unknown, part: string | number): unknown {
  return typeof parent === 'object' && parent !== null
    ? (parent as Readonly<Record<string | number, unknown>>)[part]
    : undefined;
}

/** The keys an object schema knows, for "did you mean". */
function keysOf(schema: z.ZodType, path: readonly (string | number)[]): string[] {
  let at: unknown = schema;
  for (const part of path) {
    const shape = (at as { shape?: Readonly<Record<string, unknown>> }).shape;
    const element = (at as { element?: unknown }).element;
    at = unwrap(typeof part === 'number' ? element : shape?.[part]);
  }
  return Object.keys((unwrap(at) as { shape?: object } | undefined)?.shape ?? {});
}

function unwrap(schema: unknown): unknown {
  const inner = (schema as { unwrap?: () => unknown } | undefined)?.unwrap;
  return typeof inner === 'function' &&
    !(schema as { shape?: unknown }).shape &&
    !(schema as { element?: unknown }).element
    ? unwrap(inner.call(schema))
    : schema;
}

/** What a schema says is right, and the sentence of what is wrong, carried by its custom issues. */
function expectedOf(issue: z.core.$ZodIssue): { expected?: string } {
  if (issue.code === 'custom') {
    const expected = issue.params?.['expected'] as string | undefined;
    return expected === undefined ? {} : { expected };
  }
  if (issue.code === 'invalid_type') return { expected: typeName(issue.expected) };
  if (issue.code === 'invalid_value') return { expected: `one of ${issue.values.join(', ')}` };
  return {};
}

function describe(issue: z.core.$ZodIssue): string {
  if (issue.code === 'custom') return issue.message;
  if (issue.code === 'invalid_type') return `not ${typeName(issue.expected)}`;
  if (issue.code === 'invalid_value') return 'not a known word';
  return lowerFirst(issue.message);
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  bigint: 'a whole number',
  boolean: 'true or false',
  object: 'a map of keys',
  record: 'a map of keys',
  array: 'a list',
};
const typeName = (name: string): string => TYPE_NAMES[name] ?? name;

/** A value as the user may recognise it, short. */
export function show(value: unknown): string {
  if (typeof value === 'bigint') return value >= 4096n ? `0x${value.toString(16)}` : `${value}`;
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'a map of keys';
  return value === null ? 'nothing' : `${value as string}`;
}

/** A key that is not known is often one that is missing, misspelt: it says more. */
function tellingIssue(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  return issues.find(({ code }) => code === 'unrecognized_keys') ?? (issues[0] as z.core.$ZodIssue);
}

/** The reader of YAML is recursive, and reports the end of its stack as a mistake of the text, which it is. */
function syntaxWords(message: string): string {
  return message.startsWith('Maximum call stack') ? 'nested too deeply' : lowerFirst(message);
}
