/**
 * What a call of a process comes back with: a value, an errno, or the signal that ended the access. Always a value,
 * never an exception: a program decides what a failure means to it.
 */

import { hexAddress } from '../base/u64.ts';

/** The call did what it says. */
export interface Success<T> {
  readonly ok: true;
  readonly value: T;
}

/** A system call that Linux answers with an error: its name (`EFAULT`) and positive number. */
export interface ErrnoFailure {
  readonly ok: false;
  readonly errno: string;
  readonly number: number;
  /** Of userfaultfd's ioctls that did a part before: bytes. */
  readonly done?: number;
}

/**
 * An access that ended in a signal. A program sees it only where it has asked to (`User.attempt`, `User.sigaction`):
 * as if its handler had jumped out with `siglongjmp`. Elsewhere the signal kills the process.
 */
export interface SignalFailure {
  readonly ok: false;
  /** `SIGSEGV`, `SIGBUS`. */
  readonly signal: string;
  /** si_code by name: `SEGV_MAPERR`, `BUS_ADRERR`. */
  readonly code: string;
  /** si_addr, a byte address. */
  readonly address: bigint;
}

export type Failure = ErrnoFailure | SignalFailure;
export type Outcome<T> = Success<T> | Failure;

export const success = <T>(value: T): Success<T> => ({ ok: true, value });

/** `EFAULT`, or `SIGSEGV SEGV_ACCERR at 0x1000`. */
export function formatFailure(failure: Failure): string {
  if ('errno' in failure) return failure.errno;
  return `${failure.signal} ${failure.code} at ${hexAddress(failure.address)}`;
}

/** One line: the value, or what went wrong. Numbers are hexadecimal, bytes are in memory order. */
export function formatOutcome(outcome: Outcome<unknown>): string {
  return outcome.ok ? formatValue(outcome.value) : formatFailure(outcome);
}

function formatValue(value: unknown): string {
  if (value === undefined) return 'done';
  if (typeof value === 'bigint') return hexAddress(value);
  if (value instanceof Uint8Array) return formatBytes(value);
  if (Array.isArray(value)) return value.map(formatValue).join('|') || 'none';
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([key, item]) => `${key} ${formatValue(item)}`)
    .join(', ');
}

/** Bytes shown of a long run of them. */
const SHOWN_BYTES = 32;

function formatBytes(bytes: Uint8Array): string {
  if (bytes.length === 0) return '(none)';
  const shown = bytes.subarray(0, SHOWN_BYTES);
  const text = Array.from(shown, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return bytes.length > SHOWN_BYTES ? `${text} … ${bytes.length - SHOWN_BYTES} more` : text;
}
