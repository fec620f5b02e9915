/**
 * Events of a run as a timeline: one line each, in the order in which they happened, with the CPU's virtual time. On
 * two CPUs each has its own column, so that one sees who did what meanwhile.
 */
import { hex, hexAddress } from '../base/u64.ts';
import type { EventKind, MachineEvent } from '../hardware/event-sink.ts';

export interface TimelineOptions {
  readonly cpus: number;
  /** Of the machine: names what tells address spaces apart in a TLB. Default: by the names of both. */
  readonly arch?: string;
  /** Characters a line may have; default 120. */
  readonly width?: number;
  /** Every event, also locks that were free and each level of each walk; default false. */
  readonly all?: boolean;
  /** Where tasks start, end and take turns; default true. */
  readonly tasks?: boolean;
  /** Colours by kind, for a terminal; default none. */
  readonly paint?: (kind: EventKind, text: string) => string;
}

const DEFAULT_WIDTH = 120;
const TIME_WIDTH = 9;
/** Between the time and the first column, and between two columns. */
const GAP = '  ';
const RULE = ' │ ';
/** Digits of a CPU's number and what follows them, where CPUs have no columns. */
const CPU_WIDTH = 5;

/** Lines without a final newline; empty when nothing is shown. */
export function timelineText(events: readonly MachineEvent[], options: TimelineOptions): string {
  const shown = events.filter((event) => isShown(event, options));
  const columns = options.cpus === 2 ? 2 : 1;
  const free = (options.width ?? DEFAULT_WIDTH) - TIME_WIDTH - GAP.length;
  const width = columns === 1 ? free : Math.floor((free - RULE.length) / 2);
  const lines = shown.flatMap((event) => eventLines(event, options, columns, width));
  return [headLine(options.cpus, columns, width), ...lines].join('\n');
}

/** Locks that were free, and the first task of a CPU, say little. */
function isShown(event: MachineEvent, { all = false, tasks = true }: TimelineOptions): boolean {
  if (event.kind.startsWith('task-') && !tasks) return false;
  if (all) return true;
  return event.kind !== 'lock-acquire' && (event.kind !== 'task-switch' || event.from !== null);
}

function headLine(cpus: number, columns: number, width: number): string {
  const cells = columns === 2 ? ['CPU 0', 'CPU 1'] : [cpus === 1 ? 'CPU 0' : 'CPU  event'];
  return `${'cycles'.padStart(TIME_WIDTH)}${GAP}${cells.map((cell) => cell.padEnd(width)).join(RULE)}`.trimEnd();
}

function eventLines(event: MachineEvent, options: TimelineOptions, columns: number, width: number): string[] {
  const named = columns === 1 && options.cpus > 1;
  const cpu = named ? `${String(event.cpu).padStart(CPU_WIDTH - 2)}  ` : '';
  const head = `${String(event.time).padStart(TIME_WIDTH)}${GAP}${cpu}`;
  return eventText(event, options)
    .flatMap((text) => wrapped(text, width - cpu.length))
    .map((text, index) => {
      const padding = ' '.repeat(Math.max(0, width - text.length));
      const cell = options.paint === undefined ? text : options.paint(event.kind, text);
      const lead = index === 0 ? head : ' '.repeat(head.length);
      if (columns === 1) return `${lead}${cell}`;
      const row = event.cpu === 0 ? `${cell}${padding}${RULE}` : `${' '.repeat(width)}${RULE}${cell}`;
      return `${lead}${row}`.trimEnd();
    });
}

