/**
 * Reads files that say what a page table translates to, written by something else: rows of QEMU's `info tlb`
 * (`{va, pa, size, flags}`) and single addresses put through its `gva2gpa` (`{va, pa}`, `pa` null when not mapped).
 */
import type { Halves } from '../../base/u64.ts';
import { FieldReader, type Place } from '../json-fields.ts';
import { type JsonLine, readJsonLines } from '../jsonl.ts';

/** One mapping. `flags` are those of the last entry, not combined over the levels. */
export interface MappingRow {
  readonly kind: 'mapping';
  readonly line: number;
  /** Virtual page number and frame number, in 4 KiB. */
  readonly page: number;
  readonly frame: number;
  /** 1 for 4 KiB, 2 for 2 MiB, 3 for 1 GiB. */
  readonly level: number;
  /** Nine places `XGPDACTUW`. */
  readonly flags: string;
}

/** One address; `physical` null: no translation. */
export interface PointRow {
  readonly kind: 'point';
  readonly line: number;
  readonly virtual: Halves;
  readonly physical: Halves | null;
}

export type TruthRow = MappingRow | PointRow;

const FLAGS = /^[X-][G-][P-][D-][A-][C-][T-][U-][W-]$/;
const LEVEL_OF_SIZE = new Map([
  [2 ** 12, 1],
  [2 ** 21, 2],
  [2 ** 30, 3],
]);

/** @throws InputError naming file, line and field */
export async function* readTruth(file: string): AsyncGenerator<TruthRow> {
  for await (const line of readJsonLines(file)) yield parseTruthRow(line);
}

function parseTruthRow({ value, file, line }: JsonLine): TruthRow {
  const place: Place = { file, line };
  const fields = new FieldReader(value, place);
  if (fields.has('size')) return parseMapping(fields, line);
  const physical = fields.value['pa'] === null ? null : fields.word('pa');
  return { kind: 'point', line, virtual: fields.word('va'), physical };
}

function parseMapping(fields: FieldReader, line: number): MappingRow {
  const size = fields.integer('size', 1, Number.MAX_SAFE_INTEGER);
  const level = LEVEL_OF_SIZE.get(size);
  if (level === undefined) return fields.fail(['size'], '4096, 2097152 or 1073741824', size);
  const flags = fields.text('flags');
  if (!FLAGS.test(flags)) fields.fail(['flags'], 'nine places "XGPDACTUW", "-" where clear', flags);
  return { kind: 'mapping', line, page: pages(fields, 'va'), frame: pages(fields, 'pa'), level, flags };
}

/** A byte address that must be page aligned, as a page number. */
function pages(fields: FieldReader, key: string): number {
  const { hi, lo } = fields.word(key);
  if ((lo & 0xfff) !== 0) fields.fail([key], 'an address of a page (bits 11:0 clear)', fields.value[key]);
  return (hi >>> 0) * 2 ** 20 + (lo >>> 12);
}
