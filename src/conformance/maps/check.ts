/**
 * Compares a dump's page table with a truth file, row by row. A row of a mapping agrees when the table has exactly
 * that page there (frame, size, the nine flags of its last entry) and the MMU translates its first and last byte to
 * it; a row of a single address when the MMU gives that physical address, or none, and translates in exactly the modes
 * that the row names.
 * Mappings that the file does not list are counted in the halves of the address space it speaks of: `info tlb` lists
 * every page, and the files of the other processes list their user half only.
 */
import { InputError } from '../../base/input-error.ts';
import { type Halves, hexHalves } from '../../base/u64.ts';
import type { DumpTranslator } from './dump-translator.ts';
import type { MappedLeaf, MissingTable } from './leaves.ts';
import type { PageTableDump } from './page-table-dump.ts';
import { type MappingRow, type PointRow, readTruth } from './truth.ts';

interface TruthDifference {
  /** Of the truth file; 0 for a mapping that the file does not list. */
  readonly line: number;
  readonly virtualAddress: string;
  readonly expected: string;
  readonly found: string;
}

export interface TruthCheck {
  readonly file: string;
  readonly rows: number;
  readonly mappingRows: number;
  readonly pointRows: number;
  /** Rows that agree. */
  readonly agreed: number;
  /** Rows that do not. */
  readonly differing: number;
  /** Mappings in the table, in a half of the address space that the file lists mappings of, without a row. */
  readonly unlisted: number;
  /** The first of all of them, in file order, at most `FIRST_DIFFERENCES`. */
  readonly differences: readonly TruthDifference[];
  readonly missing: readonly MissingTable[];
}

/** How many differences are kept in full. */
export const FIRST_DIFFERENCES = 20;

/** First page of the upper half of a canonical 64-bit address space. */
const UPPER_HALF = 2 ** 51;
const addressOfPage = (page: number): string =>
  hexHalves(Math.floor(page / 2 ** 20), (page % 2 ** 20) * 4096);

const describeMapping = (frame: number, pages: number, flags: string): string =>
  `${addressOfPage(frame)}, ${pages * 4096} bytes, ${flags}`;

const physicalText = (physical: Halves | null): string =>
  physical === null ? 'no translation' : hexHalves(physical.hi, physical.lo);

/** What is compared with what; counts as it goes. */
class Comparison {
  readonly rows = new Map<number, MappingRow>();
  readonly points: PointRow[] = [];
  readonly missing: MissingTable[] = [];
  readonly #differences: TruthDifference[] = [];
  readonly #translator: DumpTranslator;
  #agreed = 0;
  #differing = 0;
  #unlisted = 0;
  #lower = false;
  #upper = false;

  constructor(translator: DumpTranslator) {
    this.#translator = translator;
  }

  addRow(row: MappingRow, file: string): void {
    const other = this.rows.get(row.page);
    if (other !== undefined) {
      throw new InputError(`two rows for ${addressOfPage(row.page)}; the first is line ${other.line}`, {
        file,
        line: row.line,
      });
    }
    this.rows.set(row.page, row);
    if (row.page < UPPER_HALF) this.#lower = true;
    else this.#upper = true;
  }

  leaf(leaf: Readonly<MappedLeaf>, flags: string): void {
    const row = this.rows.get(leaf.page);
    if (row === undefined) this.#notListed(leaf, flags);
    else this.#compare(row, leaf, flags);
  }

