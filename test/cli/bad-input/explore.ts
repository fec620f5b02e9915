/** Bad options of `tablewalk explore`. Each command line and the one line that it gives; see bad-input.test.ts. */

import { CHECK_NAMES } from '../../../src/check/races/registry.ts';
import { BUG_NAMES } from '../../../src/kernel/bugs.ts';
import type { Rows } from './row.ts';

export const explore: Rows = {
  'options of explore': [
    {
      command: 'explore page.yaml --policy round',
      says: "option --policy: expected auto, dfs, pct, random, stalling, found 'round'",
    },
    {
      command: 'explore page.yaml --seed -1',
      says: "option --seed: expected a whole number from 0 to 2147483647, found '-1'",
    },
    {
      command: 'explore page.yaml --runs 0',
      says: "option --runs: expected a whole number from 1 to 9007199254740991, found '0'",
    },
    {
      command: 'explore page.yaml --seconds 1.5',
      says: "option --seconds: expected a whole number from 1 to 1000000000, found '1.5'",
    },
    {
      command: 'explore page.yaml --policy dfs --preemptions few',
      says: "option --preemptions: expected a whole number from 0 to 1000, found 'few'",
    },
    {
      command: 'explore page.yaml --policy pct --depth 0',
      says: "option --depth: expected a whole number from 1 to 100, found '0'",
    },
    {
      command: 'explore page.yaml --shard 4/4',
      says: "option --shard: expected I/N with I from 0 to N - 1, such as 0/4, found '4/4'",
    },
    {
      command: 'explore page.yaml --shard 4',
      says: "option --shard: expected I/N with I from 0 to N - 1, such as 0/4, found '4'",
    },
    {
      command: 'explore page.yaml --no-check zz',
      says: `option --no-check: expected ${CHECK_NAMES.join(', ')}, found 'zz'`,
    },
    {
      command: 'explore page.yaml --bug zz',
      says: `option --bug: expected ${BUG_NAMES.join(', ')}, found 'zz'`,
    },
    {
      command: 'explore page.yaml --bug dirty-cow --no-bugs',
      says: 'options --no-bugs and --bug exclude each other: expected one of them',
    },
    {
      command: 'explore page.yaml --fail-allocations many',
      says: "option --fail-allocations: expected a whole number from 1 to 1000, found 'many'",
    },
    {
      command: 'explore page.yaml --schedule 2*3 --runs 5',
      says: '--schedule replays one run, and --runs is for a search: add --policy to search from the end of the schedule, or leave out --runs',
    },
    {
      command: 'explore page.yaml --policy pct --preemptions 3',
      says: 'option --preemptions is for --policy dfs: found --policy pct',
    },
    {
      command: 'explore page.yaml --policy dfs --depth 3',
      says: 'option --depth is for --policy pct: found --policy dfs',
    },
    {
      command: 'explore page.yaml --no-reduction',
      says: 'option --no-reduction is for --policy dfs: found no --policy',
    },
    {
      command: 'explore page.yaml --schedule zzz',
      says: 'option --schedule:1:1: bad schedule: expected choices like 3, 3*12, i1, idle1, f1:3, e1:3, g, a or k3, or - for none, found zzz',
    },
    {
      command: 'explore missing.yaml',
      says: 'missing.yaml: no such file',
    },
  ],
};
