import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/base/input-error.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { loadYamlScenario } from '../../src/userland/yaml/load.ts';
import { architecture } from '../support/architecture.ts';

/** The error's place and words, `line:column message`. */
function errorOf(text: string): string {
  try {
    loadYamlScenario(text, 'case.yaml');
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return error.message;
  }
  return 'no error';
}

const program = (...calls: string[]): string =>
  ['title: t', 'programs:', '  p:', ...calls.map((call) => `    - ${call}`), ''].join('\n');

const mistakes: readonly { readonly name: string; readonly text: string; readonly message: RegExp }[] = [
  {
    name: 'text that is not YAML',
    text: 'title: [',
    message: /^case\.yaml:1:9: flow sequence in block collection must be/,
  },
  {
    name: 'a key twice',
    text: 'title: a\ntitle: b\n',
    message: /^case\.yaml:2:1: map keys must be unique/,
  },
  { name: 'nothing at all', text: '', message: /^case\.yaml:1:1: "title" is missing: expected a text$/ },
  {
    name: 'a text alone',
    text: 'hello\n',
    message: /^case\.yaml:1:1: the file: not a map of keys: expected a map of keys, found hello$/,
  },
  {
    name: 'an unknown key at the top',
    text: 'title: t\nprogrms: {}\n',
    message: /^case\.yaml:\d+:\d+: /,
  },
  {
    name: 'a misspelt key at the top',
    text: 'title: t\nprograms: {}\nfinaly: []\n',
    message:
      /^case\.yaml:3:1: unknown key "finaly"; did you mean "finally"\?: expected one of title, .*, found finaly$/,
  },
  {
    name: 'a call that does not exist',
    text: program('mmpa: { bytes: 4096, prot: rw }'),
    message:
      /^case\.yaml:4:7: unknown call "mmpa"; did you mean "mmap"\?: expected one of mmap, .*found mmpa$/,
  },
  {
    name: 'an argument that does not exist',
    text: program('munmap: { adress: 0x1000, bytes: 4096 }'),
    message: /^case\.yaml:4:\d+: .*"address" is missing|unknown key "adress"; did you mean "address"\?/,
  },
  {
    name: 'an argument that is missing',
    text: program('munmap: { address: 0x1000 }'),
    message: /^case\.yaml:4:15: "bytes" is missing: expected a whole number of up to 64 bits$/,
  },
  {
    name: 'a length that 64 bits cannot hold',
    text: program('mmap: { bytes: 0x10000000000000000, prot: rw }'),
    message: /bytes: the number is out of range: expected a whole number of up to 64 bits/,
  },
  {
    name: 'a number too wide for an address',
    text: program('load: { address: 0x1ffffffffffffffff }'),
    message:
      /^case\.yaml:4:24: address: the number is too wide: expected a number of 64 bits, or \$variable, found 0x1ffffffffffffffff$/,
  },
  {
    name: 'an address that no page starts at',
    text: program('munmap: { address: 0x1234, bytes: 4096 }'),
    message:
      /^case\.yaml:4:26: munmap: the address is not page aligned: expected a multiple of 0x1000, or "expect: \{ errno: EINVAL \}", found 0x1234$/,
  },
  {
    name: 'a text where a number must be',
    text: program('load: { address: page }'),
    message:
      /^case\.yaml:4:24: address: not a number: expected a number of 64 bits, or \$variable, found page$/,
  },
  {
    name: 'a width no load has',
    text: program('load: { address: 0x1000, bytes: 3 }'),
    message: /^case\.yaml:4:39: bytes: not a width of an access: expected 1, 2, 4 or 8, found 3$/,
  },
  {
    name: 'letters that are no protection',
    text: program('mmap: { bytes: 4096, prot: rq }'),
    message: /^case\.yaml:4:34: prot: not a protection: expected letters of rwx, or none, found rq$/,
  },
  {
    name: 'two calls in one item',
    text: program('{ mmap: { bytes: 4096, prot: rw }, brk: { address: 0 } }'),
    message: /^case\.yaml:4:\d+: unknown key "brk"/,
  },
  {
    name: 'an item without a call',
    text: program('as: page'),
    message: /^case\.yaml:4:7: an item of a program names no call$/,
  },
  {
    name: 'a variable that nothing sets',
    text: program('load: { address: $page }'),
    message: /^case\.yaml:4: nothing sets the variable "page": expected an "as" that sets it$/,
  },
  {
    name: 'fork of a program that is not there',
    text: program('fork: child'),
    message: /^case\.yaml:4: fork: there is no program "child"/,
  },
  {
    name: 'an expectation that is both',
    text: program('{ brk: { address: 0 }, expect: { errno: EINVAL, signal: SIGSEGV } }'),
    message: /^case\.yaml:4:\d+: expect needs an errno or a signal, and not both$/,
  },
  {
    name: 'a check that does not exist',
    text: `${program('brk: { address: 0 }')}finally:\n  - memry: { process: p, address: 0, value: 0 }\n`,
    message: /^case\.yaml:6:5: unknown check "memry"; did you mean "memory"\?/,
  },
  {
    name: 'a check of a process that is not there',
    text: `${program('brk: { address: 0 }')}finally:\n  - memory: { process: q, address: 0, value: 0 }\n`,
    message: /^case\.yaml:6:24: there is no program "q": expected one of p$/,
  },
  {
    name: 'a counter that does not exist',
    text: `${program('brk: { address: 0 }')}finally:\n  - counter: { name: swapp-out, equals: 0 }\n`,
    message:
      /^case\.yaml:6:22: name: there is no counter "swapp-out"; did you mean "swap-out"\?: expected one of fault, .*vma-lock-miss, found swapp-out$/,
  },
  {
    name: 'too many CPUs',
    text: `cpus: 65\n${program('brk: { address: 0 }')}`,
    message:
      /^case\.yaml:1:7: cpus: the number is out of range: expected a whole number from 1 to 64, found 65$/,
  },
  {
    name: 'programs that are not a map',
    text: 'title: t\nprograms: [1]\n',
    message: /^case\.yaml:2:11: programs: not a map of keys: expected a map of keys, found a list$/,
  },
  {
    name: 'no program at all',
    text: 'title: t\nprograms: {}\n',
    message: /^case\.yaml: a scenario needs "programs", at least one$/,
  },
];

