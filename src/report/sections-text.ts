/** The sections of a scenario's report as text: heading, table, notes. */
import { hex, hexAddress } from '../base/u64.ts';
import type { ReportCell, ReportColumn, ReportSection, ReportTable } from '../userland/scenario-report.ts';
import { tableLines } from './table.ts';

const titleOf = (column: ReportColumn): string => (typeof column === 'string' ? column : column.title);

function cellText(cell: ReportCell): string {
  if (typeof cell === 'bigint') return cell < 0n ? hex(cell) : hexAddress(cell);
  return typeof cell === 'number' ? cell.toLocaleString('en-US') : cell;
}

function tableText({ columns, rows }: ReportTable): string[] {
  const titles = columns.map(titleOf);
  const right = columns.flatMap((column, at) =>
    typeof column !== 'string' && column.align === 'right' ? [at] : [],
  );
  const cells = rows.map((row) => row.map(cellText));
  const widths = titles.map((title, at) =>
    Math.max(title.length, ...cells.map((row) => (row[at] as string).length)),
  );
  const rule = widths.map((width) => '─'.repeat(width));
  return tableLines([titles, rule, ...cells], right);
}

/** The lines of one section; the table and the notes are indented below the heading. */
export function sectionLines({ heading, table, notes = [] }: ReportSection): string[] {
  const lines = table === undefined ? [] : tableText(table);
  return [
    heading,
    '',
    ...[...lines, ...(table && notes.length > 0 ? [''] : []), ...notes].map((line) =>
      line === '' ? '' : `  ${line}`,
    ),
  ];
}
