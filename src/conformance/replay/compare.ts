/**
 * Compares what the emulated kernel did with what the recorded one did, field by field, and shows the first
 * difference in full: the step, what was expected and got, tables side by side.
 */
import { expandNonZero, nonZeroRuns } from './bytes.ts';
import type { PageRow, ProcessState, RssRow, Step, StepResult, VmaRow } from './trace.ts';

/** The first thing in which a step differed. */
export interface Difference {
  readonly step: Step;
  /** The process whose state differs; `undefined` when the result differs. */
  readonly process: number | undefined;
  readonly field: 'result' | 'broken' | 'alive' | 'vmas' | 'pages' | 'rss';
  /** One entry a line; line i of both stands side by side. */
  readonly expected: readonly string[];
  readonly got: readonly string[];
  /** Further lines to help: an explained walk, what the kernel did. */
  readonly notes: readonly string[];
}

type Parts = Pick<Difference, 'field' | 'expected' | 'got'>;

/** The first difference of two results, or `null`. Every key of either side counts. */
export function compareResult(expected: StepResult, got: StepResult): Parts | null {
  const want = resultLines(expected);
  const have = resultLines(got);
  return equalLines(want, have) ? null : { field: 'result', expected: want, got: have };
}

/** The first difference of two states of a process: alive, mappings, pages, resident sizes, in this order. */
export function compareState(expected: ProcessState, got: ProcessState): Parts | null {
  if (expected === null || got === null) {
    if (expected === got) return null;
    const line = (state: ProcessState): string[] => [state === null ? 'dead' : 'alive'];
    return { field: 'alive', expected: line(expected), got: line(got) };
  }
  return (
    compareRows('vmas', expected.vmas.map(vmaLine), got.vmas.map(vmaLine)) ??
    compareRows('pages', expected.pages.map(pageLine), got.pages.map(pageLine)) ??
    compareRows('rss', rssLines(expected.rss), rssLines(got.rss))
  );
}

function compareRows(
  field: Difference['field'],
  expected: readonly string[],
  got: readonly string[],
): Parts | null {
  return equalLines(expected, got) ? null : { field, expected, got };
}

const equalLines = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((line, i) => line === b[i]);

/** One line a key; bytes that were read are listed as runs that are cut the same way on both sides. */
function resultLines(result: StepResult): string[] {
  return Object.keys(result)
    .sort()
    .flatMap((key) => (key === 'nz' ? bytesLines(result) : [`${key} ${JSON.stringify(result[key])}`]));
}

function bytesLines({ nz, ret }: StepResult): string[] {
  const bytes = nz instanceof Uint8Array ? nz : expandNonZero(nz, typeof ret === 'number' ? ret : 0);
  if (bytes === undefined) return [`bytes ${JSON.stringify(nz)}`];
  const runs = nonZeroRuns(bytes);
  return runs.length === 0 ? ['bytes all zero'] : runs.map((run) => `bytes ${run}`);
}

const vmaLine = (row: VmaRow): string =>
  `${row[0]}-${row[1]} ${row[2]} ${row[3].padEnd(6)} ${row[4].padEnd(6)} ${row[5]}`;
const pageLine = (row: PageRow): string => `${row[0]} ${`×${row[1]}`.padEnd(4)} ${row[2]}`;
const rssLines = (row: RssRow): string[] =>
  [row.rss, row.anon, row.swap, row.lck].map((kib, i) => `${['rss', 'anon', 'swap', 'lck'][i]} ${kib} KiB`);

/** The difference as text: a heading, then both sides in columns, a mark between lines that differ. */
export function formatDifference(difference: Difference): string[] {
  const { step, process, field, expected, got, notes } = difference;
  const who = step.by === undefined ? '' : ` by ${step.by}`;
  const subject = process === undefined ? field : `${field} of process ${process}`;
  const width = Math.max('expected'.length, ...expected.map((line) => line.length));
  const lines = [
    `step ${step.index}: ${step.op} pid ${step.pid}${who} ${step.args}`,
    `  ${subject} differ${field === 'vmas' || field === 'pages' ? '' : 's'}`,
    `    ${'expected'.padEnd(width)}   got`,
  ];
  for (let i = 0; i < Math.max(expected.length, got.length); i++) {
    const left = expected[i] ?? '';
    const right = got[i] ?? '';
    lines.push(`    ${left.padEnd(width)} ${left === right ? ' ' : '|'} ${right}`.trimEnd());
  }
  return [...lines, ...notes.map((note) => `  ${note}`)];
}
