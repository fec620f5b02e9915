/**
 * Bad input at the edge: a file, a schedule, an option or a scenario that does not say what it should. It is the one
 * kind of error a user is meant to see; the command line prints its message as one line and exits with 2. Broken
 * invariants of our own are plain `Error`s and keep their stack.
 */

/** Where and what; everything is optional because not every input is a file with lines. */
export interface InputErrorDetails {
  readonly file?: string;
  /** From 1. */
  readonly line?: number;
  /** From 1, in characters. */
  readonly column?: number;
  /** What would have been right, in the words of the format. */
  readonly expected?: string;
  /** What stood there instead. */
  readonly found?: string;
}

/** `message` reads `file:line:column: reason: expected …, found …`, as far as these are known. */
export class InputError extends Error {
  override readonly name = 'InputError';
  /** The message without place, expectation and finding. */
  readonly reason: string;
  readonly details: InputErrorDetails;

  constructor(reason: string, details: InputErrorDetails = {}) {
    super(compose(reason, details));
    this.reason = reason;
    this.details = details;
  }

  get file(): string | undefined {
    return this.details.file;
  }
  get line(): number | undefined {
    return this.details.line;
  }
  get column(): number | undefined {
    return this.details.column;
  }
  get expected(): string | undefined {
    return this.details.expected;
  }
  get found(): string | undefined {
    return this.details.found;
  }

  /** The same error, placed in a file; what is already known of the place stays. */
  at(place: { readonly file?: string; readonly line?: number; readonly column?: number }): InputError {
    return new InputError(this.reason, { ...place, ...this.details });
  }
}

function compose(reason: string, { file, line, column, expected, found }: InputErrorDetails): string {
  const place = [file, line, column].filter((part) => part !== undefined).join(':');
  const wanted = expected === undefined ? '' : `expected ${expected}`;
  const got = found === undefined ? '' : `found ${found}`;
  const comparison = [wanted, got].filter((part) => part !== '').join(', ');
  // A bare line or column number would read as a part of the sentence.
  const lead =
    file === undefined && place !== '' ? `at ${line === undefined ? `column ${column}` : place}` : place;
  return [lead, reason, comparison].filter((part) => part !== '').join(': ');
}
