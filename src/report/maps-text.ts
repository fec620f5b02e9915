/**
 * The mappings of a page table as a table of text and as one JSON object. Ranges that repeat the same frame at a fixed
 * distance (Linux's espfix area: 65,536 of them) become one line unless all are asked for.
 */
import { hexHalves } from '../base/u64.ts';
import type { TruthCheck } from '../conformance/maps/check.ts';
import type { MappingList, PageTableDump } from '../conformance/maps/page-table-dump.ts';
import type { MappedRange } from '../conformance/maps/ranges.ts';
import type { MissingTable } from '../conformance/maps/x86_64-leaves.ts';
import { tableLines } from './table.ts';

export interface MapsTextOptions {
  /** List ranges that repeat each other too. */
  readonly all?: boolean;
  /** Names of memory types by PAT index; without them `PAT0` … `PAT7` are shown. */
  readonly patTypes?: readonly string[] | null;
}

const PAGE_NAMES = ['4K', '2M', '1G'] as const;
/** Fewer repeats than this are listed one by one. */
const FEWEST_REPEATS = 8;

/** `0x…` of a page or frame number's first byte; 2^52 pages give 0x10000000000000000. */
export const addressText = (page: number): string =>
  page === 2 ** 52
    ? '0x10000000000000000'
    : hexHalves(Math.floor(page / 2 ** 20) | 0, ((page % 2 ** 20) * 4096) | 0);

/** 4 KiB pages as `4K`, `2052K`, `6M`, `1G`: always exact. */
function sizeText(pages: number): string {
  const units = [
    ['G', 2 ** 18],
    ['M', 2 ** 8],
  ] as const;
  const unit = units.find(([, size]) => pages % size === 0);
  return unit === undefined ? `${pages * 4}K` : `${pages / unit[1]}${unit[0]}`;
}

const withCommas = (count: number): string => count.toLocaleString('en-US');

/** One line of the table: a range, or a run of ranges that repeat it. */
interface Line {
  readonly range: MappedRange;
  readonly repeats: number;
  /** Pages from one repeat to the next. */
  readonly stride: number;
}

/** Does `b` map the same frame in the same way as `a`? */
function repeatsFrame(a: MappedRange, b: MappedRange): boolean {
  return (
    a.firstFrame === b.firstFrame &&
    a.frameRuns === 1 &&
    b.frameRuns === 1 &&
    a.endPage - a.startPage === b.endPage - b.startPage &&
    rightsText(a) === rightsText(b) &&
    a.patIndex === b.patIndex &&
    a.protectionKey === b.protectionKey
  );
}

function linesOf(ranges: readonly MappedRange[], all: boolean): Line[] {
  const lines: Line[] = [];
  for (let at = 0; at < ranges.length; ) {
    const repeats = all ? 1 : repeatsFrom(ranges, at);
    const range = ranges[at] as MappedRange;
    const next = ranges[at + 1];
    const taken = repeats >= FEWEST_REPEATS ? repeats : 1;
    lines.push({ range, repeats: taken, stride: next === undefined ? 0 : next.startPage - range.startPage });
    at += taken;
  }
  return lines;
}

function repeatsFrom(ranges: readonly MappedRange[], at: number): number {
  const first = ranges[at] as MappedRange;
  const stride = (ranges[at + 1]?.startPage ?? 0) - first.startPage;
  let count = 1;
  for (let range = ranges[at + count]; range !== undefined; range = ranges[at + count]) {
    if (range.startPage !== first.startPage + count * stride || !repeatsFrame(first, range)) break;
    count++;
  }
  return count;
}

/** `UWXG` with `-` where not so; `R` in front when a reserved bit makes every access fault. */
function rightsText(range: MappedRange): string {
  const flag = (on: boolean, letter: string): string => (on ? letter : '-');
  return (
    (range.reserved ? 'R' : '') +
    flag(range.user, 'U') +
    flag(range.writable, 'W') +
    flag(range.executable, 'X') +
    flag(range.global, 'G')
  );
}