describe('a YAML scenario with a mistake is refused with file, line and column', () => {
  it.each(mistakes)('$name', ({ text, message }) => {
    expect(errorOf(text)).toMatch(message);
  });
});

describe('a YAML scenario', () => {
  it('keeps every digit of a 64-bit number', () => {
    const text = program('store: { address: 0xfffffffffffff000, value: 0xfedcba9876543210 }');
    expect(errorOf(text)).toBe('no error');
  });

  it('may ask for a misaligned address where it expects EINVAL', () => {
    const text = program('{ munmap: { address: 0x1234, bytes: 4096 }, expect: { errno: EINVAL } }');
    expect(errorOf(text)).toBe('no error');
  });
});

describe('an expectation that does not hold', () => {
  it.each([
    ['bytes that were read', 'process-vm-readv: { pid: 2, remote: [{ address: $page, bytes: 8 }] }'],
    ['a number that was loaded', 'load: { address: $page }'],
  ])('shows what was expected and what came alike: %s', (_, call) => {
    const text = program(
      'mmap: { bytes: 4096, prot: rw }\n      as: page',
      'store: { address: $page, value: 0x1234 }',
      `${call}\n      expect: 0x4321`,
    );
    const { outcome } = runScenario(loadYamlScenario(text, 'case.yaml'), {
      architecture,
    });
    expect(outcome).toMatchObject({
      kind: 'assertion failed',
      text: expect.stringContaining('expected 0x4321, got 0x1234'),
    });
  });
});
