import { expect, it } from 'vitest';
import { nameOfStuck } from '../../../src/check/races/stuck.ts';
import type { WaitReport } from '../../../src/sched/run-result.ts';

const wait = (task: string, object: string, holder: string | null): WaitReport => ({
  task,
  id: 1,
  cpu: 0,
  operation: 'down_write',
  object,
  holders: holder === null ? [] : [{ name: holder, mode: 'read' }],
  spinning: false,
  blocked: true,
  inside: null,
});

it.each([
  [
    'a circle is a deadlock',
    [wait('a', 'x', 'b'), wait('b', 'y', 'a')],
    ['a', 'b'],
    'deadlock',
    /a → b → a$/,
  ],
  [
    'a lock that nobody holds has lost a wake-up',
    [wait('a', 'x', null)],
    [],
    'lost-wake-up',
    /which nobody holds/,
  ],
  ['so has one whose holder is gone', [wait('a', 'x', 'b')], [], 'lost-wake-up', /b holds, at an end/],
  [
    'who waits for somebody that waits is no lost wake-up',
    [wait('a', 'x', 'b'), wait('b', 'y', 'b')],
    ['b'],
    'deadlock',
    /b/,
  ],
] as const)('%s', (_, waits, cycle, name, text) => {
  const found = nameOfStuck(waits, cycle);
  expect(found.name).toBe(name);
  expect(found.text).toMatch(text);
});
