/** The general-purpose registers X0 to X30, SP and the condition flags of one CPU, as the tag instructions use them. */

/** The register number that means SP or XZR, by operand. */
export const SP = 31;

export class RegisterFile {
  /** By register number, 31 for SP: bits 31:0 at 2n, bits 63:32 at 2n + 1. */
  readonly words = new Int32Array(64);
  /** PSTATE's N<<3 | Z<<2 | C<<1 | V. */
  nzcv = 0;

  high(register: number): number {
    return this.words[2 * register + 1] as number;
  }

  low(register: number): number {
    return this.words[2 * register] as number;
  }

  set(register: number, hi: number, lo: number): void {
    this.words[2 * register] = lo;
    this.words[2 * register + 1] = hi;
  }
}
