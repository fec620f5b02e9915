/** The whole recorded set, and proof that the comparison can fail. */
import { beforeAll, describe, expect, it } from 'vitest';
import { readJsonLines } from '../../../src/conformance/jsonl.ts';
import { verifyVectors } from '../../../src/conformance/verify/verify.ts';
import { X86VectorRunner } from '../../../src/conformance/verify/x86_64-runner.ts';

const FILE = new URL('../../vectors/x86_64.jsonl.gz', import.meta.url).pathname;

describe.each(['profile', 'adversarial', 'none'] as const)('TLB retention %s', (retention) => {
  it('passes all 20,480 recorded accesses and 2,217 sequences', async () => {
    const result = await verifyVectors([FILE], { retention });
    expect(result.failedIds).toEqual([]);
    expect(result.first).toBeNull();
    expect(result).toMatchObject({
      passed: 22_697,
      failed: 0,
      stopped: false,
    });
    expect(Object.fromEntries(result.kinds)).toEqual({
      'single accesses': { passed: 20_480, failed: 0 },
      sequences: { passed: 2_217, failed: 0 },
    });
    for (const tag of ['l4', 'la57', 'rsvd-ps1g', 'pks-wd', 'seq-pcid_flush', 'invpcid-gp']) {
      expect(result.tags.get(tag)?.passed, tag).toBeGreaterThan(0);
    }
  });
});

type Json = Record<string, unknown>;
type Pairs = [string, string][];

/** The step with which a mutation plays: the access of a single, or one step of a sequence. */
interface Recorded extends Json {
  expect: Json;
  memoryAfter: Pairs;
  memoryMay?: Pairs;
}

let vectors: Json[] = [];
beforeAll(async () => {
  vectors = [];
  for await (const { value } of readJsonLines(FILE)) vectors.push(value as Json);
});

const clone = (value: Json): Json => structuredClone(value);
const single = (wanted: (vector: Recorded) => boolean, count = 40): Recorded[] =>
  vectors
    .filter((vector) => vector['steps'] === undefined && wanted(vector as Recorded))
    .slice(0, count) as Recorded[];
const runner = new X86VectorRunner('profile');
const place = { file: 'x', line: 1 };
const flip = (text: string, bit: bigint): string => `0x${(BigInt(text) ^ (1n << bit)).toString(16)}`;
const fault = (vector: Recorded): Json => vector.expect['fault'] as Json;
const isPageFault = (vector: Recorded): boolean => fault(vector)?.['vector'] === 14;

interface Mutation {
  readonly name: string;
  readonly of: (vector: Recorded) => boolean;
  readonly spoil: (vector: Recorded) => void;
  readonly what: RegExp;
}

const MUTATIONS: readonly Mutation[] = [
  {
    name: 'one bit of the physical address',
    of: (vector) => vector.expect['pa'] !== undefined,
    spoil: ({ expect: outcome }) => {
      outcome['pa'] = flip(outcome['pa'] as string, 3n);
    },
    what: /^outcome$/,
  },
  {
    name: 'an address in place of a fault',
    of: isPageFault,
    spoil: (vector) => {
      vector.expect = { pa: '0x1000' };
    },
    what: /^outcome$/,
  },
  ...[0n, 1n, 2n, 3n, 4n, 5n].map((bit) => ({
    name: `bit ${bit} of the error code`,
    of: isPageFault,
    spoil: (vector: Recorded) => {
      fault(vector)['errorCode'] = flip(fault(vector)['errorCode'] as string, bit);
    },
    what: /^outcome$/,
  })),
  {
    name: 'CR2',
    of: isPageFault,
    spoil: (vector) => {
      fault(vector)['cr2'] = flip(fault(vector)['cr2'] as string, 0n);
    },
    what: /^outcome$/,
  },
  {
    name: 'CR2 missing',
    of: isPageFault,
    spoil: (vector) => {
      delete fault(vector)['cr2'];
    },
    what: /^outcome$/,
  },
  {
    name: '#GP in place of #SS',
    of: (vector) => fault(vector)?.['vector'] === 12,
    spoil: (vector) => {
      fault(vector)['vector'] = 13;
    },
    what: /^outcome$/,
  },
  {
    name: 'a changed entry that is not expected to change',
    of: (vector) => vector.memoryAfter.length > 0,
    spoil: (vector) => {
      vector.memoryAfter.pop();
    },
    what: /^entry 0x/,
  },
  {
    name: 'an unchanged entry that is expected to change',
    of: (vector) =>
      vector.memoryAfter.length === 0 && vector.memoryMay === undefined && vector['memory'] !== undefined,
    spoil: (vector) => {
      vector.memoryAfter.push(['0x100000', '0x20']);
    },
    what: /^entry 0x100000$/,
  },
  {
    name: 'another value of a changed entry',
    of: (vector) => vector.memoryAfter.length > 0,
    spoil: ({ memoryAfter: [first] }) => {
      (first as [string, string])[1] = flip((first as [string, string])[1], 60n);
    },
    what: /^entry 0x/,
  },
];

