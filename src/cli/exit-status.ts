/** What the command's exit status says. */
export const ExitStatus = {
  Ok: 0,
  /** A check ran and failed: a vector, a trace, an assertion, a truth row; or a deadlock was found. */
  CheckFailed: 1,
  /** Bad usage or bad input: nothing was checked, or not to the end. */
  BadInput: 2,
  /** A broken invariant of tablewalk itself. */
  InternalError: 70,
  /** Interrupted (128 + SIGINT): what was found until then has been printed. */
  Interrupted: 130,
  /** The reader of our output went away (128 + SIGPIPE). */
  BrokenPipe: 141,
} as const;
export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];
