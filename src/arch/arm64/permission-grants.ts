/** What a translation grants at each Exception level, before it is asked whether an access may be made. */

/** Read, execute and write, in the order of the bits of a POR_EL1 field. */
export const Grant = { R: 1, X: 2, W: 4 } as const;

/** The base permissions of a page, and how write-execute exclusion and overlays bear on them. */
export interface Permissions {
  /** `Grant` bits at EL1 and at EL0. */
  readonly el1: number;
  readonly el0: number;
  /** Nothing is granted because EL1 could execute what EL0 could write (indirection only). */
  readonly conflict: boolean;
  /** Writable and executable exclude each other at EL1, and at EL0. */
  readonly wxn1: boolean;
  readonly wxn0: boolean;
  /** An overlay applies at EL1, and at EL0, if overlays are enabled there. */
  readonly overlay1: boolean;
  readonly overlay0: boolean;
}
