/**
 * Most random scripts use a call that is not built somewhere. Up to there they are as good as any other: each is cut
 * before its first such step and replayed, so that nothing recorded is left unused.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import { architectureOfTrace } from '../../src/conformance/replay/architecture.ts';
import { formatDifference } from '../../src/conformance/replay/compare.ts';
import { replayTrace } from '../../src/conformance/replay/run.ts';
import { readTraces, type Trace } from '../../src/conformance/replay/trace.ts';

/** Steps of the longest beginning that needs nothing that is not built; it is replayed and must not differ. */
function replayedSteps(trace: Trace): number {
  const architecture = architectureNamed(architectureOfTrace(trace));
  let part = trace;
  for (;;) {
    const outcome = replayTrace(part, { architecture });
    if (outcome.kind === 'passed') return part.steps.length;
    if (outcome.kind === 'failed')
      expect.fail(`${trace.id}: ${formatDifference(outcome.difference).join('\n')}`);
    part = { ...trace, steps: trace.steps.slice(0, outcome.firstStep) };
  }
}

describe('every recorded script, up to its first call that is not built', () => {
  it.each([
    // The README says these figures. Fewer whole scripts or steps are a regression; with more, both are to be changed.
    { file: 'test/traces/directed-x86_64.jsonl.gz', scripts: 101, whole: 57, steps: 739, allSteps: 1163 },
    { file: 'test/traces/public-x86_64.jsonl.gz', scripts: 1500, whole: 47, steps: 9407, allSteps: 37_490 },
    { file: 'test/traces/directed-arm64.jsonl.gz', scripts: 101, whole: 57, steps: 739, allSteps: 1163 },
    { file: 'test/traces/public-arm64.jsonl.gz', scripts: 300, whole: 21, steps: 2212, allSteps: 7521 },
    { file: 'test/traces/arm64-mte.jsonl.gz', scripts: 94, whole: 67, steps: 933, allSteps: 1118 },
  ])('$file gives what the real kernel gave', async ({ file, ...expected }) => {
    const counted = { scripts: 0, whole: 0, steps: 0, allSteps: 0 };
    for await (const trace of readTraces(file)) {
      const steps = replayedSteps(trace);
      counted.scripts += 1;
      counted.whole += steps === trace.steps.length ? 1 : 0;
      counted.steps += steps;
      counted.allSteps += trace.steps.length;
    }
    expect(counted).toEqual(expected);
    const readme = readFileSync('README.md', 'utf8').replace(/\s+/g, ' ');
    const said = (part: number, all: number) =>
      `${part.toLocaleString('en-US')} of ${all.toLocaleString('en-US')}`;
    expect(readme).toContain(said(counted.whole, counted.scripts));
    expect(readme).toContain(said(counted.steps, counted.allSteps));
  });
});
