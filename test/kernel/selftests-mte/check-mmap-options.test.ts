/**
 * The cases of Linux's tools/testing/selftests/arm64/mte/check_mmap_options.c: PROT_MTE given to mmap or added by
 * mprotect, on anonymous and tmpfs memory, private and shared; PSTATE.TCO; and mprotect without PROT_MTE, which does not
 * take it away. Each case runs for nine sizes.
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
  roundUp,
} from './mte-process.ts';

const SIZES = [1, 537, 989, 1269, GRANULE - 1, GRANULE, PAGE - 1, PAGE, PAGE + 1];

type Memory = 'anonymous memory' | 'file memory' | 'clear PROT_MTE flags';
type Mapping = 'private' | 'shared';
type TagCheck = 'on' | 'off';
type Case = readonly [memory: Memory, mapping: Mapping, mode: Mode, how: How, tagCheck: TagCheck];

const MODE_WORDS = { sync: 'sync error', async: 'async error', none: 'no error' } as const;

function nameOf(
  [memory, mapping, mode, how, tagCheck]: Case,
  addressTag: boolean,
  storeOnly: boolean,
): string {
  const tag = `${addressTag ? 'with' : 'without'} address tag [63:60]${storeOnly ? ' / store-only' : ''}`;
  return `Check ${memory} with ${mapping} mapping, ${MODE_WORDS[mode]} mode, ${how} memory and tag check ${tagCheck} (${tag})`;
}

const HOWS: readonly How[] = ['mmap', 'mmap/mprotect'];
const MAPPINGS: readonly Mapping[] = ['private', 'shared'];
const MODES: readonly Mode[] = ['sync', 'async'];

const checked = (memory: Memory, modes: readonly Mode[] = MODES): Case[] =>
  modes.flatMap((mode) =>
    MAPPINGS.flatMap((mapping) => HOWS.map((how): Case => [memory, mapping, mode, how, 'on'])),
  );
const cleared: readonly Case[] = HOWS.map((how) => ['clear PROT_MTE flags', 'private', 'sync', how, 'on']);
/** Those that the program also has for pointers with bits 63:60. */
const withAddressTag: readonly Case[] = [
  ...checked('anonymous memory', ['sync']),
  ...checked('file memory', ['sync']),
  ['file memory', 'private', 'async', 'mmap', 'on'],
];

/** What an access beside the buffer comes to, in the mode and with tag checks on or off. */
function expectBeside(process: MteProcess, pointer: bigint, mode: Mode, tagCheck: TagCheck): void {
  const outcome = process.store(pointer, 0x32);
  const reports = process.asynchronousFaults();
  const fails = tagCheck === 'on';
  // A handler that asks for them sees the tag bits that the program used.
  const seen = process.exposeTagBits ? pointer : pointer & ((1n << 56n) - 1n);
  const expected = fails && mode === 'sync' ? `SEGV_MTESERR at 0x${seen.toString(16)}` : 'stored';
  expect({ outcome, reports }).toEqual({ outcome: expected, reports: fails && mode === 'async' ? 1 : 0 });
}

function checkMemory(
  process: MteProcess,
  pointer: bigint,
  size: number,
  mode: Mode,
  tagCheck: TagCheck,
): void {
  expect(process.fill(pointer, size, 0x31)).toEqual({ stored: size, signal: null });
  expect(process.asynchronousFaults()).toBe(0);
  expectBeside(process, pointer - 1n, mode, tagCheck);
  expectBeside(process, pointer + BigInt(roundUp(size, GRANULE)), mode, tagCheck);
}

const AROUND = { before: GRANULE, after: 2 * GRANULE };

/** How the process, and the pointer that it uses, differ from the usual. */
interface Variant {
  readonly tco?: boolean;
  /** Bits 63:60 of the pointer are not 0, and the handler asks for them. */
  readonly addressTag?: boolean;
}

const ADDRESS_TAG = 0xan << 60n;
const addressTagOf = ({ addressTag = false }: Variant): bigint => (addressTag ? ADDRESS_TAG : 0n);

