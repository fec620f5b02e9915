/** One run of the command: where its output goes, its exit status, and what interrupts it. */
import pc from 'picocolors';
import { ExitStatus } from './exit-status.ts';

export interface Session {
  /** Writes to standard output as it is. */
  print(text: string): void;
  /** Writes one line to standard output. */
  line(text?: string): void;
  /** Writes one line to standard error. */
  problem(text: string): void;
  /** A line that replaces itself, on a terminal only. */
  progress(text: string): void;
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

export function startSession(): Session {
  let failed = false;
  let nothing = false;
  const interruption = new AbortController();
  let progressShown = false;

  const onInterrupt = (): void => {
    // The second Ctrl-C means it.
    if (interruption.signal.aborted) process.exit(ExitStatus.Interrupted);
    interruption.abort();
  };
  const onPipeError = (error: NodeJS.ErrnoException): void => {
    if (error.code === 'EPIPE') process.exit(ExitStatus.BrokenPipe);
    throw error;
  };
  process.on('SIGINT', onInterrupt);
  process.stdout.on('error', onPipeError);
  process.stderr.on('error', onPipeError);

  const clearProgress = (): void => {
    if (progressShown) process.stderr.write('\r\x1b[K');
    progressShown = false;
  };
  const print = (text: string): void => {
    clearProgress();
    process.stdout.write(text);
  };
  return {
    print,
    line: (text = '') => print(`${text}\n`),
    problem(text) {
      clearProgress();
      process.stderr.write(`${text}\n`);
    },
    progress(text) {
      if (!process.stderr.isTTY) return;
      progressShown = true;
      process.stderr.write(`\r\x1b[K${pc.dim(text)}`);
    },
    checkFailed() {
      failed = true;
    },
    nothingChecked(why) {
      nothing = true;
      this.problem(`tablewalk: ${why}`);
    },
    interruption: interruption.signal,
    width: Math.max(100, process.stdout.columns ?? 150),
    status() {
      if (interruption.signal.aborted) return ExitStatus.Interrupted;
      if (nothing) return ExitStatus.BadInput;
      return failed ? ExitStatus.CheckFailed : ExitStatus.Ok;
    },
    end() {
      clearProgress();
      // The pipe handlers stay: a late EPIPE of a buffered write must be as quiet as an early one.
      process.off('SIGINT', onInterrupt);
    },
  };
}
