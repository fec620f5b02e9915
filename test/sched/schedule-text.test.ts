import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/base/input-error.ts';
import {
  ALLOCATION_FAILURE_CODE,
  evictionCode,
  fillCode,
  GRACE_PERIOD_CODE,
  idleCode,
  interruptCode,
  killCode,
  stepCode,
} from '../../src/sched/policy/policy.ts';
import {
  formatSchedule,
  parseSchedule,
  type Schedule,
  ScheduleReader,
  ScheduleRecorder,
} from '../../src/sched/schedule-text.ts';

function record(codes: readonly number[]): Schedule {
  const recorder = new ScheduleRecorder();
  for (const code of codes) recorder.add(code);
  return recorder;
}

function expand(schedule: Schedule): number[] {
  const reader = new ScheduleReader(schedule);
  const codes: number[] = [];
  for (let code = reader.next(); code !== null; code = reader.next()) codes.push(code);
  return codes;
}

const id = fc.oneof(fc.nat(3), fc.nat(999_999_999));
const fill = fc.tuple(id, fc.nat(31)).map(([cpu, index]) => fillCode(cpu, index));
const eviction = fc.tuple(id, fc.nat(1023)).map(([cpu, index]) => evictionCode(cpu, index));
const others = fc.oneof(
  fill,
  eviction,
  id.map(killCode),
  fc.constantFrom(GRACE_PERIOD_CODE, ALLOCATION_FAILURE_CODE),
);
const code = fc.oneof(id.map(stepCode), id.map(interruptCode), id.map(idleCode), others);

describe('a schedule as text', () => {
  it('parses back to the same choices', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(code, fc.constant(stepCode(1)))), (codes) => {
        expect(expand(parseSchedule(formatSchedule(record(codes))))).toEqual(codes);
      }),
    );
  });

  it.each([
    [[], '-'],
    [[stepCode(0)], '0'],
    [[stepCode(0), stepCode(0), stepCode(12)], '0*2 12'],
    [[fillCode(0, 0), fillCode(1, 31), fillCode(1, 31)], 'f0:0 f1:31*2'],
    [[evictionCode(1, 40), GRACE_PERIOD_CODE, ALLOCATION_FAILURE_CODE, killCode(3)], 'e1:40 g a k3'],
    [[interruptCode(1), idleCode(1), idleCode(1), stepCode(1)], 'i1 idle1*2 1'],
  ])('of %j is %s', (codes, text) => {
    expect(formatSchedule(record(codes))).toBe(text);
  });

  it('may be broken over lines', () => {
    expect(expand(parseSchedule('  0*2\n\ti1 \n'))).toEqual([0, 0, 3]);
  });

  it.each([
    ['', 1, 1, 'nothing'],
    ['   ', 1, 1, 'nothing'],
    ['0 x', 1, 3, 'x'],
    ['0 1*', 1, 3, '1*'],
    ['f1', 1, 1, 'f1'],
    ['0 e1', 1, 3, 'e1'],
    ['e0:1024', 1, 1, 'e0:1024'],
    ['g1', 1, 1, 'g1'],
    ['k1:0', 1, 1, 'k1:0'],
    ['0 1:2', 1, 3, '1:2'],
    ['i1:2', 1, 1, 'i1:2'],
    ['f1:32', 1, 1, 'f1:32'],
    ['f1:03', 1, 1, 'f1:03'],
    ['0 1*0', 1, 3, '1*0'],
    ['0 1**2', 1, 3, '1**2'],
    ['-1', 1, 1, '-1'],
    ['0 -', 1, 3, '-'],
    ['01', 1, 1, '01'],
    ['i', 1, 1, 'i'],
    ['j3', 1, 1, 'j3'],
    ['0,1', 1, 1, '0,1'],
    ['0 1\n2 1e5', 2, 3, '1e5'],
    ['1*9999999999', 1, 1, '1*9999999999'],
    [`0 ${'z'.repeat(100)}`, 1, 3, `${'z'.repeat(40)}…`],
  ])('%j is refused with its place', (text, line, column, found) => {
    let error: unknown;
    try {
      parseSchedule(text);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(InputError);
    expect(error).toMatchObject({ line, column, found });
  });

  it('never makes the parser fail in another way', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'0123 i*dle-\n') })), (text) => {
        try {
          parseSchedule(text);
        } catch (error) {
          expect(error).toBeInstanceOf(InputError);
        }
      }),
    );
  });
});