/** Words of `text` on as many lines as it takes, the further ones indented. A word that is too long is a list, as a rule. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let rest = text.trimEnd();
  const indent = `${/^ */.exec(text)?.[0] ?? ''}    `;
  while (rest.length > width) {
    const space = rest.lastIndexOf(' ', width);
    const item = Math.max(rest.lastIndexOf('|', width - 1), rest.lastIndexOf(',', width - 1)) + 1;
    const at = [space, item].find((place) => place > indent.length) ?? width;
    lines.push(rest.slice(0, at).trimEnd());
    rest = indent + rest.slice(at).trimStart();
  }
  return [...lines, rest];
}

type Words = {
  readonly [K in EventKind]: (
    event: Extract<MachineEvent, { readonly kind: K }>,
    /** As `contextName` gives it. */
    context: string,
  ) => string;
};

/** What the manual calls the number by which a TLB tells address spaces apart. */
function contextName(arch: string | undefined): string {
  if (arch === undefined) return 'PCID/ASID';
  return arch === 'x86_64' ? 'PCID' : 'ASID';
}

const words: Words = {
  'task-start': ({ task }) => `${task} starts`,
  'task-switch': ({ task, from }) => `switch from ${from ?? 'idle'} to ${task}`,
  'task-finish': ({ task }) => `${task} ends`,
  'interrupt-send': ({ to, name }) => `interrupt to CPU ${to}: ${name}`,
  'interrupt-take': ({ from, name, over }) => `interrupt from CPU ${from}: ${name}, over ${over}`,
  'interrupt-done': ({ name }) => `interrupt done: ${name}`,
  'lock-wait': ({ task, lock, operation }) => `${task} waits for ${lock} (${operation})`,
  'lock-acquire': ({ task, lock, operation }) => `${task} has ${lock} (${operation})`,
  lockdep: ({ text }) => text,
  warning: ({ task, place, text }) => `${task}: warning of ${place}: ${text}`,
  'vma-lock': ({ task, page, reason }) =>
    `${task} has no VMA lock for page 0x${page.toString(16)}: ${reason}`,
  'userfault-wait': ({ task, address, reason }) =>
    `  ${task} waits for user space at ${hexAddress(address)} (${reason})`,
  'userfault-done': ({ task, address, reason }) =>
    `  ${task} looks at ${hexAddress(address)} again (${reason})`,
  'swap-out': ({ slot, frame }) => `  frame ${hex(frame)} goes to swap slot ${slot}`,
  'swap-in': ({ slot, frame }) => `  swap slot ${slot} comes to frame ${hex(frame)}`,
  'fork-copy': ({ address, frame, copy }) =>
    `  page at ${hexAddress(address)} may be pinned: the child gets a copy of frame ${hex(frame)}, frame ${hex(copy)}`,
  'thp-fault': ({ address }) => `  huge page at ${hexAddress(address)}`,
  'thp-split': ({ address }) =>
    `  huge page at ${hexAddress(address)} is mapped by small entries from now on`,
  'thp-collapse': ({ address }) => `  small pages at ${hexAddress(address)} become one huge page`,
  'syscall-enter': ({ task, name, args }) => `${task}: ${name}(${args.join(', ')})`,
  'syscall-exit': ({ task, name, result }) => `${task}: ${name} = ${result}`,
  'user-access': ({ task, access, address, bytes, result }) =>
    `${task}: ${access} ${bytes} ${bytes === 1 ? 'byte' : 'bytes'} at ${hexAddress(address)}: ${result}`,
  'tag-instruction': (event) => `${event.task}: ${tagInstructionWords(event)}`,
  'tag-check': ({ address, flag }) => `  tag check fails at ${hexAddress(address)}, noted: ${flag} = 1`,
  fault: ({ address, syndrome }) => `  fault at ${hexAddress(address)}: ${syndrome}`,
  'fault-done': ({ address, result }) => `  fault at ${hexAddress(address)} handled: ${result}`,
  signal: ({ task, signal, code, address }) => `${task}: ${signal} ${code} at ${hexAddress(address)}`,
  walk: ({ address, result }) => `  walk of ${hexAddress(address)}: ${result}`,
  'tlb-fill': ({ address, frame, pageBytes, asid }, context) =>
    `  TLB fill: ${hexAddress(address)} is frame ${hex(frame)}, ${sizeOf(pageBytes)}, ${asid < 0 ? 'global' : `${context} ${asid}`}`,
  'tlb-flush': (event, context) => `  TLB flush (${event.reason}): ${flushWords(event, context)}`,
  note: ({ text }) => text,
};

/** What an event says, without place and time; a few kinds take several lines. */
export function eventText(
  event: MachineEvent,
  { all = false, arch }: Pick<TimelineOptions, 'all' | 'arch'>,
): string[] {
  const line = (words[event.kind] as (event: MachineEvent, context: string) => string)(
    event,
    contextName(arch),
  );
  if (event.kind === 'lockdep') return line.split('\n');
  if (event.kind !== 'walk' || !all) return [line];
  return [line, ...event.levels.map((level) => `    ${level}`)];
}

/** `stg 0x…, tag 10`; `ldg 0x…: tag 3`; `addg 0x…: 0x…, tag 8`; `msr tco, 1`. */
function tagInstructionWords(event: Extract<MachineEvent, { readonly kind: 'tag-instruction' }>): string {
  const { instruction, address, tag, value, result } = event;
  if (address === null) return `${instruction}, ${value}`;
  const what = `${instruction} ${hexAddress(address)}`;
  if (value === null)
    return `${what}${tag === null ? '' : `, tag ${tag}`}${result === 'ok' ? '' : `: ${result}`}`;
  if (tag === null) return `${what}: ${hexAddress(value)}`;
  // What is the same pointer with another tag needs no second address.
  const moved = BigInt.asIntN(56, value) !== BigInt.asIntN(56, address);
  return instruction === 'ldg' || !moved
    ? `${what}: tag ${tag}`
    : `${what}: ${hexAddress(value)}, tag ${tag}`;
}

function flushWords(event: Extract<MachineEvent, { readonly kind: 'tlb-flush' }>, context: string): string {
  const { scope, address, pages, asid } = event;
  const whose = asid === undefined ? '' : ` of ${context} ${asid}`;
  if (scope === 'page') return `page ${hexAddress(address ?? 0n)}${whose}`;
  if (scope === 'range') return `${pages} pages from ${hexAddress(address ?? 0n)}${whose}`;
  if (scope === 'asid') return `everything${whose}`;
  return scope === 'all' ? 'everything, global entries too' : 'everything but global entries';
}

const sizeOf = (bytes: number): string =>
  bytes >= 2 ** 30
    ? `${bytes / 2 ** 30} GiB`
    : bytes >= 2 ** 20
      ? `${bytes / 2 ** 20} MiB`
      : `${bytes / 1024} KiB`;
