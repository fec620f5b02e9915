/** Bad options of bench. Each command line and the one line that it gives; see bad-input.test.ts. */
import { DESIGN_NAMES } from '../../../src/kernel/remote/design-names.ts';
import type { Rows } from './row.ts';

export const bench: Rows = {
  'options of bench': [
    {
      command: 'bench remote-access --designs v9',
      says: `option --designs: expected ${DESIGN_NAMES.join(', ')}, found 'v9'`,
    },
    {
      command: 'bench remote-access --protocol --designs v0,',
      says: `option --designs: expected ${DESIGN_NAMES.join(', ')}, found ''`,
    },
    {
      command: 'bench remote-access --bytes 7',
      says: "option --bytes: expected even numbers of bytes from 2 to 16MiB, such as 8,4KiB, found '7'",
    },
    {
      command: 'bench remote-access --bytes 8,4KB',
      says: "option --bytes: expected even numbers of bytes from 2 to 16MiB, such as 8,4KiB, found '4KB'",
    },
    {
      command: 'bench remote-access --bytes 17MiB',
      says: "option --bytes: expected even numbers of bytes from 2 to 16MiB, such as 8,4KiB, found '17MiB'",
    },
    {
      command: 'bench remote-access --readers 64',
      says: "option --readers: expected a whole number from 1 to 63, found '64'",
    },
    {
      command: 'bench remote-access --calls 0',
      says: "option --calls: expected a whole number from 1 to 100000, found '0'",
    },
    {
      command: 'bench remote-access --profile zz',
      says: "option --profile: expected flat, sapphire-rapids, zen4, neoverse-v2, found 'zz'",
    },
    {
      command: 'bench remote-access --markdown --json',
      says: 'options --markdown and --json exclude each other: expected one of them',
    },
    {
      command: 'bench remote-access --protocol --bytes 8',
      says: 'options --protocol and --bytes exclude each other: expected one of them',
    },
    {
      command: 'bench remote-access --protocol --calls 8',
      says: 'options --protocol and --calls exclude each other: expected one of them',
    },
    {
      command: 'bench remote-access --designs v0,v4,v0',
      says: "option --designs: expected each once, found 'v0' again",
    },
    {
      command: 'bench remote-access --bytes 4096,4KiB',
      says: "option --bytes: expected each once, found '4KiB' again",
    },
    {
      command: 'bench remote-access --arch vax',
      says: "option --arch: expected x86_64, arm64, found 'vax'",
    },
    { command: 'bench remote-access --fast', says: "unknown option '--fast'" },
    {
      command: 'bench remote-access fast',
      says: "too many arguments for 'remote-access'. Expected 0 arguments but got 1.",
    },
    { command: 'bench mm', says: "experiment of bench: expected remote-access, found 'mm'" },
    { command: 'bench', says: 'experiment of bench: expected remote-access, found none' },
  ],
};