  #compare(row: MappingRow, leaf: Readonly<MappedLeaf>, flags: string): void {
    this.rows.delete(leaf.page);
    const expected = describeMapping(row.frame, row.pages, row.flags);
    const found = describeMapping(leaf.frame, leaf.pages, flags);
    const translated = expected === found ? this.#mistranslated(row) : null;
    if (expected !== found) this.#differ(row.line, addressOfPage(row.page), expected, found);
    else if (translated !== null) this.#differ(row.line, addressOfPage(row.page), expected, translated);
    else this.#agreed++;
  }

  /** The rows that no leaf answered, and the single addresses. */
  finish(): void {
    for (const row of this.rows.values()) {
      const expected = describeMapping(row.frame, row.pages, row.flags);
      this.#differ(row.line, addressOfPage(row.page), expected, this.#whyAbsent(row.page));
    }
    for (const row of this.points) {
      const expected = physicalText(row.physical);
      const got = this.#translator.translate(row.virtual.hi, row.virtual.lo);
      const mode = this.#wrongMode(row);
      const at = hexHalves(row.virtual.hi, row.virtual.lo);
      if (expected !== physicalText(got.physical)) this.#differ(row.line, at, expected, got.text);
      else if (mode !== null) this.#differ(row.line, at, mode.expected, mode.found);
      else this.#agreed++;
    }
  }

  /** The first mode of a row in which the MMU says otherwise. */
  #wrongMode({ virtual, modes }: PointRow): { expected: string; found: string } | null {
    if (modes === null) return null;
    for (const [mode, translates] of modes) {
      const got = this.#translator.translateIn(mode, virtual.hi, virtual.lo);
      if ((got.physical !== null) === translates) continue;
      return { expected: `${mode}: ${translates ? 'a' : 'no'} translation`, found: got.text };
    }
    return null;
  }

  result(file: string, mappingRows: number): TruthCheck {
    const pointRows = this.points.length;
    return {
      file,
      rows: mappingRows + pointRows,
      mappingRows,
      pointRows,
      agreed: this.#agreed,
      differing: this.#differing,
      unlisted: this.#unlisted,
      differences: this.#differences,
      missing: this.missing,
    };
  }

  #notListed(leaf: Readonly<MappedLeaf>, flags: string): void {
    if (!(leaf.page < UPPER_HALF ? this.#lower : this.#upper)) return;
    this.#unlisted++;
    const found = describeMapping(leaf.frame, leaf.pages, flags);
    this.#keep({ line: 0, virtualAddress: addressOfPage(leaf.page), expected: 'no row of the file', found });
  }

  #differ(line: number, virtualAddress: string, expected: string, found: string): void {
    this.#differing++;
    this.#keep({ line, virtualAddress, expected, found });
  }

  #keep(difference: TruthDifference): void {
    if (this.#differences.length < FIRST_DIFFERENCES) this.#differences.push(difference);
  }

  /** What the MMU says of the first or last byte when it is not what the row says. */
  #mistranslated(row: MappingRow): string | null {
    const last = row.pages - 1;
    return (
      this.#mistranslatedByte(row.page, row.frame, 0) ??
      this.#mistranslatedByte(row.page + last, row.frame + last, 0xfff)
    );
  }

  #mistranslatedByte(page: number, frame: number, offset: number): string | null {
    const got = this.#translator.translate(
      Math.floor(page / 2 ** 20) | 0,
      ((page % 2 ** 20) * 4096) | offset,
    );
    const wantHi = Math.floor(frame / 2 ** 20);
    const wantLo = ((frame % 2 ** 20) * 4096) | offset;
    if (got.physical !== null && got.physical.hi === wantHi && got.physical.lo === wantLo) return null;
    return `the MMU: ${got.text}`;
  }

  #whyAbsent(page: number): string {
    const table = this.missing.find((gap) => page >= gap.page && page < gap.page + gap.pages);
    return table === undefined
      ? 'not mapped'
      : `unknown: the dump does not hold the table at ${addressOfPage(table.frame)}`;
  }
}

/**
 * Checks every row of a truth file against the dump's table.
 * @throws InputError for a malformed row or two rows of one page
 */
export async function checkTruth(dump: PageTableDump, file: string): Promise<TruthCheck> {
  const comparison = new Comparison(dump.translator());
  for await (const row of readTruth(file, dump.truth)) {
    if (row.kind === 'mapping') comparison.addRow(row, file);
    else comparison.points.push(row);
  }
  const mappingRows = comparison.rows.size;
  dump.visitForTruth({
    leaf: (leaf, flags) => comparison.leaf(leaf, flags),
    missing: (table) => comparison.missing.push(table),
  });
  comparison.finish();
  return comparison.result(file, mappingRows);
}
