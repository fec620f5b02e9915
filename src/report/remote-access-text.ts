/** What `bench remote-access` prints: a table of single calls, one of calls beside each other, and what the columns say. */
import type { RemoteAccessFindings } from '../userland/experiments/remote-access.ts';
import type { ContentionCost } from '../userland/experiments/remote-access-contention.ts';
import type { RemoteAccessCost } from '../userland/experiments/remote-access-cost.ts';
import { tableLines } from './table.ts';

/** What was measured. */
export interface RemoteAccessHeading {
  readonly arch: string;
  readonly profile: string;
  readonly write: boolean;
  /** Of each reader, in the second table. */
  readonly callsOfReader: number;
}

const number = (value: number): string => Math.round(value).toLocaleString('en-US');

/** 8 B, 4 KiB, 1 MiB. */
export function sizeText(bytes: number): string {
  if (bytes % 2 ** 20 === 0) return `${bytes / 2 ** 20} MiB`;
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`;
}

const COLUMNS = [
  'design',
  'cycles',
  'atomics',
  'mmap_lock',
  'vm_refcnt',
  'ptl',
  'page refs',
  'other',
  'irqs off',
  'VMA look-ups',
  'walks',
  'to mmap_lock, because',
] as const;
const RIGHT = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

function row(cost: RemoteAccessCost): string[] {
  const { lines } = cost;
  return [
    cost.design,
    ...[
      cost.cycles,
      cost.atomics,
      lines.mmapLock,
      lines.vmaRefcount,
      lines.pageTableLock,
      lines.pageRefcount,
      lines.other,
      cost.stepsWithInterruptsOff,
      cost.vmaLookups,
      cost.walks,
    ].map(number),
    [...cost.fallbacks].map(([reason, count]) => (count === 1 ? reason : `${reason} ${count}`)).join(', '),
  ];
}

/** `read of 8 B, pages present, one VMA`. */
export function accessText({ bytes, present, vmas, write }: RemoteAccessCost): string {
  const pages = present ? 'pages present' : 'pages absent';
  const where = vmas === 1 ? 'one VMA' : 'two VMAs that meet in its middle';
  return `${write ? 'write' : 'read'} of ${sizeText(bytes)}, ${pages}, ${where}`;
}

/** Rows of one case after its title, the cases apart. */
function aloneText(alone: readonly RemoteAccessCost[]): string {
  const rows = [COLUMNS, ...alone.map(row)];
  const lines = tableLines(rows, RIGHT);
  const text = [`  ${lines[0]}`];
  let at = 1;
  for (const [title, members] of grouped(alone)) {
    text.push('', title, ...lines.slice(at, at + members).map((line) => `  ${line}`));
    at += members;
  }
  return text.join('\n');
}

/** How many rows come under each title, in their order. */
function grouped(alone: readonly RemoteAccessCost[]): ReadonlyMap<string, number> {
  const cases = new Map<string, number>();
  for (const cost of alone) cases.set(accessText(cost), (cases.get(accessText(cost)) ?? 0) + 1);
  return cases;
}

function togetherRow({
  design,
  readers,
  median,
  p99,
  longest,
  callsPerMillion,
  writesPerMillion,
}: ContentionCost): string[] {
  return [design, String(readers), ...[median, p99, longest, callsPerMillion, writesPerMillion].map(number)];
}

function togetherText(together: readonly ContentionCost[]): string {
  const columns = [
    'design',
    'readers',
    'median',
    '99 %',
    'longest',
    'reads per million cycles',
    'mprotect calls per million cycles',
  ];
  const lines = tableLines([columns, ...together.map(togetherRow)], [1, 2, 3, 4, 5, 6]);
  const text = [`  ${lines[0]}`];
  let title = '';
  for (const [index, { writer, readers }] of together.entries()) {
    const own = writer === 'none' ? `${readers} readers, nobody else` : `${readers} readers, ${writer}`;
    if (own !== title) text.push('', own.replace(/^1 readers/, '1 reader'));
    title = own;
    text.push(`  ${lines[index + 1]}`);
  }
  return text.join('\n');
}

export function remoteAccessText(findings: RemoteAccessFindings, heading: RemoteAccessHeading): string {
  const { arch, profile, write, callsOfReader } = heading;
  return [
    `__access_remote_vm, one ${write ? 'write' : 'read'} alone: ${arch}, costs of ${profile}`,
    '',
    aloneText(findings.alone),
    '',
    `Reads of 8 bytes beside each other, ${callsOfReader} of each reader: cycles of a call`,
    '',
    togetherText(findings.together),
    '',
    ...NOTES,
    '',
  ].join('\n');
}

const NOTES = [
  'cycles: virtual time, for comparing designs under one profile; no processor has been timed.',
  'atomics: locked read-modify-writes, all of them and by line. other: mm-wide counters, entries that a fault sets.',
  'irqs off: steps that are made with interrupts disabled. A case has a process of its own, its locks in the cache.',
  'A reader has a CPU and a page of its own. mm_users, which every caller counts up and down, comes on top.',
];

/** For `--json`. */
export function remoteAccessJson(findings: RemoteAccessFindings, heading: RemoteAccessHeading): object {
  return { ...heading, alone: findings.alone, together: findings.together };
}
