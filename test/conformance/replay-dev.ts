/**
 * Replays traces from the command line while the kernel is being worked on:
 * `npx tsx test/conformance/replay-dev.ts FILE [PART-OF-ID …]`; the first difference of each failed trace in full.
 */
import { architectureNamed } from '../../src/arch/registry.ts';
import { architectureOfTrace } from '../../src/conformance/replay/architecture.ts';
import { formatDifference } from '../../src/conformance/replay/compare.ts';
import { replayTrace } from '../../src/conformance/replay/run.ts';
import { readTraces } from '../../src/conformance/replay/trace.ts';

const [file = 'test/traces/directed-x86_64.jsonl.gz', ...only] = process.argv.slice(2);
const counts = { passed: 0, failed: 0, unsupported: 0 };
for await (const trace of readTraces(file)) {
  if (only.length > 0 && !only.some((part) => trace.id.includes(part))) continue;
  const architecture = architectureNamed(architectureOfTrace(trace));
  const outcome = replayTrace(trace, { architecture });
  counts[outcome.kind]++;
  if (outcome.kind === 'passed') console.log(`passed      ${trace.id} ${trace.rule}`);
  if (outcome.kind === 'unsupported') console.log(`unsupported ${trace.id} ${outcome.missing.join(', ')}`);
  if (outcome.kind === 'failed') {
    console.log(`FAILED      ${trace.id} ${trace.rule}`);
    for (const line of formatDifference(outcome.difference)) console.log(`    ${line}`);
  }
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.unsupported} unsupported`);
