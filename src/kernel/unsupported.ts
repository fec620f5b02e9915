/**
 * A request that the model does not build yet. It is thrown, which errors of Linux never are, so that no caller can
 * take it for an answer of the kernel; whoever runs a program (userland, replay) reports it as *unsupported*.
 */
export class Unsupported extends Error {
  /** What was asked for, as a noun phrase: `mmap of a memfd`. */
  readonly what: string;

  constructor(what: string) {
    super(`unsupported: ${what}`);
    this.name = 'Unsupported';
    this.what = what;
  }
}
