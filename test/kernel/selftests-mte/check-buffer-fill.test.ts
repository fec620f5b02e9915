/**
 * The cases of Linux's tools/testing/selftests/arm64/mte/check_buffer_fill.c: a tagged buffer is filled byte by byte and
 * as a block, stepped over at either end, and looked at before anybody gave it a tag.
 */
import { describe, expect, it } from 'vitest';
import { GRANULE, type How, type Mode, type MteProcess, mteProcess, PAGE, roundUp } from './mte-process.ts';

const SIZES = [1, 555, 1033, GRANULE - 1, GRANULE, PAGE - 1, PAGE, PAGE + 1];
const ONE = 0x31;

function inMode(mode: Mode): MteProcess {
  const process = mteProcess();
  process.switchMode(mode);
  return process;
}

const allOnes = (process: MteProcess, pointer: bigint, bytes: number): boolean =>
  process.bytes(pointer, bytes).every((byte) => byte === ONE);

describe('check_buffer_fill: a buffer filled byte by byte', () => {
  it.each([
    ['Check buffer correctness by byte with sync err mode and mmap memory', 'mmap', 'sync'],
    ['Check buffer correctness by byte with async err mode and mmap memory', 'mmap', 'async'],
    ['Check buffer correctness by byte with sync err mode and mmap/mprotect memory', 'mmap/mprotect', 'sync'],
    [
      'Check buffer correctness by byte with async err mode and mmap/mprotect memory',
      'mmap/mprotect',
      'async',
    ],
  ] as const satisfies [string, How, Mode][])('%s', (_, how, mode) => {
    const process = inMode(mode);
    for (const size of SIZES) {
      const buffer = process.allocate(size, { how, tags: true });
      expect(process.fill(buffer, size, ONE)).toEqual({ stored: size, signal: null });
      expect(process.asynchronousFaults()).toBe(0);
      expect(allOnes(process, buffer, size)).toBe(true);
    }
  });
});

const untagged = (pointer: bigint): string => (pointer & ((1n << 56n) - 1n)).toString(16);

/** Stores downwards, from the last byte of a buffer to the first one of what lies below it. */
function fillDown(
  process: MteProcess,
  buffer: bigint,
  size: number,
  range: number,
): { readonly below: number; readonly signal: string | null } {
  for (let at = size - 1; at >= -range; at--) {
    const outcome = process.store(buffer + BigInt(at), ONE);
    if (outcome !== 'stored') return { below: -1 - at, signal: outcome };
  }
  return { below: range, signal: null };
}

/** What a walk over the end comes to: at once in sync mode, and before anything there has changed. */
function expectBeyond(
  process: MteProcess,
  mode: Mode,
  found: { readonly beyond: number; readonly signal: string | null },
  first: bigint,
  range: number,
): void {
  const expected =
    mode === 'sync'
      ? { beyond: 0, signal: `SEGV_MTESERR at 0x${untagged(first)}` }
      : { beyond: range, signal: null };
  expect(found).toEqual(expected);
  expect(process.bytes(first, 1)[0]).toBe(mode === 'sync' ? 0 : ONE);
  // However many accesses failed, they are one signal.
  expect(process.asynchronousFaults()).toBe(mode === 'async' ? 1 : 0);
}

const MODES = [
  ['sync mode', 'sync'],
  ['async mode', 'async'],
  ['tag check fault ignore', 'none'],
] as const;

describe('check_buffer_fill: a buffer stepped over below', () => {
  it.each(
    [GRANULE, PAGE].flatMap((range) =>
      MODES.map(
        ([words, mode]) =>
          [
            `Check buffer write underflow by byte with ${words} and mmap memory (${range} bytes)`,
            mode,
            range,
          ] as const,
      ),
    ),
  )('%s', (_, mode, range) => {
    const process = inMode(mode);
    for (const size of SIZES) {
      const buffer = process.allocate(size, { how: 'mmap', tags: true, before: range });
      const { below, signal } = fillDown(process, buffer, size, range);
      expectBeyond(process, mode, { beyond: below, signal }, buffer - 1n, range);
      expect(allOnes(process, buffer, size)).toBe(true);
      if (mode !== 'sync') expect(allOnes(process, buffer - BigInt(range), range)).toBe(true);
    }
  });
});

describe('check_buffer_fill: a buffer stepped over above', () => {
  it.each([
    ['Check buffer write overflow by byte with sync mode and mmap memory', 'sync'],
    ['Check buffer write overflow by byte with async mode and mmap memory', 'async'],
    ['Check buffer write overflow by byte with tag fault ignore mode and mmap memory', 'none'],
  ] as const)('%s', (_, mode) => {
    const process = inMode(mode);
    for (const size of SIZES) {
      const buffer = process.allocate(size, { how: 'mmap', tags: true, after: GRANULE });
      // The rest of the last granule is the buffer's as far as tags can tell.
      const own = roundUp(size, GRANULE);
      const { stored, signal } = process.fill(buffer, size + GRANULE, ONE);
      const range = size + GRANULE - own;
      expectBeyond(process, mode, { beyond: stored - own, signal }, buffer + BigInt(own), range);
      expect(allOnes(process, buffer, mode === 'sync' ? own : size + GRANULE)).toBe(true);
    }
  });
});

describe('check_buffer_fill: a buffer copied to another', () => {
  it.each([
    ['Check buffer write correctness by block with sync mode and mmap memory', 'sync'],
    ['Check buffer write correctness by block with async mode and mmap memory', 'async'],
    ['Check buffer write correctness by block with tag fault ignore and mmap memory', 'none'],
  ] as const)('%s', (_, mode) => {
    const process = inMode(mode);
    for (const size of SIZES) {
      for (const [from, to] of [
        [false, true],
        [true, false],
        [true, true],
      ] as const) {
        const source = process.allocate(size, { how: 'mmap', tags: from });
        const target = process.allocate(size, { how: 'mmap', tags: to });
        expect(process.fill(source, size, ONE).signal).toBeNull();
        expect(process.copy(target, source, size)).toBeNull();
        expect(process.asynchronousFaults()).toBe(0);
        expect(allOnes(process, target, size)).toBe(true);
      }
    }
  });
});

describe('check_buffer_fill: tags before the first STG', () => {
  it.each([
    ['Check initial tags with private mapping, sync error mode and mmap memory', 'mmap', false],
    [
      'Check initial tags with private mapping, sync error mode and mmap/mprotect memory',
      'mmap/mprotect',
      false,
    ],
    ['Check initial tags with shared mapping, sync error mode and mmap memory', 'mmap', true],
    [
      'Check initial tags with shared mapping, sync error mode and mmap/mprotect memory',
      'mmap/mprotect',
      true,
    ],
  ] as const satisfies [string, How, boolean][])('%s', (_, how, shared) => {
    const process = inMode('sync');
    for (const size of SIZES) {
      for (const file of [false, true]) {
        // Frames that were tagged before go round: new memory must not show their tags.
        const old = process.allocate(size, { how: 'mmap', tags: true });
        process.unmap(old, size);
        const buffer = process.allocate(size, { how, shared, file });
        for (let at = 0; at < size; at += GRANULE) expect(process.ldg(buffer + BigInt(at))).toBe(0);
      }
    }
  });
});
