/**
 * The mappings of a page table as a table of text and as one JSON object. Ranges that repeat the same frame at a fixed
 * distance (Linux's espfix area: 65,536 of them) become one line unless all are asked for. What the columns of rights
 * and memory say is the architecture's.
 */
import type { TruthCheck } from '../conformance/maps/check.ts';
import type { MissingTable } from '../conformance/maps/leaves.ts';
import type { MappingList } from '../conformance/maps/mapping-list.ts';
import type { PageTableDump } from '../conformance/maps/page-table-dump.ts';
import type { MappedRange } from '../conformance/maps/ranges.ts';
import { arm64Columns, arm64HeadLines } from './arm64-maps-columns.ts';
import { addressText, type MapsColumns, withCommas } from './maps-columns.ts';
import { tableLines } from './table.ts';
import { x86Columns, x86HeadLines } from './x86_64-maps-columns.ts';

export interface MapsTextOptions {
  /** List ranges that repeat each other too. */
  readonly all?: boolean;
}

/** Fewer repeats than this are listed one by one. */
const FEWEST_REPEATS = 8;

/** 4 KiB pages as `4K`, `2052K`, `6M`, `1G`: always exact. */
function sizeText(pages: number): string {
  const units = [
    ['G', 2 ** 18],
    ['M', 2 ** 8],
  ] as const;
  const unit = units.find(([, size]) => pages % size === 0);
  return unit === undefined ? `${pages * 4}K` : `${pages / unit[1]}${unit[0]}`;
}

/** One line of the table: a range, or a run of ranges that repeat it. */
interface Line<Rights> {
  readonly range: MappedRange<Rights>;
  readonly repeats: number;
  /** Pages from one repeat to the next. */
  readonly stride: number;
}

/** Does `b` map the same frame in the same way as `a`? */
function repeatsFrame<Rights>(
  a: MappedRange<Rights>,
  b: MappedRange<Rights>,
  { rights, memory }: MapsColumns<Rights>,
): boolean {
  const cells = (range: MappedRange<Rights>): string =>
    [...rights(range.rights), ...memory(range.rights)].join(' ');
  return (
    a.firstFrame === b.firstFrame &&
    a.frameRuns === 1 &&
    b.frameRuns === 1 &&
    a.endPage - a.startPage === b.endPage - b.startPage &&
    cells(a) === cells(b)
  );
}

function linesOf<Rights>(
  ranges: readonly MappedRange<Rights>[],
  columns: MapsColumns<Rights>,
  all: boolean,
): Line<Rights>[] {
  const lines: Line<Rights>[] = [];
  for (let at = 0; at < ranges.length; ) {
    const repeats = all ? 1 : repeatsFrom(ranges, at, columns);
    const range = ranges[at] as MappedRange<Rights>;
    const next = ranges[at + 1];
    const taken = repeats >= FEWEST_REPEATS ? repeats : 1;
    lines.push({ range, repeats: taken, stride: next === undefined ? 0 : next.startPage - range.startPage });
    at += taken;
  }
  return lines;
}

function repeatsFrom<Rights>(
  ranges: readonly MappedRange<Rights>[],
  at: number,
  columns: MapsColumns<Rights>,
): number {
  const first = ranges[at] as MappedRange<Rights>;
  const stride = (ranges[at + 1]?.startPage ?? 0) - first.startPage;
  let count = 1;
  for (let range = ranges[at + count]; range !== undefined; range = ranges[at + count]) {
    if (range.startPage !== first.startPage + count * stride || !repeatsFrame(first, range, columns)) break;
    count++;
  }
  return count;
}

/** `A`/`D` when all pages of the range have the flag, `a`/`d` when some have, `-` when none. */
function usedText({ accessed, dirty, pageCounts }: MappedRange<unknown>): string {
  const pages = pageCounts.reduce((sum, count) => sum + count, 0);
  const letter = (count: number, name: string): string =>
    count === pages ? name : count === 0 ? '-' : name.toLowerCase();
  return letter(accessed, 'A') + letter(dirty, 'D');
}

const physicalText = ({ firstFrame, frameRuns }: MappedRange<unknown>): string =>
  frameRuns === 1 ? addressText(firstFrame) : `${addressText(firstFrame)}, ${frameRuns} runs`;

function repeatText({ repeats, stride }: Line<unknown>): string {
  return repeats === 1 ? '' : `${withCommas(repeats)} times, one every ${sizeText(stride)}, the same frame`;
}

