import { describe, expect, it } from 'vitest';
import type { MachineEvent } from '../../src/hardware/event-sink.ts';
import { timelineText } from '../../src/report/timeline-text.ts';

const page = 0x7fff_f7d5_6000n;

/** One of each kind, with the longest words that each has. */
const events: readonly MachineEvent[] = [
  { kind: 'task-start', time: 0, cpu: 0, task: 'target' },
  { kind: 'task-switch', time: 0, cpu: 0, task: 'target', from: null },
  { kind: 'task-switch', time: 3, cpu: 1, task: 'debugger', from: 'child' },
  { kind: 'note', time: 4, cpu: 0, text: 'the child has its own copy from here on' },
  {
    kind: 'syscall-enter',
    time: 7,
    cpu: 1,
    task: 'debugger',
    name: 'process_vm_writev',
    args: ['2', '0x7ffff7d56000+8192', '0x7ffff7d59000+4096', '0x7ffff7d5c000+16384'],
  },
  {
    kind: 'lock-acquire',
    time: 8,
    cpu: 1,
    task: 'debugger',
    lock: 'mmap_lock of mm 2',
    operation: 'down_read',
  },
  { kind: 'lock-wait', time: 9, cpu: 0, task: 'target', lock: 'mmap_lock of mm 2', operation: 'down_write' },
  { kind: 'interrupt-send', time: 10, cpu: 1, to: 0, name: 'tlb flush' },
  { kind: 'interrupt-take', time: 12, cpu: 0, from: 1, name: 'tlb flush', over: 'target' },
  {
    kind: 'tlb-flush',
    time: 12,
    cpu: 0,
    scope: 'range',
    reason: 'INVLPG',
    address: page,
    pages: 33,
    asid: 2,
  },
  { kind: 'tlb-flush', time: 12, cpu: 0, scope: 'page', reason: 'INVLPG', address: page, asid: 2 },
  { kind: 'tlb-flush', time: 12, cpu: 0, scope: 'asid', reason: 'INVPCID', asid: 2 },
  { kind: 'tlb-flush', time: 12, cpu: 0, scope: 'all-but-global', reason: 'MOV to CR3' },
  { kind: 'tlb-flush', time: 12, cpu: 0, scope: 'all', reason: 'MOV to CR4' },
  { kind: 'interrupt-done', time: 13, cpu: 0, name: 'tlb flush' },
  {
    kind: 'walk',
    time: 14,
    cpu: 0,
    address: page,
    levels: ['PML4E at 0x1062ff8 = 0x29f8067, memory', 'PDPTE at 0x29f8ff8 = 0x29f9067, memory'],
    result: '#PF P WR US',
  },
  { kind: 'fault', time: 14, cpu: 0, task: 'target', address: page, syndrome: '#PF P WR US' },
  {
    kind: 'fault-done',
    time: 31,
    cpu: 0,
    task: 'target',
    address: page,
    result: 'forced write by get_user_pages in mm 1: copies frame 0x107 to frame 0x10c',
  },
  { kind: 'tlb-fill', time: 32, cpu: 0, address: page, frame: 0x10c, pageBytes: 4096, asid: 2 },
  { kind: 'tlb-fill', time: 32, cpu: 0, address: 0n, frame: 0x200, pageBytes: 2 ** 21, asid: 2 },
  { kind: 'tlb-fill', time: 32, cpu: 0, address: 0n, frame: 0, pageBytes: 2 ** 30, asid: -1 },
  {
    kind: 'user-access',
    time: 33,
    cpu: 0,
    task: 'target',
    access: 'write',
    address: page,
    bytes: 8,
    result: 'ok',
  },
  {
    kind: 'signal',
    time: 1_234_567,
    cpu: 0,
    task: 'target',
    signal: 'SIGSEGV',
    code: 'SEGV_ACCERR',
    address: page,
  },
  {
    kind: 'tag-instruction',
    time: 34,
    cpu: 0,
    task: 'target',
    instruction: 'irg',
    address: page,
    tag: 10,
    value: page | (10n << 56n),
    result: 'ok',
  },
  {
    kind: 'tag-instruction',
    time: 34,
    cpu: 0,
    task: 'target',
    instruction: 'stg',
    address: page | (10n << 56n),
    tag: 10,
    value: null,
    result: 'ok',
  },
  {
    kind: 'tag-instruction',
    time: 34,
    cpu: 0,
    task: 'target',
    instruction: 'ldg',
    address: page + 8n,
    tag: 3,
    value: (page + 8n) | (3n << 56n),
    result: 'ok',
  },
  {
    kind: 'tag-instruction',
    time: 34,
    cpu: 0,
    task: 'target',
    instruction: 'addg',
    address: page | (10n << 56n),
    tag: 11,
    value: (page + 16n) | (11n << 56n),
    result: 'ok',
  },
  {
    kind: 'tag-instruction',
    time: 34,
    cpu: 0,
    task: 'target',
    instruction: 'gmi',
    address: page,
    tag: null,
    value: 1n,
    result: 'ok',
  },
  {
    kind: 'tag-instruction',
    time: 34,
    cpu: 0,
    task: 'target',
    instruction: 'st2g',
    address: page + 8n,
    tag: null,
    value: null,
    result: 'SIGBUS',
  },
  {
    kind: 'tag-instruction',
    time: 34,
    cpu: 0,
    task: 'target',
    instruction: 'msr tco',
    address: null,
    tag: null,
    value: 1n,
    result: 'ok',
  },
  {
    kind: 'tag-check',
    time: 34,
    cpu: 0,
    task: 'target',
    address: page | (10n << 56n),
    flag: 'TFSRE0_EL1.TF0',
  },
  { kind: 'syscall-exit', time: 40, cpu: 1, task: 'debugger', name: 'process_vm_writev', result: 'EFAULT' },
  { kind: 'task-finish', time: 41, cpu: 1, task: 'debugger' },
];

