/**
 * The cases of Linux's tools/testing/selftests/arm64/mte/check_child_memory.c: a child writes to memory that its parent
 * tagged, finds the parent's tags there, and faults one granule below and above.
 */
import { describe, expect, it } from 'vitest';
import { GRANULE, type How, type MteProcess, mteProcess, PAGE, roundUp, tagOf } from './mte-process.ts';

const SIZES = [1, 537, 989, 1269, GRANULE - 1, GRANULE, PAGE - 1, PAGE, PAGE + 1];
const BELOW = -GRANULE;

/** What a store to the granule around an address came to, told by the mode: at once, or with the next system call. */
function refused(process: MteProcess, pointer: bigint, mode: 'sync' | 'async'): boolean {
  const outcome = process.store(pointer, 0x32);
  const reports = process.asynchronousFaults();
  if (mode === 'async') return outcome === 'stored' && reports === 1;
  return outcome.startsWith('SEGV_MTESERR at ') && reports === 0;
}

type Case = readonly [
  what: 'anonymous' | 'file',
  mapping: 'private' | 'shared',
  mode: 'sync' | 'async',
  how: How,
];

const MODE_WORDS = { sync: 'precise', async: 'imprecise' } as const;

const CASES: readonly Case[] = (['anonymous', 'file'] as const).flatMap((what): Case[] => [
  [what, 'private', 'sync', 'mmap'],
  [what, 'shared', 'sync', 'mmap'],
  [what, 'private', 'async', 'mmap'],
  [what, 'shared', 'async', 'mmap'],
  [what, 'private', 'sync', 'mmap/mprotect'],
  [what, 'shared', 'sync', 'mmap/mprotect'],
]);

const rows = CASES.map((each): [string, Case] => {
  const [what, mapping, mode, how] = each;
  return [
    `Check child ${what} memory with ${mapping} mapping, ${MODE_WORDS[mode]} mode and ${how} memory`,
    each,
  ];
});

describe('check_child_memory', () => {
  it.each(rows)('%s', (_, [what, mapping, mode, how]) => {
    const parent = mteProcess();
    const shared = mapping === 'shared';
    parent.switchMode(mode);
    for (const size of SIZES) {
      const around = { before: GRANULE, after: 2 * GRANULE };
      const pointer = parent.allocate(size, { how, shared, file: what === 'file', tags: true, ...around });
      const child = parent.fork();
      expect(child.fill(pointer, size, 0x31)).toEqual({ stored: size, signal: null });
      expect(child.asynchronousFaults()).toBe(0);
      for (let at = 0; at < size; at += GRANULE) {
        expect(child.ldg(pointer + BigInt(at))).toBe(tagOf(pointer));
      }
      const above = roundUp(size, GRANULE);
      expect([BELOW, above].map((at) => refused(child, pointer + BigInt(at), mode))).toEqual([true, true]);
      // What the child wrote is the parent's too where the memory is shared, and only there; the tags are the same.
      expect(parent.bytes(pointer, 1)[0]).toBe(shared ? 0x31 : 0);
      expect(parent.ldg(pointer)).toBe(tagOf(pointer));
      child.exit();
    }
  });
});