/** `A`/`D` when all pages of the range have the flag, `a`/`d` when some have, `-` when none. */
function usedText({ accessed, dirty, pageCounts }: MappedRange): string {
  const pages = pageCounts[0] + pageCounts[1] + pageCounts[2];
  const letter = (count: number, name: string): string =>
    count === pages ? name : count === 0 ? '-' : name.toLowerCase();
  return letter(accessed, 'A') + letter(dirty, 'D');
}

const pagesText = ({ pageCounts }: MappedRange): string =>
  pageCounts
    .map((count, size) => (count === 0 ? '' : `${count}×${PAGE_NAMES[size]}`))
    .filter((text) => text !== '')
    .join(' ');

const physicalText = ({ firstFrame, frameRuns }: MappedRange): string =>
  frameRuns === 1 ? addressText(firstFrame) : `${addressText(firstFrame)}, ${frameRuns} runs`;

function repeatText({ repeats, stride }: Line): string {
  return repeats === 1 ? '' : `${withCommas(repeats)} times, one every ${sizeText(stride)}, the same frame`;
}

/** The table: a head, one line a range, and the tables that the dump does not hold. */
export function mapsText(list: MappingList, options: MapsTextOptions = {}): string {
  const typeName = (index: number): string => options.patTypes?.[index] ?? `PAT${index}`;
  const head = [
    'virtual address',
    '',
    'size',
    'pages',
    'rights',
    'used',
    'type',
    'key',
    'physical address',
    '',
  ];
  const rows = linesOf(list.ranges, options.all === true).map((line) => {
    const { range } = line;
    return [
      addressText(range.startPage),
      addressText(range.endPage),
      sizeText(range.endPage - range.startPage),
      pagesText(range),
      rightsText(range),
      usedText(range),
      typeName(range.patIndex),
      `${range.protectionKey || ''}`,
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
    LEGEND,
    '',
  ].join('\n');
}

const LEGEND =
  'rights, combined over all levels: U user, W writable, X executable, G global, R a reserved bit is set; ' +
  'used: A accessed, D dirty, small letters where only some pages are';

function missingText({ page, pages, frame, level, entryAddress }: MissingTable): string {
  const names = ['', '', 'PDE', 'PDPTE', 'PML4E', 'PML5E'];
  const from = entryAddress === null ? 'CR3' : `the ${names[level]} at 0x${entryAddress.toString(16)}`;
  const range = `${addressText(page)} ${addressText(page + pages)}`;
  return `${range}  unknown: ${from} names a table at ${addressText(frame)} that the dump does not hold`;
}

/** What was read from where, in front of the table. */
export function dumpHeadText(dump: PageTableDump): string {
  const { core, memory, state, levels } = dump;
  const hex = (value: bigint): string => `0x${value.toString(16)}`;
  const lines = [
    `${core.file}: ${core.segments.length} segments, ${withCommas(memory.frameCount)} pages`,
    `registers from ${state.origin}: CR3 ${hex(state.cr3)} (${levels}-level), CR0 ${hex(state.cr0)}, ` +
      `CR4 ${hex(state.cr4)}, EFER ${hex(state.efer)}, MAXPHYADDR ${state.maxPhysAddr}`,
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
export function mapsJson(list: MappingList, patTypes: readonly string[] | null = null): object {
  return {
    ranges: list.ranges.map((range) => ({
      start: addressText(range.startPage),
      end: addressText(range.endPage),
      size: (range.endPage - range.startPage) * 4096,
      user: range.user,
      writable: range.writable,
      executable: range.executable,
      global: range.global,
      reserved: range.reserved,
      protectionKey: range.protectionKey,
      patIndex: range.patIndex,
      memoryType: patTypes?.[range.patIndex] ?? null,
      pages: { '4K': range.pageCounts[0], '2M': range.pageCounts[1], '1G': range.pageCounts[2] },
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

const missingJson = ({ page, pages, frame, level, entryAddress }: MissingTable): object => ({
  start: addressText(page),
  end: addressText(page + pages),
  table: addressText(frame),
  level,
  entryAddress: entryAddress === null ? null : `0x${entryAddress.toString(16)}`,
});