describe('a recorded answer that is spoiled makes the vector fail', () => {
  it.each(MUTATIONS)('$name', ({ of, spoil, what }) => {
    const chosen = single(of);
    expect(chosen.length).toBeGreaterThan(10);
    for (const vector of chosen) {
      const spoiled = clone(vector) as Recorded;
      spoil(spoiled);
      expect(runner.run(vector, place).difference, `${vector['id']}`).toBeNull();
      const { difference } = runner.run(spoiled, place);
      expect(difference?.mismatches.map((mismatch) => mismatch.what).join(), `${vector['id']}`).toMatch(what);
      expect(difference?.walk, `${vector['id']}`).not.toBeNull();
    }
  });

  it('an accessed flag that memoryMay does not allow', () => {
    // The model sets A as it passes an entry, so a fault below such an entry without memoryMay must fail.
    const chosen = single((vector) => (vector.memoryMay?.length ?? 0) > 1);
    const failed = chosen.filter((vector) => {
      const spoiled = clone(vector) as Recorded;
      delete spoiled.memoryMay;
      return runner.run(spoiled, place).difference !== null;
    });
    expect(failed.length).toBe(chosen.length);
  });

  it.each([
    { tag: 'wp', register: 'cr0', bit: 16n },
    { tag: 'smep', register: 'cr4', bit: 20n },
    { tag: 'smap', register: 'cr4', bit: 21n },
    { tag: 'pku-ad', register: 'cr4', bit: 22n },
    { tag: 'pks-ad', register: 'cr4', bit: 24n },
  ])(
    '$register bit $bit cleared where it was the only reason of a fault ($tag)',
    ({ tag, register, bit }) => {
      const tags = (vector: Recorded): string[] => vector['tags'] as string[];
      const chosen = single((vector) => tags(vector).includes(tag) && !tags(vector).includes('multi'));
      expect(chosen.length).toBeGreaterThan(10);
      for (const vector of chosen) {
        const spoiled = clone(vector);
        const cpu = spoiled['cpu'] as Record<string, string>;
        cpu[register] = flip(cpu[register] as string, bit);
        expect(runner.run(spoiled, place).difference, `${vector['id']}`).not.toBeNull();
      }
    },
  );
});

describe('sequences', () => {
  const sequences = (tag: string): Json[] =>
    vectors.filter((vector) => vector['steps'] !== undefined && (vector['tags'] as string[]).includes(tag));

  it.each([
    ['seq-remap', 'invlpg'],
    ['seq-large', 'invlpg'],
    ['seq-upper', 'invlpg'],
    ['seq-global', 'movcr4'],
    ['seq-invpcid', 'invpcid'],
    ['seq-pcid_flush', 'movcr3'],
  ])('of %s without their %s steps meet stale translations under adversarial retention', (tag, op) => {
    const adversarial = new X86VectorRunner('adversarial');
    const chosen = sequences(tag).filter((vector) =>
      (vector['steps'] as Json[]).some((step) => step['op'] === op),
    );
    const stale = chosen.filter((vector) => {
      const spoiled = clone(vector);
      if (op === 'movcr3') {
        // The switch stays, the flush goes: bit 63 of the operand.
        for (const step of spoiled['steps'] as Json[]) {
          if (step['op'] === op)
            step['value'] = `0x${(BigInt(step['value'] as string) | (1n << 63n)).toString(16)}`;
        }
      } else spoiled['steps'] = (spoiled['steps'] as Json[]).filter((step) => step['op'] !== op);
      return adversarial.run(spoiled, place).difference !== null;
    });
    expect(chosen.length).toBeGreaterThan(5);
    expect(stale.length).toBeGreaterThan(0);
  });

  it('leave nothing behind: a vector gives the same alone and after all the others', () => {
    const order = [...vectors].reverse();
    const reversed = new X86VectorRunner('profile');
    expect(order.filter((vector) => reversed.run(vector, place).difference !== null)).toEqual([]);
  });
});
