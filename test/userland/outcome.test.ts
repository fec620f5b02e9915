import { describe, expect, it } from 'vitest';
import { formatOutcome, type Outcome, success } from '../../src/userland/outcome.ts';

const cases: readonly (readonly [Outcome<unknown>, string])[] = [
  [success(undefined), 'done'],
  [success(0x7fff_ffff_e000n), '0x7fffffffe000'],
  [success(12), '12'],
  [success(Uint8Array.of(0, 1, 0xfe)), '00 01 fe'],
  [success({ bytes: 2, data: Uint8Array.of(0x88, 0x77) }), 'bytes 2, data 88 77'],
  [success(new Uint8Array(32)), Array(32).fill('00').join(' ')],
  [success(new Uint8Array(4096)), `${Array(32).fill('00').join(' ')} … 4064 more`],
  [{ ok: false, errno: 'EFAULT', number: 14 }, 'EFAULT'],
  [{ ok: false, signal: 'SIGBUS', code: 'BUS_ADRERR', address: 0x1000n }, 'SIGBUS BUS_ADRERR at 0x1000'],
];

describe('an outcome on one line', () => {
  it.each(cases)('%o is %s', (outcome, text) => {
    expect(formatOutcome(outcome)).toBe(text);
  });
});
