/** One run of the command: where its output goes, its exit status, and what interrupts it. */
import pc from 'picocolors';
import { ExitStatus } from './exit-status.ts';

/** Where a run writes to. The command uses the process's own streams; a test gives two that collect. */
export interface Terminal {
  readonly stdout: TextOutput;
  readonly stderr: TextOutput;
}

interface TextOutput {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** Characters of a line, on a terminal. */
  readonly columns?: number;
}

export type Colours = ReturnType<typeof pc.createColors>;

export interface Session {
  /** Writes to standard output as it is. */
  print(text: string): void;
  /** Writes one line to standard output. */
  line(text?: string): void;
  /** Writes one line to standard error. */
  problem(text: string): void;
  /** A line that replaces itself, on a terminal only. */
  progress(text: string): void;
  /** A remark for people who watch, on a terminal only: what differs from run to run has no place in the output. */
  remark(text: string): void;
  /** Of standard output. */
  readonly colours: Colours;
  /** Characters a line of output may have. */
  readonly width: number;
  /** Remembers that a check failed: the exit status will be 1. */
  checkFailed(): void;
  /** Nothing was there to check: an error of the input, or of the options that chose from it. */
  nothingChecked(why: string): void;
  /** Aborted when the user presses Ctrl-C: long loops stop and print what they have. */
  readonly interruption: AbortSignal;
  status(): ExitStatus;
  end(): void;
}

/** Width of output that does not go to a terminal, and the least width on one. */
const DEFAULT_WIDTH = 120;
const LEAST_WIDTH = 80;

/** Colours on a terminal, unless NO_COLOR is set; FORCE_COLOR asks for them anywhere. */
export function coloursFor(output: { readonly isTTY?: boolean }): Colours {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  const wanted = (output.isTTY === true && TERM !== 'dumb') || (FORCE_COLOR ?? '') !== '';
  return pc.createColors(wanted && (NO_COLOR ?? '') === '');
}

export function startSession(terminal: Terminal = process): Session {
  const { stdout, stderr } = terminal;
  let failed = false;
  let nothing = false;
  let progressShown = false;
  const interruption = new AbortController();
  const stopListening = terminal === process ? listen(interruption) : (): void => {};
  const colours = coloursFor(stdout);
  const dim = coloursFor(stderr).dim;

  const clearProgress = (): void => {
    if (progressShown) stderr.write('\r\x1b[K');
    progressShown = false;
  };
  const print = (text: string): void => {
    clearProgress();
    stdout.write(text);
  };
  const problem = (text: string): void => {
    clearProgress();
    stderr.write(`${text}\n`);
  };
  return {
    print,
    line: (text = '') => print(`${text}\n`),
    problem,
    progress(text) {
      if (stderr.isTTY !== true) return;
      progressShown = true;
      stderr.write(`\r\x1b[K${dim(text)}`);
    },
    remark(text) {
      if (stderr.isTTY === true) problem(dim(text));
    },
    colours,
    checkFailed() {
      failed = true;
    },
    nothingChecked(why) {
      nothing = true;
      problem(`tablewalk: ${why}`);
    },
    interruption: interruption.signal,
    width: Math.max(LEAST_WIDTH, stdout.columns ?? DEFAULT_WIDTH),
    status() {
      if (interruption.signal.aborted) return ExitStatus.Interrupted;
      if (nothing) return ExitStatus.BadInput;
      return failed ? ExitStatus.CheckFailed : ExitStatus.Ok;
    },
    end() {
      clearProgress();
      stopListening();
    },
  };
}

/** Signals that come within so many milliseconds are one press of Ctrl-C. */
const SAME_KEY = 1000;

/** Ctrl-C and readers that go away. Returns what ends the listening. */
function listen(interruption: AbortController): () => void {
  let first = 0;
  const onInterrupt = (): void => {
    const now = performance.now();
    // The second Ctrl-C means it, unless it is the first one again: npm and tsx pass on what the terminal sends to all.
    if (!interruption.signal.aborted) first = now;
    else if (now >= first + SAME_KEY) process.exit(ExitStatus.Interrupted);
    interruption.abort();
  };
  process.on('SIGINT', onInterrupt);
  // The pipe handlers stay: a late EPIPE of a buffered write must be as quiet as an early one.
  for (const stream of [process.stdout, process.stderr]) {
    if (!stream.listeners('error').includes(onPipeError)) stream.on('error', onPipeError);
  }
  return () => process.off('SIGINT', onInterrupt);
}

function onPipeError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(ExitStatus.BrokenPipe);
  throw error;
}
