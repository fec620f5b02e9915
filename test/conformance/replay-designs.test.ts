/** Recorded scripts with remote accesses, under each design that was proposed: the results are those of a real kernel. */
import { describe, expect, it } from 'vitest';
import { architectureNamed } from '../../src/arch/registry.ts';
import { architectureOfTrace } from '../../src/conformance/replay/architecture.ts';
import { formatDifference } from '../../src/conformance/replay/compare.ts';
import { replayTrace } from '../../src/conformance/replay/run.ts';
import { readTraces, type Trace } from '../../src/conformance/replay/trace.ts';

const FILES = ['directed-x86_64', 'directed-arm64', 'arm64-mte'];
const DESIGNS = ['v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const;
/** Operations that reach into another process. */
const REMOTE = /^(pt_|pvm_|mem_|cmdline$|environ$)/;

describe.each(FILES)('remote accesses of %s', async (file) => {
  const traces: Trace[] = [];
  for await (const trace of readTraces(`test/traces/${file}.jsonl.gz`)) {
    if (trace.steps.some(({ op }) => REMOTE.test(op))) traces.push(trace);
  }

  it('are there', () => {
    expect(traces.length).toBeGreaterThan(10);
  });

  it.each(DESIGNS)('give under %s what was recorded', (design) => {
    for (const trace of traces) {
      const architecture = architectureNamed(architectureOfTrace(trace));
      const outcome = replayTrace(trace, { architecture, design });
      const text = outcome.kind === 'failed' ? formatDifference(outcome.difference).join('\n') : outcome.kind;
      expect(`${trace.id} ${text}`).toBe(`${trace.id} passed`);
    }
  });
});