const columns = [80, 100, 120, 150];
const words = (text: string): string => text.replace(/[│\s]+/g, ' ');

it('a list that is too long for a line is broken between its items', () => {
  const args = ['3', 'UFFDIO_API', Array.from({ length: 12 }, (_, at) => `feature-number-${at}`).join('|')];
  const list: MachineEvent = { kind: 'syscall-enter', time: 1, cpu: 0, task: 'target', name: 'ioctl', args };
  const lines = timelineText([list], { cpus: 2, width: 100 }).split('\n').slice(1);
  expect(lines.length).toBeGreaterThan(3);
  for (const line of lines.slice(1, -1)) expect(line.trimEnd()).toMatch(/[|,]\s*│?$/);
});

describe('a timeline', () => {
  it.each(columns.flatMap((width) => [1, 2, 4].map((cpus) => ({ width, cpus }))))(
    'keeps within $width characters on $cpus CPUs',
    ({ width, cpus }) => {
      const longest = Math.max(
        ...timelineText(events, { cpus, width, all: true })
          .split('\n')
          .map((line) => line.length),
      );
      expect(longest).toBeLessThanOrEqual(width);
    },
  );

  it.each(columns)('loses no word to wrapping at %d characters', (width) => {
    const own = events.filter(({ cpu }) => cpu === 0);
    const wide = timelineText(own, { cpus: 2, width: 1000, all: true });
    expect(words(timelineText(own, { cpus: 2, width, all: true }))).toBe(words(wide));
  });

  it('gives two CPUs a column each, and more CPUs a number', async () => {
    const text = [
      ...columns.map(
        (width) => `${width} characters\n${timelineText(events, { cpus: 2, width, arch: 'x86_64' })}\n`,
      ),
      `4 CPUs\n${timelineText(events, { cpus: 4, width: 80, arch: 'arm64' })}\n`,
      `one CPU, every event\n${timelineText(events, { cpus: 1, all: true })}\n`,
    ].join('\n');
    await expect(text).toMatchFileSnapshot('../golden/timeline.txt');
  });

  it.each([
    ['x86_64', 'PCID 2'],
    ['arm64', 'ASID 2'],
    [undefined, 'PCID/ASID 2'],
  ])('calls the number of an address space on %s %s', (arch, name) => {
    const text = timelineText(events, { cpus: 2, width: 300, ...(arch === undefined ? {} : { arch }) });
    expect(text).toContain(`4 KiB, ${name}`);
    expect(text).toContain(`everything of ${name}`);
  });

  it('can leave out where tasks start, end and take turns', () => {
    const text = timelineText(events, { cpus: 2, tasks: false, all: true });
    expect(text).not.toMatch(/starts|switch|ends/);
    expect(text).toContain('mmap_lock');
  });

  it('shows locks that were free only when everything is wanted', () => {
    expect(timelineText(events, { cpus: 1 })).not.toContain('has mmap_lock');
    expect(timelineText(events, { cpus: 1, all: true })).toContain('has mmap_lock');
  });

  it('paints what it shows and keeps the columns in their places', () => {
    const plain = timelineText(events, { cpus: 2 });
    const painted = timelineText(events, { cpus: 2, paint: (_, text) => `\x1b[1m${text}\x1b[0m` });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are what is taken out
    expect(painted.replace(/\x1b\[\dm/g, '')).toBe(plain);
  });
});