/** The dump's mappings: a head, one line a range, and the tables that the dump does not hold. */
export function mapsText(dump: PageTableDump, options: MapsTextOptions = {}): string {
  return dump.arch === 'x86_64'
    ? listText(dump.list(), x86Columns(dump.state.patTypes), options)
    : listText(dump.list(), arm64Columns, options);
}

/** The same of a list that is already made. */
export function listText<Rights>(
  list: MappingList<Rights>,
  columns: MapsColumns<Rights>,
  options: MapsTextOptions = {},
): string {
  const head = [
    'virtual address',
    '',
    'size',
    'pages',
    ...columns.rightsHeads,
    'used',
    ...columns.memoryHeads,
    'physical address',
    '',
  ];
  const rows = linesOf(list.ranges, columns, options.all === true).map((line) => {
    const { range } = line;
    return [
      addressText(range.startPage),
      addressText(range.endPage),
      sizeText(range.endPage - range.startPage),
      columns.pages(range),
      ...columns.rights(range.rights),
      usedText(range),
      ...columns.memory(range.rights),
      physicalText(range),
      repeatText(line),
    ];
  });
  return [
    ...tableLines([head, ...rows], [0, 1, 2]),
    ...list.missing.map(missingText),
    '',
    `${withCommas(list.ranges.length)} ranges of ${withCommas(list.leaves)} pages` +
      (list.missing.length > 0 ? `; ${list.missing.length} tables are not in the dump` : ''),
    `${columns.legend}; used: A accessed, D dirty, small letters where only some pages are`,
    '',
  ].join('\n');
}

function missingText({ page, pages, frame, namedBy, entryAddress }: MissingTable): string {
  const from = entryAddress === null ? namedBy : `${namedBy} at 0x${entryAddress.toString(16)}`;
  const range = `${addressText(page)} ${addressText(page + pages)}`;
  return `${range}  unknown: ${from} names a table at ${addressText(frame)} that the dump does not hold`;
}

/** What was read from where, in front of the table. */
export function dumpHeadText(dump: PageTableDump): string {
  const { core, memory, state } = dump;
  const lines = [
    `${core.file}: ${core.segments.length} segments, ${withCommas(memory.frameCount)} pages`,
    ...(dump.arch === 'x86_64' ? x86HeadLines(dump) : arm64HeadLines(dump)),
  ];
  if (state.assumed.length > 0) lines.push(`not given, assumed: ${state.assumed.join(', ')}`);
  return `${lines.join('\n')}\n`;
}

/** The result of a truth check: the first differences and the closing line. */
export function truthCheckText(check: TruthCheck): string {
  const lines = check.differences.map(({ line, virtualAddress, expected, found }) =>
    line === 0
      ? `${check.file}: no row for ${virtualAddress}, which the table maps to ${found}`
      : `${check.file}:${line}: ${virtualAddress}: expected ${expected}, found ${found}`,
  );
  const more = check.differing + check.unlisted - check.differences.length;
  if (more > 0) lines.push(`and ${withCommas(more)} more`);
  lines.push(...check.missing.map(missingText));
  const unlisted = check.unlisted === 0 ? '' : `, ${withCommas(check.unlisted)} mappings without a row`;
  lines.push(`${check.file}: ${check.agreed} rows agree, ${check.differing} differ${unlisted}`);
  return `${lines.join('\n')}\n`;
}

/** One documented object for `--json`; addresses are hexadecimal strings, sizes bytes. */
export function mapsJson(dump: PageTableDump): object {
  return dump.arch === 'x86_64'
    ? listJson(dump.list(), x86Columns(dump.state.patTypes))
    : listJson(dump.list(), arm64Columns);
}

function listJson<Rights>(list: MappingList<Rights>, columns: MapsColumns<Rights>): object {
  return {
    ranges: list.ranges.map((range) => ({
      start: addressText(range.startPage),
      end: addressText(range.endPage),
      size: (range.endPage - range.startPage) * 4096,
      ...columns.json(range),
      accessed: range.accessed,
      dirty: range.dirty,
      physical: addressText(range.firstFrame),
      physicalRuns: range.frameRuns,
    })),
    leaves: list.leaves,
    missing: list.missing.map(missingJson),
  };
}

/** One truth check in the object that `--check --json` prints. */
export function truthCheckJson(check: TruthCheck): object {
  return { ...check, missing: check.missing.map(missingJson) };
}

const missingJson = ({ page, pages, frame, namedBy, level, entryAddress }: MissingTable): object => ({
  start: addressText(page),
  end: addressText(page + pages),
  table: addressText(frame),
  namedBy,
  level,
  entryAddress: entryAddress === null ? null : `0x${entryAddress.toString(16)}`,
});
