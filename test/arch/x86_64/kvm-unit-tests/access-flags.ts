/**
 * The flags of kvm-unit-tests' x86 access test: one bit each for what the PDE and PTE hold, how the access is made and
 * how the CPU is set up; and what the architecture says must come of a combination, written from the SDM.
 * Left out: the flag `fep` (forced emulation), which asks KVM's own instruction emulator, not a processor.
 */
import { Entry } from '../../../../src/arch/x86_64/entries.ts';

export const FLAG_NAMES = [
  'pte.rw',
  'pte.user',
  'pte.a',
  'pte.d',
  'pte.nx',
  'pte.p',
  'pte.51',
  'pte.36',
  'pde.rw',
  'pde.user',
  'pde.a',
  'pde.d',
  'pde.pse',
  'pde.nx',
  'pde.p',
  'pde.51',
  'pde.36',
  'pde.13',
  'pdpte.ro',
  'pkru.ad',
  'pkru.wd',
  'pkey=1',
  'user',
  'write',
  'fetch',
  'twice',
  'efer.nx',
  'cr0.wp',
  'cr4.smep',
  'cr4.pke',
] as const;
export type FlagName = (typeof FLAG_NAMES)[number];

/** The bit of a flag. */
export const F = Object.fromEntries(FLAG_NAMES.map((name, at) => [name, 1 << at])) as Readonly<
  Record<FlagName, number>
>;
export const flagsOf = (...names: FlagName[]): number => names.reduce((flags, name) => flags | F[name], 0);
export const describeFlags = (flags: number): string =>
  FLAG_NAMES.filter((name) => (flags & F[name]) !== 0).join(' ');

const KEY_RIGHTS = F['pkru.ad'] | F['pkru.wd'];
const RESERVED = F['pde.51'] | F['pde.36'] | F['pde.13'] | F['pte.51'] | F['pte.36'];
const RESERVED_WITHOUT_NX = RESERVED | F['pde.nx'] | F['pte.nx'];

/** Is this a combination that the product tries? At most one reserved bit, no fetch that writes, and so on. */
export function isLegal(flags: number): boolean {
  if ((flags & F['cr4.smep']) !== 0) return false;
  if ((flags & F.fetch) !== 0 && (flags & F.write) !== 0) return false;
  if ((flags & F['cr4.pke']) === 0 && (flags & KEY_RIGHTS) !== 0) return false;
  if ((flags & F['pde.pse']) === 0 && (flags & F['pde.13']) !== 0) return false;
  const reserved = flags & ((flags & F['efer.nx']) !== 0 ? RESERVED : RESERVED_WITHOUT_NX);
  return (reserved & (reserved - 1)) === 0;
}

/** Error-code bits, written a second time here. */
const P = 1;
const WR = 2;
const US = 4;
const RSVD = 8;
const ID = 16;
const PK = 32;

/** What must come of one access, and which flags the entries must hold afterwards. A reused object. */
export class Expectation {
  fault = false;
  errorCode = 0;
  /** Flags to be added to the entries. */
  pte = 0;
  pde = 0;
  /** Flags of the PDE that may be set or not: A of a table entry on a faulting walk. */
  pdeMay = 0;
}

/** Is the entry of this level (its flags given) one a walk can use? @returns the error bits to stop with, or -1 */
function stopOf(present: boolean, reserved: boolean): number {
  if (!present) return 0;
  return reserved ? P | RSVD : -1;
}

/**
 * The rules of "Determination of Access Rights" for a leaf.
 * @returns error bits beyond those of the access itself, or -1 when the access is allowed
 */
function denied(flags: number, writable: boolean, user: boolean, executable: boolean): number {
  const has = (name: FlagName): boolean => (flags & F[name]) !== 0;
  const bound = has('user') || has('cr0.wp');
  let refused = has('user') && !user;
  if (has('write') && !writable && bound) refused = true;
  if (has('fetch') && !executable) refused = true;
  if (has('fetch') && !has('user') && user && has('cr4.smep')) refused = true;
  let byKey = false;
  if (user && has('pkey=1') && has('cr4.pke') && !has('fetch')) {
    byKey = has('pkru.ad') || (has('pkru.wd') && has('write') && bound);
  }
  if (byKey) return P | PK;
  return refused ? P : -1;
}

/** Does the entry of this level stop the walk? @returns error bits, or -1 when the entry is good */
function stop(flags: number, level: 'pde' | 'pte'): number {
  const has = (name: FlagName): boolean => (flags & F[name]) !== 0;
  const xdReserved = !has('efer.nx') && has(`${level}.nx`);
  const address = has(`${level}.51`) || has(`${level}.36`);
  return stopOf(has(`${level}.p`), address || xdReserved || (level === 'pde' && has('pde.13')));
}

/** The outcome of a walk whose PDE is good: error bits, or -1. Says in `out` what it does to PDE and PTE. */
function below(flags: number, out: Expectation): number {
  const has = (name: FlagName): boolean => (flags & F[name]) !== 0;
  const leafFlags = Entry.A | (has('write') ? Entry.D : 0);
  const writable = !has('pdpte.ro') && has('pde.rw');
  if (has('pde.pse')) {
    const why = denied(flags, writable, has('pde.user'), !has('pde.nx'));
    if (why < 0) out.pde |= leafFlags;
    return why;
  }
  const user = has('pde.user') && has('pte.user');
  const executable = !has('pde.nx') && !has('pte.nx');
  let why = stop(flags, 'pte');
  if (why < 0) why = denied(flags, writable && has('pte.rw'), user, executable);
  // The PDE was used to get at the PTE; whether a walk that faults below marks it so is up to the processor.
  if (why < 0) {
    out.pde |= Entry.A;
    out.pte |= leafFlags;
  } else out.pdeMay |= Entry.A;
  return why;
}

/** One access; adds to `out` what it does to the entries. */
function one(flags: number, out: Expectation): void {
  const has = (name: FlagName): boolean => (flags & F[name]) !== 0;
  let why = stop(flags, 'pde');
  if (why < 0) why = below(flags, out);
  out.fault = why >= 0;
  const fetch = has('fetch') && (has('efer.nx') || has('cr4.smep')) ? ID : 0;
  out.errorCode = why < 0 ? 0 : why | (has('user') ? US : 0) | (has('write') ? WR : 0) | fetch;
}

const NOT_FOR_FIRST = F.write | F.fetch | F.user;

/** What must come of a combination. With `twice` a plain supervisor read goes before, whose outcome is not looked at. */
export function expect(flags: number, out: Expectation): Expectation {
  out.pte = 0;
  out.pde = 0;
  out.pdeMay = 0;
  if ((flags & F.twice) !== 0) one(flags & ~NOT_FOR_FIRST, out);
  one(flags, out);
  return out;
}
