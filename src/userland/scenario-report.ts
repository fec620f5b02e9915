/**
 * What a scenario has to say when it has run: sections with a table and notes, made from what the programs returned and
 * from the state at the end. Plain data; how it is printed is for the report folder.
 */
import { InputError } from '../base/input-error.ts';
import { mistakeOf } from './mistake.ts';
import type { Scenario } from './scenario.ts';
import type { WorldView } from './world-view.ts';

/** A column by its title, set flush left, or with the side it is set to. */
export type ReportColumn = string | { readonly title: string; readonly align: 'left' | 'right' };

/** Text is printed as it is; numbers with separators for thousands; words of 64 bits in hexadecimal. */
export type ReportCell = string | number | bigint;

export interface ReportTable {
  readonly columns: readonly ReportColumn[];
  /** One cell for each column. */
  readonly rows: readonly (readonly ReportCell[])[];
}

export interface ReportSection {
  /** One line above the table: the question that it answers. */
  readonly heading: string;
  readonly table?: ReportTable;
  /** Sentences below the table, one line each. */
  readonly notes?: readonly string[];
}

/**
 * The sections of a run that has come to its end.
 * @throws InputError when the scenario's `report` throws, or gives a row with more or fewer cells than columns
 */
export function reportSections({ report, file }: Scenario, world: WorldView): readonly ReportSection[] {
  if (report === undefined) return [];
  try {
    const sections = report(world);
    for (const section of sections) checkSection(section);
    return sections;
  } catch (error) {
    throw mistakeOf('the report', error, file);
  }
}

function checkSection({ heading, table }: ReportSection): void {
  for (const [at, row] of (table?.rows ?? []).entries()) {
    if (row.length === table?.columns.length) continue;
    throw new InputError(`"${heading}": row ${at + 1} does not fit the columns`, {
      expected: `${table?.columns.length} cells`,
      found: `${row.length}`,
    });
  }
}