/** FEAT_MTE_TAGGED_FAR, where address tags matter: without it these bits of FAR_EL1 are UNKNOWN. */
function variantProcess({ tco = false, addressTag = false }: Variant): MteProcess {
  const process = addressTag ? mteProcess(mteSystem(1, 'arm64-recorded')) : mteProcess();
  process.exposeTagBits = addressTag;
  process.setTco(tco);
  return process;
}

/** Tags go in after the mapping is there: only memory with PROT_MTE keeps them. */
function runMapping([memory, mapping, mode, how, tagCheck]: Case, variant: Variant = {}): void {
  const process = variantProcess(variant);
  process.switchMode(mode);
  for (const size of SIZES) {
    const file = memory === 'file memory';
    const address = process.allocate(size, { how, shared: mapping === 'shared', file, ...AROUND });
    const pointer = process.insertTags(address, size);
    checkMemory(process, pointer | addressTagOf(variant), size, mode, tagCheck);
  }
}

/** mprotect without PROT_MTE succeeds and leaves the tags and their checks as they are. */
function runCleared([, mapping, mode, how, tagCheck]: Case, variant: Variant = {}): void {
  const process = variantProcess(variant);
  process.switchMode(mode);
  for (const size of SIZES) {
    for (const file of [false, true]) {
      const shared = mapping === 'shared';
      const pointer = process.allocate(size, { how, shared, file, tags: true, ...AROUND });
      process.protect(pointer & ((1n << 56n) - 1n), size, PROT_READ | PROT_WRITE);
      checkMemory(process, pointer | addressTagOf(variant), size, mode, tagCheck);
    }
  }
}

const rows = (cases: readonly Case[], addressTag = false): [string, Case][] =>
  cases.map((each): [string, Case] => [nameOf(each, addressTag, false), each]);

describe('check_mmap_options: PSTATE.TCO set', () => {
  it.each(
    rows([
      ['anonymous memory', 'private', 'sync', 'mmap', 'off'],
      ['file memory', 'private', 'sync', 'mmap/mprotect', 'off'],
    ]),
  )('%s', (_, each) => runMapping(each, { tco: true }));
});

describe('check_mmap_options: no mode', () => {
  it.each(
    rows([
      ['anonymous memory', 'private', 'none', 'mmap', 'off'],
      ['file memory', 'private', 'none', 'mmap/mprotect', 'off'],
    ]),
  )('%s', (_, each) => runMapping(each));
});

describe('check_mmap_options: tag checks on', () => {
  it.each(rows(checked('anonymous memory')))('%s', (_, each) => runMapping(each));
  it.each(rows(checked('file memory')))('%s', (_, each) => runMapping(each));
  it.each(rows(cleared))('%s', (_, each) => runCleared(each));
});

describe('check_mmap_options: pointers with bits 63:60, a handler that asks for them (SA_EXPOSE_TAGBITS)', () => {
  it.each(rows(withAddressTag, true))('%s', (_, each) => runMapping(each, { addressTag: true }));
  it.each(rows(cleared, true))('%s', (_, each) => runCleared(each, { addressTag: true }));
});

const STORE_ONLY =
  'needs FEAT_MTE_STORE_ONLY (HWCAP3_MTE_STORE_ONLY), which the modelled processors do not have; skipped there too';

const NOT_APPLICABLE: readonly [string, string][] = [
  ...[...checked('anonymous memory'), ...checked('file memory')].map((each): [string, string] => [
    nameOf(each, false, true),
    STORE_ONLY,
  ]),
  ...withAddressTag.map((each): [string, string] => [nameOf(each, true, true), STORE_ONLY]),
];

describe('check_mmap_options: cases that do not apply', () => {
  it.skip.each(NOT_APPLICABLE)('%s: does not apply: %s', () => {});

  it('are all of the 58 that have no row above', () => {
    const plain = checked('anonymous memory').length + checked('file memory').length + cleared.length;
    const run = 2 + 2 + plain + withAddressTag.length + cleared.length;
    expect(run + NOT_APPLICABLE.length).toBe(58);
    expect(new Set(NOT_APPLICABLE.map(([name]) => name)).size).toBe(NOT_APPLICABLE.length);
  });
});
