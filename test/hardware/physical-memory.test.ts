import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PhysicalMemory } from '../../src/hardware/physical-memory.ts';

const MIB = 1n << 20n;

function memoryOf(...regions: readonly (readonly [bigint, bigint])[]): PhysicalMemory {
  const memory = new PhysicalMemory();
  for (const [base, bytes] of regions) memory.addRegion(base, bytes);
  return memory;
}

describe('PhysicalMemory', () => {
  it.each([
    ['the first word of a region', 0x10_0000n, true],
    ['the last word of a region', 0x2f_fff8n, true],
    ['the word before a region', 0x0f_fff8n, false],
    ['the word after a region', 0x30_0000n, false],
    ['a word of a distant region', (1n << 51n) + 8n, true],
    ['the last word of the 52-bit space', (1n << 52n) - 8n, false],
  ])('%s is there: 0x%s %s', (_, address, there) => {
    const memory = memoryOf([0x10_0000n, 2n * MIB], [1n << 51n, MIB]);
    expect(memory.readWord(address)).toBe(there ? 0n : undefined);
    expect(memory.writeWord(address, 0x0123_4567_89ab_cdefn)).toBe(there);
    expect(memory.readWord(address)).toBe(there ? 0x0123_4567_89ab_cdefn : undefined);
  });

  it('answers a region edge inside a chunk the same after neighbouring words were used', () => {
    const memory = memoryOf([0n, 0x5000n]);
    memory.writeWord(0x4ff8n, 1n);
    expect(memory.readWord(0x4ff8n)).toBe(1n);
    expect(memory.readWord(0x5000n)).toBeUndefined();
    expect(memory.writeWord(0x5000n, 1n)).toBe(false);
    expect(memory.selectTable(0, 0x5000)).toBe(false);
  });

  it.each([
    ['not aligned', 0x800n, 0x1000n],
    ['empty', 0x1000n, 0n],
    ['beyond 52 bits', (1n << 52n) - 0x1000n, 0x2000n],
    ['overlapping', 0x1000n, 0x2000n],
  ])('refuses a region that is %s', (_, base, bytes) => {
    const memory = memoryOf([0x2000n, 0x1000n]);
    expect(() => memory.addRegion(base, bytes)).toThrow(RangeError);
  });

  it('joins regions that touch', () => {
    expect(memoryOf([0x2000n, 0x1000n], [0x1000n, 0x1000n]).regions).toEqual([{ first: 1, end: 3 }]);
  });
});

describe('what PhysicalMemory keeps', () => {
  it('keeps nothing for memory that was only read', () => {
    const memory = memoryOf([0n, 1n << 40n]);
    expect(memory.readWord(0x12_3456_7000n)).toBe(0n);
    expect(memory.chunkCount).toBe(0);
  });

  it('gives memory back when the last frame of a chunk is released', () => {
    const memory = memoryOf([0n, 1n << 40n]);
    memory.writeWord(0x1000n, 1n);
    memory.writeWord(0x2000n, 2n);
    memory.releaseFrame(1);
    expect(memory.chunkCount).toBe(1);
    memory.releaseFrame(2);
    expect(memory.chunkCount).toBe(0);
    expect(memory.readWord(0x2000n)).toBe(0n);
    memory.writeWord(0x40_0000n, 3n);
    expect(memory.readWord(0x40_1000n), 'a chunk that is used again is zero').toBe(0n);
  });

  it('clears everything and keeps its regions', () => {
    const memory = memoryOf([0n, 1n << 40n]);
    for (let i = 0n; i < 40n; i++) memory.writeWord(i << 22n, i + 1n);
    memory.clear();
    expect(memory.chunkCount).toBe(0);
    for (let i = 0n; i < 40n; i++) expect(memory.readWord(i << 22n)).toBe(0n);
  });

  it('refuses bytes that cross a frame', () => {
    expect(() => memoryOf([0n, MIB]).readBytes(0, 4090, new Uint8Array(8))).toThrow(RangeError);
  });
});

/** Frames in three chunks, one of them half outside the region. */
const frame = fc.constantFrom(0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 2050);
const operation = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    frame,
    word: fc.nat(511),
    value: fc.bigInt(0n, (1n << 64n) - 1n),
  }),
  fc.record({
    kind: fc.constant('bytes' as const),
    frame,
    offset: fc.nat(4090),
    bytes: fc.uint8Array({ maxLength: 6 }),
  }),
  fc.record({ kind: fc.constant('copy' as const), frame, to: frame }),
  fc.record({ kind: fc.constant('zero' as const), frame }),
);

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;
const END = 2050;

/** Frames as plain byte arrays. */
class Model {
  readonly frames = new Map<number, Uint8Array>();
  page(frame: number): Uint8Array {
    const bytes = this.frames.get(frame) ?? new Uint8Array(4096);
    this.frames.set(frame, bytes);
    return bytes;
  }
}

/** Does a step in both. @returns what the memory answered and what the model says it should have */
function apply(memory: PhysicalMemory, model: Model, step: Operation): readonly [boolean, boolean] {
  const inside = step.frame < END;
  const page = inside ? model.page(step.frame) : new Uint8Array(4096);
  switch (step.kind) {
    case 'write':
      new DataView(page.buffer).setBigUint64(step.word * 8, step.value, true);
      return [memory.writeWord(BigInt(step.frame * 4096 + step.word * 8), step.value), inside];
    case 'bytes':
      page.set(step.bytes, step.offset);
      return [memory.writeBytes(step.frame, step.offset, step.bytes), inside];
    case 'copy':
      if (inside && step.to < END) model.page(step.to).set(page.slice());
      return [memory.copyFrame(step.frame, step.to), inside && step.to < END];
    case 'zero':
      page.fill(0);
      return [memory.zeroFrame(step.frame), inside];
  }
}

describe('PhysicalMemory as a whole', () => {
  it('behaves as a map from byte addresses to bytes', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
        const memory = memoryOf([0n, BigInt(END) * 4096n]);
        const model = new Model();
        for (const step of operations) {
          const [answered, expected] = apply(memory, model, step);
          expect(answered).toBe(expected);
        }
        for (const [frame, bytes] of model.frames) {
          const got = new Uint8Array(4096);
          memory.readBytes(frame, 0, got);
          expect(got.every((byte, i) => byte === bytes[i])).toBe(true);
          const word = new DataView(bytes.buffer).getBigUint64(8, true);
          expect(memory.readWord(BigInt(frame) * 4096n + 8n)).toBe(word);
        }
      }),
    );
  });
});

describe('words given as bigint', () => {
  const memory = new PhysicalMemory();
  memory.addRegion(0n, 1n << 20n);

  it.each([
    ['an address that is no multiple of 8', () => memory.writeWord(0x1001n, 0n)],
    ['an address that is no multiple of 8, read', () => memory.readWord(0x1004n)],
    ['a value of 65 bits', () => memory.writeWord(0x1000n, 1n << 64n)],
    ['a negative value', () => memory.writeWord(0x1000n, -1n)],
  ])('%s is refused, not cut or rounded', (_, attempt) => {
    expect(attempt).toThrow(RangeError);
    expect(memory.readWord(0x1000n)).toBe(0n);
  });
});
