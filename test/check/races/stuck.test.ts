import { expect, it } from 'vitest';
import { isPartnerGone, nameOfStuck } from '../../../src/check/races/stuck.ts';
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

it.each([
  ['share.wait', 'the shared variable "x"', true],
  ['wait4', 'process 2', true],
  ['wait_event', 'fd_wqh userfaultfd 1', true],
  ['handle_userfault', 'userfaultfd 1', false],
  ['down_read', 'mmap_lock 1', false],
])('a program whose partner was killed may wait in %s for %s: %s', (operation, object, isExcused) => {
  const stuck = { ...wait('a', object, null), operation };
  expect(isPartnerGone([stuck], [])).toBe(isExcused);
  expect(isPartnerGone([stuck], ['a'])).toBe(false);
  expect(isPartnerGone([stuck, { ...stuck, spinning: true }], [])).toBe(false);
});

it('what a task waits for in the kernel is told before what programs wait for', () => {
  const program = { ...wait('a', 'the shared variable "x"', null), operation: 'share.wait' };
  expect(nameOfStuck([program, wait('b', 'mmap_lock 1', null)], []).text).toMatch(/^b waits in down_write/);
});
