/**
 * Reads files that say what a page table translates to, written by something else: mappings (`{va, pa, size, flags}`,
 * rows of QEMU's `info tlb`), and single addresses put through its `gva2gpa` (`{va, pa}`, `pa` null when not mapped),
 * which may say for each mode of access whether a read translates (`flags: {mode: boolean}`).
 * Which sizes, flags and modes there are is the architecture's.
 */
import type { Halves } from '../../base/u64.ts';
import { FieldReader, type Place } from '../json-fields.ts';
import { type JsonLine, readJsonLines } from '../jsonl.ts';
import type { MappedLeaf, MissingTable } from './leaves.ts';

/** How an architecture's truth files are written. */
export interface TruthFormat {
  /** Bytes that a mapping's row may have; none: the files have no such rows. */
  readonly sizes: readonly number[];
  /** Flags of a mapping's row. */
  readonly flags: RegExp;
  readonly flagsMeaning: string;
  /** Names of the modes that a single address's flags may have. */
  readonly modes: readonly string[];
}

/** Told of a dump's mappings as its truth files list them. */
export interface TruthVisitor {
  leaf(leaf: Readonly<MappedLeaf>, flags: string): void;
  missing(missing: MissingTable): void;
}

/** One mapping. `flags` are those of the last entry, not combined over the levels. */
export interface MappingRow {
  readonly kind: 'mapping';
  readonly line: number;
  /** Virtual page number, frame number and size, in 4 KiB. */
  readonly page: number;
  readonly frame: number;
  readonly pages: number;
  readonly flags: string;
}

/** One address; `physical` null: no translation in any mode. */
export interface PointRow {
  readonly kind: 'point';
  readonly line: number;
  readonly virtual: Halves;
  readonly physical: Halves | null;
  /** In which modes it translates; null when the row does not say. */
  readonly modes: ReadonlyMap<string, boolean> | null;
}

export type TruthRow = MappingRow | PointRow;

/** @throws InputError naming file, line and field */
export async function* readTruth(file: string, format: TruthFormat): AsyncGenerator<TruthRow> {
  for await (const line of readJsonLines(file)) yield parseTruthRow(line, format);
}

function parseTruthRow({ value, file, line }: JsonLine, format: TruthFormat): TruthRow {
  const place: Place = { file, line };
  const fields = new FieldReader(value, place);
  if (fields.has('size')) return parseMapping(fields, line, format);
  const physical = fields.value['pa'] === null ? null : fields.word('pa');
  const modes = fields.has('flags') ? parseModes(fields, format) : null;
  return { kind: 'point', line, virtual: fields.word('va'), physical, modes };
}

function parseModes(fields: FieldReader, { modes }: TruthFormat): ReadonlyMap<string, boolean> {
  if (modes.length === 0) fields.fail(['flags'], 'flags beside a size only', fields.value['flags']);
  const flags = fields.object('flags');
  const unknown = Object.keys(flags.value).find((name) => !modes.includes(name));
  if (unknown !== undefined) fields.fail(['flags'], modes.join(', '), unknown);
  return new Map(Object.keys(flags.value).map((name) => [name, flags.boolean(name)]));
}

function parseMapping(fields: FieldReader, line: number, format: TruthFormat): MappingRow {
  const { sizes, flagsMeaning } = format;
  const size = fields.integer('size', 1, Number.MAX_SAFE_INTEGER);
  if (!sizes.includes(size)) {
    const expected = sizes.length === 0 ? 'no size: rows of this architecture are single addresses' : '';
    fields.fail(['size'], expected || `${sizes.slice(0, -1).join(', ')} or ${sizes.at(-1)}`, size);
  }
  const flags = fields.text('flags');
  if (!format.flags.test(flags)) fields.fail(['flags'], flagsMeaning, flags);
  const page = pages(fields, 'va');
  return { kind: 'mapping', line, page, frame: pages(fields, 'pa'), pages: size / 4096, flags };
}

/** A byte address that must be page aligned, as a page number. */
function pages(fields: FieldReader, key: string): number {
  const { hi, lo } = fields.word(key);
  if ((lo & 0xfff) !== 0) fields.fail([key], 'an address of a page (bits 11:0 clear)', fields.value[key]);
  return (hi >>> 0) * 2 ** 20 + (lo >>> 12);
}
