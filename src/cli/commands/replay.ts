/** `tablewalk replay`: recorded kernel traces, step by step, against the memory manager. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import type { TraceOutcome } from '../../conformance/replay/run.ts';
import type { Trace } from '../../conformance/replay/trace.ts';
import type { Retention } from '../../hardware/retention.ts';
import { DESIGN_NAMES } from '../../kernel/remote/design-names.ts';
import type { SystemArchitecture } from '../../userland/system.ts';
import { architectureOption } from '../architecture.ts';
import { jsonText } from '../json.ts';
import { namePattern } from '../name-pattern.ts';
import { exclusive, oneOf } from '../option-values.ts';
import { eventPaint } from '../paint.ts';
import type { Session } from '../session.ts';

interface Options {
  readonly arch?: string;
  readonly only?: string[];
  readonly firstFailure?: boolean;
  readonly list?: boolean;
  readonly steps?: boolean;
  readonly retention: string;
  readonly design: string;
  readonly json?: boolean;
}

/** The first stands in for an architecture that is not built: there a trace is unsupported, and says so. */
const OWN_NAMES: readonly [string, ...string[]] = ['x86_64', 'arm64'];

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
    .option('--arch <name>', 'only this architecture: x86_64 or arm64 (default: that of each trace)')
    .option('--retention <mode>', `how long TLBs keep entries: ${retentions.join(', ')}`, 'profile')
    .option('--design <name>', `how remote accesses lock: ${DESIGN_NAMES.join(', ')}`, 'v0')
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
  const wanted = options.arch === undefined ? undefined : (await architectureOption(options.arch)).name;
  const architectures = new Architectures();
  if (options.list && options.steps) exclusive('--list', '--steps');
  const retention = oneOf('option --retention', options.retention, retentions);
  const design = oneOf('option --design', options.design, DESIGN_NAMES);
  const count = new report.ReplayCount();
  const outcomes: TraceOutcome[] = [];
  const chosen = new TraceFilter(
    options.only ?? [],
    wanted,
    await import('../../conformance/replay/architecture.ts'),
  );
  const stopped = await eachTrace(files, chosen, session, async (trace) => {
    const architecture = await architectures.of(trace);
    const steps = options.steps ? new report.StepRecorder() : undefined;
    const outcome = replayTrace(trace, {
      architecture,
      retention,
      design,
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
  if (count.passed + count.failed === 0 && !stopped) {
    session.nothingChecked(`${files.join(', ')}: ${nothingRun(count.unsupported, chosen)}`);
  }
}

function nothingRun(unsupported: number, { names, otherArchitectures, arch }: TraceFilter): string {
  if (unsupported > 0) return 'nothing was checked: every trace needs what is not built';
  if (otherArchitectures.size > 0) {
    return `nothing was checked: the traces are of ${[...otherArchitectures].join(', ')}, not of ${arch}`;
  }
  return names > 0 ? 'no trace has an id that --only names' : 'no traces';
}

/** Which traces are run, and why others were not. */
class TraceFilter {
  readonly arch: string | undefined;
  /** Traces left out by their ids. */
  names = 0;
  /** Of traces left out by their architecture. */
  readonly otherArchitectures = new Set<string>();
  readonly #named: (id: string) => boolean;
  readonly #architectureOfTrace: (trace: Trace) => string;

  constructor(
    only: readonly string[],
    arch: string | undefined,
    { architectureOfTrace }: { readonly architectureOfTrace: (trace: Trace) => string },
  ) {
    this.arch = arch;
    this.#named = namePattern(only);
    this.#architectureOfTrace = architectureOfTrace;
  }

  wants(trace: Trace): boolean {
    if (!this.#named(trace.id)) {
      this.names += 1;
      return false;
    }
    const own = this.#architectureOfTrace(trace);
    if (this.arch === undefined || own === this.arch) return true;
    this.otherArchitectures.add(own);
    return false;
  }
}

/** The architecture to replay a trace on: its own, as far as it is built. */
class Architectures {
  readonly #made = new Map<string, SystemArchitecture>();

  async of(trace: Trace): Promise<SystemArchitecture> {
    const { architectureOfTrace } = await import('../../conformance/replay/architecture.ts');
    const own = architectureOfTrace(trace);
    const name = OWN_NAMES.includes(own) ? own : OWN_NAMES[0];
    const made = this.#made.get(name) ?? (await architectureOption(name));
    this.#made.set(name, made);
    return made;
  }
}

/** Calls `visit` for each chosen trace until it returns true or the user interrupts: true for both. */
async function eachTrace(
  files: readonly string[],
  chosen: TraceFilter,
  session: Session,
  visit: (trace: Trace) => Promise<boolean>,
): Promise<boolean> {
  const { readTraces } = await import('../../conformance/replay/trace.ts');
  for (const file of files) {
    for await (const trace of readTraces(file)) {
      // A turn of the event loop for each trace: without it Ctrl-C would wait for the end of the file.
      await nextTurn();
      if (session.interruption.aborted) return true;
      if (chosen.wants(trace) && (await visit(trace))) return true;
    }
  }
  return false;
}
