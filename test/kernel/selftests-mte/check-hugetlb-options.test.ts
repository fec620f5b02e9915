/**
 * The cases of Linux's tools/testing/selftests/arm64/mte/check_hugetlb_options.c: PROT_MTE on huge pages, given to mmap or
 * added by mprotect, kept by an mprotect without it, and in a child of fork. The buffer is a whole huge page; it is filled
 * at every small page and around its ends, where the program fills every byte.
 */
import { describe, expect, it } from 'vitest';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import {
  GRANULE,
  type How,
  type Mode,
  type MteProcess,
  mteProcess,
  mteSystem,
  PAGE,
  tagOf,
} from './mte-process.ts';

const HUGE = 0x20_0000;
const MODE_WORDS = { sync: 'sync error', async: 'async error', none: 'no error' } as const;

const process = (): MteProcess => mteProcess(mteSystem(1, undefined, { hugepages2M: 4 }));

/** Tags at the start of every small page and over the last of them: of a page that is whole, each granule's is its own. */
function insertTags(each: MteProcess, address: bigint): bigint {
  const tagged = each.irg(address);
  for (let at = 0; at < HUGE; at += PAGE) each.setTags(tagged + BigInt(at), 4 * GRANULE);
  each.setTags(tagged + BigInt(HUGE - PAGE), PAGE);
  return tagged;
}

/** Stores where the tags are: none may fail. */
function fill(each: MteProcess, pointer: bigint): void {
  for (let at = 0; at < HUGE; at += PAGE) {
    expect(each.store(pointer + BigInt(at), 0x31)).toBe('stored');
    expect(each.store(pointer + BigInt(at + 4 * GRANULE - 1), 0x31)).toBe('stored');
  }
  expect(each.fill(pointer + BigInt(HUGE - PAGE), PAGE, 0x31)).toEqual({ stored: PAGE, signal: null });
  expect(each.asynchronousFaults()).toBe(0);
}

/** The granule behind the tagged ones of a page has another tag. */
function expectMismatch(each: MteProcess, pointer: bigint, mode: Mode, checked: boolean): void {
  const wrong = pointer + BigInt(4 * GRANULE);
  const outcome = each.store(wrong, 0x32);
  const reports = each.asynchronousFaults();
  const seen = wrong & ((1n << 56n) - 1n);
  const stopped = checked && mode === 'sync';
  expect(outcome).toBe(stopped ? `SEGV_MTESERR at 0x${seen.toString(16)}` : 'stored');
  expect(reports).toBe(checked && mode === 'async' ? 1 : 0);
}

type Case = readonly [mode: Mode, how: How, tagCheck: 'on' | 'off'];
const MAPPINGS: readonly Case[] = [
  ['sync', 'mmap', 'off'],
  ['none', 'mmap', 'off'],
  ['sync', 'mmap', 'on'],
  ['sync', 'mmap/mprotect', 'on'],
  ['async', 'mmap', 'on'],
  ['async', 'mmap/mprotect', 'on'],
];

describe('check_hugetlb_options', () => {
  it.each(
    MAPPINGS.map((each): [string, Case] => {
      const [mode, how, tagCheck] = each;
      return [
        `Check hugetlb memory with private mapping, ${MODE_WORDS[mode]} mode, ${how} memory and tag check ${tagCheck}`,
        each,
      ];
    }),
  )('%s', (_, [mode, how, tagCheck]) => {
    const each = process();
    each.switchMode(mode);
    each.setTco(tagCheck === 'off' && mode !== 'none');
    const pointer = insertTags(each, each.allocate(HUGE, { how, huge: true }));
    fill(each, pointer);
    expectMismatch(each, pointer, mode, tagCheck === 'on');
  });

  it.each<[string, How]>([
    ['Check clear PROT_MTE flags with private mapping, sync error mode and mmap memory', 'mmap'],
    [
      'Check clear PROT_MTE flags with private mapping and sync error mode and mmap/mprotect memory',
      'mmap/mprotect',
    ],
  ])('%s', (_, how) => {
    const each = process();
    each.switchMode('sync');
    const pointer = insertTags(each, each.allocate(HUGE, { how, huge: true }));
    each.protect(pointer & ((1n << 56n) - 1n), HUGE, PROT_READ | PROT_WRITE);
    fill(each, pointer);
    expectMismatch(each, pointer, 'sync', true);
  });

  it.each<[string, How, 'sync' | 'async']>([
    ['Check child hugetlb memory with private mapping, precise mode and mmap memory', 'mmap', 'sync'],
    [
      'Check child hugetlb memory with private mapping, precise mode and mmap memory (async)',
      'mmap',
      'async',
    ],
    [
      'Check child hugetlb memory with private mapping, precise mode and mmap/mprotect memory',
      'mmap/mprotect',
      'sync',
    ],
    [
      'Check child hugetlb memory with private mapping, precise mode and mmap/mprotect memory (async)',
      'mmap/mprotect',
      'async',
    ],
  ])('%s', (_, how, mode) => {
    const parent = process();
    parent.switchMode(mode);
    const pointer = insertTags(parent, parent.allocate(HUGE, { how, huge: true }));
    const child = parent.fork();
    fill(child, pointer);
    // The copy of the huge page has all its tags.
    for (let at = 0; at < HUGE; at += PAGE) expect(child.ldg(pointer + BigInt(at))).toBe(tagOf(pointer));
    expectMismatch(child, pointer, mode, true);
    expect(parent.bytes(pointer, 1)[0]).toBe(0);
    expect(parent.ldg(pointer)).toBe(tagOf(pointer));
    child.exit();
  });
});
