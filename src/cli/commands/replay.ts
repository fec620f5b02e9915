/** `tablewalk replay`: recorded kernel traces, step by step, against the memory manager. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import type { TraceOutcome } from '../../conformance/replay/run.ts';
import type { Trace } from '../../conformance/replay/trace.ts';
import type { Retention } from '../../hardware/retention.ts';
import { architectureOption } from '../architecture.ts';
import { jsonText } from '../json.ts';
import { namePattern } from '../name-pattern.ts';
import { exclusive, oneOf } from '../option-values.ts';
import { eventPaint } from '../paint.ts';
import type { Session } from '../session.ts';

interface Options {
  readonly arch: string;
  readonly only?: string[];
  readonly firstFailure?: boolean;
  readonly list?: boolean;
  readonly steps?: boolean;
  readonly retention: string;
  readonly json?: boolean;
}

const retentions: readonly Retention[] = ['profile', 'adversarial', 'none'];

export function addReplayCommand(program: Command, session: Session): void {
  program
    .command('replay')
    .description('check the memory manager against recorded kernel traces, step by step')
    .argument('<files...>', 'trace files, .jsonl or .jsonl.gz')
    .option('--only <id...>', 'only traces with these ids; * stands for any characters')
    .option('--first-failure', 'stop at the first trace that fails')
    .option('--list', 'one line for each trace')
    .option('--steps', 'show every step with its result and what the machine did')
    .option('--arch <name>', 'x86_64 (arm64 is not built yet)', 'x86_64')
    .option('--retention <mode>', `how long TLBs keep entries: ${retentions.join(', ')}`, 'profile')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      "\nA trace that uses what is not built is reported as unsupported, never as passed.\n\nExample:\n  tablewalk replay test/traces/directed-x86_64.jsonl.gz --only 'linux-x86-d00*' --list",
    )
    .action((files: string[], options: Options) => replay(files, options, session));
}

async function replay(files: readonly string[], options: Options, session: Session): Promise<void> {
  const { replayTrace } = await import('../../conformance/replay/run.ts');
  const report = await import('../../report/replay-text.ts');
  const architecture = await architectureOption(options.arch);
  if (options.list && options.steps) exclusive('--list', '--steps');
  const retention = oneOf('option --retention', options.retention, retentions);
  const count = new report.ReplayCount();
  const outcomes: TraceOutcome[] = [];
  const { stopped, skipped } = await eachTrace(files, options, session, (trace) => {
    const steps = options.steps ? new report.StepRecorder() : undefined;
    const outcome = replayTrace(trace, {
      architecture,
      retention,
      ...(steps === undefined ? {} : steps.options),
    });
    count.add(outcome);
    if (options.json) outcomes.push(outcome);
    else if (steps !== undefined)
      session.print(
        report.stepsText(outcome, steps, { width: session.width, paint: eventPaint(session.colours) }),
      );
    else if (options.list) session.line(report.outcomeLine(outcome));
    if (outcome.kind === 'failed' && count.failed === 1 && !options.json) {
      session.line(`first difference:\n${report.replayDifferenceText(trace, outcome.difference)}\n`);
    }
    session.progress(`${count.passed + count.failed + count.unsupported} traces`);
    return outcome.kind === 'failed' && options.firstFailure === true;
  });
  if (options.json) session.print(jsonText(report.replayJson(outcomes, count, stopped)));
  else session.print(report.replayClosing(count, stopped));
  if (count.failed > 0) session.checkFailed();
  if (count.passed + count.failed + count.unsupported === 0) {
    const why = skipped > 0 ? 'no trace has an id that --only names' : 'no traces';
    session.nothingChecked(`${files.join(', ')}: ${why}`);
  }
}

/** Calls `visit` for each wanted trace until it returns true or the user interrupts. */
async function eachTrace(
  files: readonly string[],
  { only = [] }: Options,
  session: Session,
  visit: (trace: Trace) => boolean,
): Promise<{ readonly stopped: boolean; readonly skipped: number }> {
  const { readTraces } = await import('../../conformance/replay/trace.ts');
  const wanted = namePattern(only);
  let skipped = 0;
  for (const file of files) {
    for await (const trace of readTraces(file)) {
      // A turn of the event loop for each trace: without it Ctrl-C would wait for the end of the file.
      await nextTurn();
      if (session.interruption.aborted) return { stopped: true, skipped };
      if (!wanted(trace.id)) skipped += 1;
      else if (visit(trace)) return { stopped: true, skipped };
    }
  }
  return { stopped: false, skipped };
}
