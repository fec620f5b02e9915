/** A row of the tables of bad input. */
interface Row {
  readonly command: string;
  /** Standard error, without `tablewalk: ` in front; FOLDER stands for the folder of the files. */
  readonly says: string;
  /** What stands on standard output: what was found until then. Default: nothing. */
  readonly until?: RegExp;
}

/** By what is bad. */
export type Rows = Readonly<Record<string, readonly Row[]>>;
