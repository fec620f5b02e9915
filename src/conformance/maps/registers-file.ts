/** What the REGS.json of every architecture has: its `arch`, and the top tables of processes by name. */
import { InputError } from '../../base/input-error.ts';
import { readTextFile } from '../file-errors.ts';
import { FieldReader } from '../json-fields.ts';

const DIGITS = /^(0x)?[0-9a-f]{1,16}$/i;

/** A hexadecimal word with or without `0x`, as debuggers print both. */
export function hexField(fields: FieldReader, key: string): bigint {
  const value = fields.value[key];
  if (typeof value !== 'string' || !DIGITS.test(value)) return fields.hex(key);
  return BigInt(/^0x/i.test(value) ? value : `0x${value}`);
}

/** @throws InputError when it cannot be read, is no JSON object, or is of another architecture than the core */
export function readRegistersFile(file: string, architecture: 'x86_64' | 'arm64'): FieldReader {
  const fields = new FieldReader(parseJson(file), { file });
  if (fields.text('arch') !== architecture) {
    fields.fail(['arch'], `"${architecture}", as the core says`, fields.value['arch']);
  }
  return fields;
}

function parseJson(file: string): unknown {
  const text = readTextFile(file);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new InputError(`not JSON: ${(error as Error).message}`, { file });
  }
}

/** CR3 or TTBR0_EL1 by process name; empty when the file names none. */
export function rootsOf(fields: FieldReader): ReadonlyMap<string, bigint> {
  if (!fields.has('roots')) return new Map();
  const named = fields.object('roots');
  return new Map(Object.keys(named.value).map((name) => [name, hexField(named, name)]));
}

/** @throws InputError for a name that is not there */
export function chooseRoot(
  roots: ReadonlyMap<string, bigint>,
  root: string,
  file: string | undefined,
): bigint {
  const exact = roots.get(root);
  if (exact !== undefined) return exact;
  throw new InputError(`no root named "${root}"`, {
    ...(file === undefined ? {} : { file }),
    expected: [...roots.keys()].join(', ') || 'roots in a REGS.json given with --regs',
    found: root,
  });
}
