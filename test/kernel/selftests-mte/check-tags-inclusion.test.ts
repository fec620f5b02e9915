/**
 * The cases of Linux's tools/testing/selftests/arm64/mte/check_tags_inclusion.c: IRG gives the tags that the include mask
 * of prctl allows and no others, and memory tagged so is checked.
 */
import { describe, expect, it } from 'vitest';
import { GRANULE, type MteProcess, mteProcess, tagOf } from './mte-process.ts';

const BUFFER = 5 * GRANULE;
const TAGS = 16;
const RUNS = 2 * TAGS;

/** Fills the buffer with its own pointer, then steps over its end: one must pass, the other not. */
function checkPointer(process: MteProcess, pointer: bigint): void {
  expect(process.fill(pointer, BUFFER, 0x31)).toEqual({ stored: BUFFER, signal: null });
  if (tagOf(pointer) === 0) return;
  expect(process.store(pointer + BigInt(BUFFER), 0x32)).toMatch(/^SEGV_MTESERR at /);
}

function check(include: number, process: MteProcess, base: bigint): Set<number> {
  process.switchMode('sync', include);
  const seen = new Set<number>();
  let pointer = base;
  for (let run = 0; run < RUNS; run++) {
    pointer = process.insertTags(pointer, BUFFER);
    seen.add(tagOf(pointer));
    checkPointer(process, pointer);
  }
  return seen;
}

describe('check_tags_inclusion', () => {
  const begin = (): [MteProcess, bigint] => {
    const process = mteProcess();
    return [process, process.allocate(BUFFER + GRANULE, { how: 'mmap' })];
  };

  it('Check an included tag value with sync mode', () => {
    const [process, base] = begin();
    for (let tag = 0; tag < TAGS; tag++) {
      const seen = check(0xffff & ~(1 << tag), process, base);
      expect(seen).not.toContain(tag);
      expect(seen.size).toBeGreaterThan(4);
    }
  });

  it('Check different included tags value with sync mode', () => {
    const [process, base] = begin();
    for (let tag = 0; tag < TAGS - 1; tag++) {
      for (const seen of check(0xffff & ~((2 << tag) - 1), process, base)) expect(seen).toBeGreaterThan(tag);
    }
  });

  it('Check none included tags value with sync mode', () => {
    const [process, base] = begin();
    expect([...check(0, process, base)]).toEqual([0]);
  });

  it('Check all included tags value with sync mode', () => {
    const [process, base] = begin();
    expect(check(0xffff, process, base).size).toBeGreaterThan(8);
  });
});
