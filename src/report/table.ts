/**
 * Plain tables: columns two spaces apart, no lines drawn, nothing at the end of a row. A listing may have 65,000 rows;
 * docs/decisions/0003-dependencies.md says why no library does it.
 */

/** One line for each row; the columns named in `right` are set flush right. */
export function tableLines(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  const pad = (text: string, at: number): string =>
    right.includes(at) ? text.padStart(widths[at] as number) : text.padEnd(widths[at] as number);
  return rows.map((row) => row.map(pad).join('  ').trimEnd());
}
