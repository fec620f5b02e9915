/** The explained walk: against the recorded outcome of every vector, and its text for chosen ones. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { ExplainedEntry, ExplainedWalk } from '../../../src/arch/explained-walk.ts';
import { readJsonLines } from '../../../src/conformance/jsonl.ts';
import { ARM64_VECTORS, Arm64VectorRunner } from '../../../src/conformance/verify/arm64-runner.ts';
import { parseArm64Vector } from '../../../src/conformance/verify/arm64-vector.ts';
import type { ExplainedVector } from '../../../src/conformance/verify/vector-runner.ts';
import { walkText } from '../../../src/report/walk-text.ts';

const FILE = new URL('../../vectors/arm64.jsonl.gz', import.meta.url).pathname;
const place = { file: 'arm64.jsonl' };

interface Recorded {
  readonly id: string;
  readonly labels: readonly string[];
  readonly insn?: string;
  readonly expect?: { readonly pa?: string; readonly fault?: { readonly esr: string; readonly far: string } };
}

let vectors: Recorded[] = [];
beforeAll(async () => {
  vectors = [];
  for await (const { value } of readJsonLines(FILE)) vectors.push(value as Recorded);
});

const explain = (vector: Recorded): ExplainedVector => ARM64_VECTORS.explain(vector, place);
const runner = new Arm64VectorRunner('profile');
/** On one machine for all, which is quicker. */
const walkOf = (vector: Recorded): ExplainedWalk =>
  runner.explain(parseArm64Vector(vector, place), 0, place) as ExplainedWalk;
const entries = ({ steps }: ExplainedWalk): ExplainedEntry[] =>
  steps.filter((step): step is ExplainedEntry => step.kind === 'entry');

/** One in so many vectors. */
const STRIDE = 17;
const accesses = (): Recorded[] =>
  vectors.filter(({ expect: outcome, insn }) => outcome !== undefined && insn === undefined);

describe('an explained walk', () => {
  it('ends as the vector was recorded', () => {
    const chosen = accesses().filter((_, index) => index % STRIDE === 0);
    expect(chosen.length).toBeGreaterThan(1300);
    for (const vector of chosen) {
      const { outcome } = walkOf(vector);
      if (outcome.kind === 'translation') {
        expect(outcome.physicalAddress, vector.id).toBe(BigInt(vector.expect?.pa ?? '0'));
      } else {
        expect(outcome.syndrome.value, vector.id).toBe(BigInt(vector.expect?.fault?.esr ?? '0'));
        expect(outcome.address?.value, vector.id).toBe(BigInt(vector.expect?.fault?.far ?? '0'));
      }
    }
  });

  it('says the start level and the first table that the walker uses', () => {
    const chosen = accesses().filter((_, index) => index % STRIDE === 1);
    let walked = 0;
    for (const vector of chosen) {
      const walk = walkOf(vector);
      const first = entries(walk)[0];
      if (first === undefined || first.address === null) continue;
      walked++;
      const [top] = walk.indices;
      expect(first.name, vector.id).toBe(`${top?.name} descriptor`);
      const table = first.address - 8n * BigInt(top?.index ?? 0);
      expect(
        walk.steps.map((step) => (step.kind === 'choice' ? step.text : '')).join('\n'),
        vector.id,
      ).toContain(`first table at 0x${table.toString(16)}:`);
    }
    expect(walked).toBeGreaterThan(1000);
  });

  it('gives a rule for every fault, and `allowed` for every translation', () => {
    for (const vector of accesses().filter((_, index) => index % STRIDE === 2)) {
      const { rules, outcome } = walkOf(vector);
      expect(rules.length, vector.id).toBeGreaterThan(0);
      if (outcome.kind === 'translation') expect(rules, vector.id).toContain('allowed');
      else expect(rules, vector.id).not.toContain('allowed');
    }
  });

  it('says what the tag check saw', () => {
    const failing = accesses().filter(({ labels }) => labels.includes('fault:tagCheck'));
    for (const vector of failing.slice(0, 20)) {
      expect(explain(vector).walk.rules.join('\n'), vector.id).toMatch(
        /tag check: logical tag \d+, Allocation Tags [\d ]+: they differ/,
      );
    }
  });

  it('walks what a tag instruction accesses, and names those that access nothing', () => {
    const store = vectors.find(({ insn, labels }) => insn === 'st2g' && labels.includes('ok')) as Recorded;
    expect(entries(explain(store).walk).length).toBeGreaterThan(0);
    const random = vectors.find(({ insn }) => insn === 'irg') as Recorded;
    expect(() => explain(random)).toThrow(/makes no access: expected a vector that does, found irg /);
  });

  it('of a step of a sequence that is no access is refused', () => {
    const sequence = vectors.find(({ id }) => id === 'arm64-200000') as Recorded;
    expect(() => ARM64_VECTORS.explain(sequence, place, 3)).toThrow(
      /makes no access at step 3: expected one of the accesses: 1, 5, 8, found TLBI VALE1/,
    );
    expect(ARM64_VECTORS.explain(sequence, place, 1)).toMatchObject({ step: 1, steps: 8 });
  });
});

/** By label: the first vector that has all of them. */
const GOLDEN: readonly (readonly [name: string, labels: readonly string[]])[] = [
  ['walk-arm64-page', ['granule4k', 'level3page', 'ok', 'hierarchical', 'ha', 'hd', 'write']],
  ['walk-arm64-lpa2', ['start-1', 'lpa2', 'granule4k', 'ok', 'read']],
  ['walk-arm64-16k-block', ['granule16k', 'level2block', 'ok', 'contiguous']],
  ['walk-arm64-64k', ['granule64k', 'level1block', 'ok']],
  ['walk-arm64-cross-page', ['crossPage', 'ok', 'write']],
  ['walk-arm64-fault-permission', ['fault:permission:3', 'pan', 'el1', 'read']],
  ['walk-arm64-fault-translation', ['fault:translation:0', 'e0pd', 'readUnpriv']],
  ['walk-arm64-fault-address-size', ['fault:addressSize:2']],
  ['walk-arm64-indirection', ['s1pie', 'fault:permission:3', 'wxn']],
  ['walk-arm64-tag-check', ['fault:tagCheck', 'crossGranule']],
  ['walk-arm64-tag-store', ['stzg', 'ok', 'tagged']],
  ['walk-arm64-sequence', ['tlbSeq', 'dirty']],
];

describe('the text of a walk', () => {
  it.each(GOLDEN)('%s', async (name, labels) => {
    const vector = vectors.find((candidate) => labels.every((label) => candidate.labels.includes(label)));
    expect(vector).toBeDefined();
    const { id, operation, walk, recorded } = explain(vector as Recorded);
    const text = `${id}: ${operation}\n\n${walkText(walk)}\n\nrecorded: ${recorded}\n`;
    await expect(text).toMatchFileSnapshot(`../../golden/${name}.txt`);
  });
});
