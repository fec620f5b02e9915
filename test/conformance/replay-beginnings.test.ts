/**
 * Most random scripts use a call that is not built somewhere. Up to there they are as good as any other: each is cut
 * before its first such step and replayed, so that nothing recorded is left unused.
 */
import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import { formatDifference } from '../../src/conformance/replay/compare.ts';
import { replayTrace } from '../../src/conformance/replay/run.ts';
import { readTraces, type Trace } from '../../src/conformance/replay/trace.ts';

const architecture = architectureNamed('x86_64');

/** Steps of the longest beginning that needs nothing that is not built; it is replayed and must not differ. */
function replayedSteps(trace: Trace): number {
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
    // [file, scripts, steps that are replayed at least: fewer is a regression]
    ['test/traces/directed-x86_64.jsonl.gz', 101, 700],
    ['test/traces/public-x86_64.jsonl.gz', 1500, 9000],
  ])('%s gives what the real kernel gave', async (file, scripts, least) => {
    let count = 0;
    let steps = 0;
    for await (const trace of readTraces(file)) {
      count += 1;
      steps += replayedSteps(trace);
    }
    expect(count).toBe(scripts);
    expect(steps).toBeGreaterThanOrEqual(least);
  });
});
