import { describe, expect, it } from 'vitest';
import { EntryMemory } from '../../../src/conformance/verify/entry-memory.ts';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';

const list = (...pairs: readonly (readonly [number, number])[]): Int32Array =>
  Int32Array.from(pairs.flatMap(([address, value]) => [0, address, 0, value]));
const NONE = list();

function prepared(): { memory: PhysicalMemory; entries: EntryMemory } {
  const memory = new PhysicalMemory();
  memory.addRegion(0n, 1n << 40n);
  const entries = new EntryMemory(memory);
  entries.load(list([0x1000, 0x01], [0x2000, 0x02], [0x3000, 0x03]));
  return { memory, entries };
}

describe('entries after a step', () => {
  it('that did not change are right when none was to change', () => {
    expect(prepared().entries.compare(NONE, NONE)).toBeUndefined();
  });

  it.each([
    { set: [], right: true },
    { set: [0x1000], right: true },
    { set: [0x2000], right: true },
    { set: [0x1000, 0x2000], right: true },
    { set: [0x3000], right: false },
    { set: [0x1000, 0x3000], right: false },
  ])(
    'of memoryMay {0x1000, 0x2000}: any subset may have changed; changing $set is right: $right',
    ({ set, right }) => {
      const { memory, entries } = prepared();
      for (const address of set) memory.write64(0, address, 0, (address >> 12) | 0x20);
      const wrong = entries.compare(NONE, list([0x1000, 0x21], [0x2000, 0x22]));
      expect(wrong === undefined).toBe(right);
    },
  );

  it('must hold the value of memoryAfter, not the old one', () => {
    const { entries } = prepared();
    expect(entries.compare(list([0x1000, 0x21]), NONE)).toEqual([
      { what: 'entry 0x1000', expected: '0x21', got: '0x1' },
    ]);
  });

  it('are compared with what was there just before the step, whichever updates an earlier step chose', () => {
    const { memory, entries } = prepared();
    memory.write64(0, 0x1000, 0, 0x21);
    expect(entries.compare(NONE, list([0x1000, 0x21]))).toBeUndefined();
    expect(entries.compare(NONE, NONE)).toBeUndefined();
    memory.write64(0, 0x1000, 0, 0x01);
    expect(entries.compare(NONE, NONE)).toEqual([{ what: 'entry 0x1000', expected: '0x21', got: '0x1' }]);
  });

  it('include entries that a step stored to, and all are zero after clear', () => {
    const { memory, entries } = prepared();
    memory.write64(0, 0x9000, 5, 6);
    entries.stored(0, 0x9000, 5, 6);
    expect(entries.compare(NONE, NONE)).toBeUndefined();
    memory.write64(0, 0x9000, 5, 7);
    expect(entries.compare(NONE, NONE)).toEqual([
      { what: 'entry 0x9000', expected: '0x500000006', got: '0x500000007' },
    ]);
    entries.clear();
    for (const address of [0x1000n, 0x2000n, 0x3000n, 0x9000n]) expect(memory.readWord(address)).toBe(0n);
  });

  it('may be more than a hundred', () => {
    const { entries } = prepared();
    const many = list(...Array.from({ length: 200 }, (_, at) => [0x10000 + at * 8, at + 1] as const));
    entries.load(many);
    expect(entries.compare(NONE, NONE)).toBeUndefined();
  });
});
