/** What `tablewalk replay` prints: the first difference in full, what is not built, and the closing line. */
import { architectureOfTrace } from '../conformance/replay/architecture.ts';
import type { Difference } from '../conformance/replay/compare.ts';
import type { TraceOutcome } from '../conformance/replay/run.ts';
import type { Step, StepResult, Trace } from '../conformance/replay/trace.ts';
import type { ReplayOptions } from '../conformance/replay/world.ts';
import { EventCollector } from '../hardware/event-sink.ts';
import { type TimelineOptions, timelineText } from './timeline-text.ts';

/** Counts of a replay; `unsupported` traces are never among the passed. */
export class ReplayCount {
  passed = 0;
  failed = 0;
  unsupported = 0;
  /** Missing operation or flag → traces that need it. */
  readonly missing = new Map<string, number>();

  add(outcome: TraceOutcome): void {
    this[outcome.kind] += 1;
    if (outcome.kind !== 'unsupported') return;
    for (const name of outcome.missing) this.missing.set(name, (this.missing.get(name) ?? 0) + 1);
  }
}

/** One line for one trace. */
export function outcomeLine(outcome: TraceOutcome): string {
  const { id, rule } = outcome.trace;
  const sentence = rule === '' ? '' : `  ${rule}`;
  if (outcome.kind === 'unsupported') return `unsupported  ${id}  needs ${outcome.missing.join(', ')}`;
  return `${outcome.kind.padEnd(11)}  ${id}${sentence}`;
}

/** A failed trace: its step, what was expected and what came. */
export function replayDifferenceText(trace: Trace, difference: Difference): string {
  const { step, process, field, expected, got, notes } = difference;
  const whose = process === undefined ? '' : ` of process ${process}`;
  return [
    `${trace.id} (${trace.file}:${trace.line})${trace.rule === '' ? '' : `: ${trace.rule}`}`,
    `  step ${step.index + 1} of ${trace.steps.length}: ${stepText(step)}`,
    `  the ${field}${whose} ${field.endsWith('s') && field !== 'rss' ? 'differ' : 'differs'}:`,
    ...sideBySide(expected, got).map((line) => `    ${line}`),
    ...notes.map((note) => `    ${note}`),
  ].join('\n');
}

/** `mmap(addr=0x…, len=0x2000) by 1`. */
function stepText({ op, pid, by, args }: Step): string {
  const caller =
    by === undefined
      ? `process ${pid}`
      : `process ${pid}, by ${by === 0 ? 'the supervisor' : `process ${by}`}`;
  return `${op}(${args}) in ${caller}`;
}

/** Two lists of lines beside each other; `≠` marks the lines that differ. */
function sideBySide(expected: readonly string[], got: readonly string[]): string[] {
  const rows = Array.from({ length: Math.max(expected.length, got.length) }, (_, at) => [
    expected[at] ?? '(none)',
    got[at] ?? '(none)',
  ]) as [string, string][];
  const width = Math.max('expected'.length, ...rows.map(([left]) => left.length));
  return [
    `  ${'expected'.padEnd(width)}  got`,
    ...rows.map(([left, right]) => `${left === right ? ' ' : '≠'} ${left.padEnd(width)}  ${right}`),
  ];
}

/** Missing pieces by how many traces need them, and the closing line. */
export function replayClosing(count: ReplayCount, stopped: boolean): string {
  const lines: string[] = [];
  if (count.missing.size > 0) {
    const names = [...count.missing].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
    lines.push(`not built: ${names.map(([name, traces]) => `${name} (${traces})`).join(', ')}`);
  }
  const rest = count.unsupported > 0 ? `, ${count.unsupported} unsupported` : '';
  lines.push(`${count.passed} passed, ${count.failed} failed${rest}${stopped ? ' (stopped early)' : ''}`);
  return `${lines.join('\n')}\n`;
}

/** Records what a replay did, step by step: pass `options` to the replay, then this to `stepsText`. */
export class StepRecorder {
  readonly events = new EventCollector();
  readonly steps: { readonly step: Step; readonly result: StepResult; readonly eventsBefore: number }[] = [];

  get options(): Pick<ReplayOptions, 'events' | 'onStep'> {
    return {
      events: this.events,
      onStep: (step, result) => {
        this.steps.push({ step, result, eventsBefore: this.events.events.length });
      },
    };
  }
}

/** A trace as it was replayed: each step, what the machine did in it, and its result. */
export function stepsText(
  outcome: TraceOutcome,
  recorder: StepRecorder,
  options: Omit<TimelineOptions, 'cpus' | 'arch'> = {},
): string {
  const { trace } = outcome;
  const arch = architectureOfTrace(trace);
  const lines = [
    `${trace.id}${trace.rule === '' ? '' : `: ${trace.rule}`}`,
    `recorded on Linux ${trace.kernel}`,
    '',
  ];
  let from = 0;
  for (const { step, result, eventsBefore } of recorder.steps) {
    lines.push(`${String(step.index + 1).padStart(3)}  ${stepText(step)}`);
    // Each step is a task of its own: that it starts and ends says nothing.
    const of = recorder.events.events.slice(from, eventsBefore);
    const events = timelineText(of, { ...options, cpus: 1, arch, tasks: false });
    lines.push(
      ...events
        .split('\n')
        .slice(1)
        .map((line) => `     ${line}`),
    );
    lines.push(`     = ${resultText(result)}`);
    from = eventsBefore;
  }
  lines.push('', outcomeLine(outcome), '');
  return lines.join('\n');
}

const resultText = (result: StepResult): string =>
  Object.entries(result)
    .map(([key, value]) => `${key} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');

/** One documented object for `--json`: counts, and for each trace its outcome. */
export function replayJson(outcomes: readonly TraceOutcome[], count: ReplayCount, stopped: boolean): object {
  const { passed, failed, unsupported, missing } = count;
  return {
    passed,
    failed,
    unsupported,
    stopped,
    missing,
    traces: outcomes.map((outcome) => {
      const { id, rule } = outcome.trace;
      if (outcome.kind === 'unsupported')
        return { id, rule, outcome: outcome.kind, missing: outcome.missing };
      if (outcome.kind === 'passed') return { id, rule, outcome: outcome.kind };
      const { step, process, field, expected, got, notes } = outcome.difference;
      const difference = {
        step: step.index + 1,
        operation: stepText(step),
        process,
        field,
        expected,
        got,
        notes,
      };
      return { id, rule, outcome: outcome.kind, difference };
    }),
  };
}
