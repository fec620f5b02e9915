/** Memory tags in programs: on arm64 what they do, on a machine without them one line that says so. */
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/base/input-error.ts';
import type { Task } from '../../src/base/task.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Program } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { loadYamlScenario } from '../../src/userland/yaml/load.ts';
import { architecture, architectureName } from '../support/architecture.ts';

const ON_ARM64 = architectureName === 'arm64';

function run(program: Program, children: Readonly<Record<string, Program>> = {}): ScenarioResult {
  return runScenario(defineScenario({ title: 'tags', programs: { program, ...children } }), { architecture });
}

/** What the program returned as its notes. */
function notes(program: (u: User, note: (text: string) => void) => ReturnType<Program>): string[] {
  const said: string[] = [];
  const result = run((u) => program(u, (text) => said.push(text)));
  expect(result.outcome.kind).toBe('finished');
  return said;
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;
const TAG = (tag: number): bigint => BigInt(tag) << 56n;

describe.runIf(ON_ARM64)('a program with memory tags', () => {
  it('tags memory, and a pointer with another tag is refused', () => {
    const said = notes(function* (u, note) {
      yield* u.must(u.setTaggedAddressControl({ mode: 'sync', tags: 0xfffe }));
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
      const pointer = yield* u.must(u.irg(page));
      if (pointer >> 56n === 0n) note('irg gave tag 0');
      yield* u.must(u.st2g(pointer));
      yield* u.must(u.store(pointer, 5));
      if ((yield* u.must(u.ldg(page))) !== pointer) note('ldg gave another tag');
      const beyond = yield* u.attempt(u.store(pointer + 32n, 1, 1));
      note(
        beyond.ok
          ? 'stored'
          : 'code' in beyond
            ? `${beyond.code} at +${hex(beyond.address - page)}`
            : 'errno',
      );
    });
    expect(said).toEqual(['SEGV_MTESERR at +0x20']);
  });

  it('sees tag bits of the address where it asked for them', () => {
    const said = notes(function* (u, note) {
      yield* u.must(u.setTaggedAddressControl({ mode: 'sync' }));
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm', fixed: true, address: 0x1000_0000n }));
      for (const expose of [false, true]) {
        u.sigaction('SIGSEGV', 'return', expose);
        for (const address of [page | (0xa5n << 56n), 0x5000_0000n | (0xa5n << 56n)]) {
          const outcome = yield* u.load(address);
          if (!outcome.ok && 'code' in outcome) note(`${outcome.code} ${hex(outcome.address)}`);
        }
      }
    });
    expect(said).toEqual([
      'SEGV_MTESERR 0x10000000',
      'SEGV_MAPERR 0x50000000',
      'SEGV_MTESERR 0x500000010000000',
      'SEGV_MAPERR 0xa500000050000000',
    ]);
  });
});

describe.runIf(ON_ARM64)('PSTATE.TCO', () => {
  it('lets a program look away', () => {
    const said = notes(function* (u, note) {
      yield* u.must(u.setTaggedAddressControl({ mode: 'sync' }));
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
      yield* u.must(u.setTagCheckOverride(true));
      note((yield* u.attempt(u.store(page + TAG(3), 7))).ok ? 'stored' : 'refused');
      yield* u.must(u.setTagCheckOverride(false));
      note((yield* u.attempt(u.store(page + TAG(3), 7))).ok ? 'stored' : 'refused');
    });
    expect(said).toEqual(['stored', 'refused']);
  });
});

describe.runIf(ON_ARM64)('calls for memory tags', () => {
  it('give back what was set', () => {
    const said = notes(function* (u, note) {
      note(JSON.stringify(yield* u.must(u.taggedAddressControl())));
      yield* u.must(u.setTaggedAddressControl({ mode: 'both', tags: 0x00f0 }));
      note(JSON.stringify(yield* u.must(u.taggedAddressControl())));
    });
    expect(said).toEqual([
      '{"enable":false,"mode":"none","tags":0}',
      '{"enable":true,"mode":"both","tags":240}',
    ]);
  });

  it('store a run of bytes up to the granule of another tag', () => {
    const said = notes(function* (u, note) {
      yield* u.must(u.setTaggedAddressControl({ mode: 'sync' }));
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
      yield* u.must(u.stg(page + 0x20n, TAG(1)));
      const outcome = yield* u.attempt(u.storeBytes(page + 8n, new Uint8Array(64).fill(1)));
      note(
        !outcome.ok && 'code' in outcome ? `${outcome.code} at +${hex(outcome.address - page)}` : 'stored',
      );
      note([...(yield* u.must(u.loadBytes(page, 0x20)))].join(''));
    });
    expect(said).toEqual(['SEGV_MTESERR at +0x20', `${'0'.repeat(8)}${'1'.repeat(24)}`]);
  });
});

describe.runIf(ON_ARM64)('tag instructions of a program', () => {
  it('tag and zero what they say', () => {
    const said = notes(function* (u, note) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
      yield* u.must(u.storeBytes(page, new Uint8Array(4096).fill(1)));
      const tags = function* (count: number): Task<void> {
        const found: string[] = [];
        for (let i = 0; i < count; i++) {
          found.push(((yield* u.must(u.ldg(page + BigInt(16 * i)))) >> 56n).toString(16));
        }
        note(`${found.join('')} ${[...(yield* u.must(u.loadBytes(page + 15n, 2)))].join('')}`);
      };
      yield* u.must(u.stg(page + TAG(1)));
      yield* u.must(u.st2g(page + 16n + TAG(2)));
      yield* tags(4);
      yield* u.must(u.stgp(page + TAG(3), 5n, 6n));
      yield* tags(1);
      yield* u.must(u.stzg(page + TAG(4)));
      yield* tags(2);
      yield* u.must(u.stz2g(page + TAG(5)));
      yield* tags(3);
      yield* u.must(u.dcGva(page + TAG(6)));
      yield* tags(5);
      yield* u.must(u.storeBytes(page, new Uint8Array(64).fill(1)));
      yield* u.must(u.dcGzva(page + TAG(7)));
      yield* tags(5);
      yield* u.must(u.storeBytes(page, new Uint8Array(64).fill(1)));
      yield* u.must(u.dcZva(page));
      yield* tags(5);
      note(hex(yield* u.must(u.addg(0x1000n + TAG(2), 32, 3))));
      note(hex(yield* u.must(u.gmi(TAG(9), 1))));
    });
    expect(said).toEqual([
      '1220 11',
      '3 01',
      '42 01',
      '552 00',
      '66660 00',
      '77770 00',
      '77770 00',
      // Every tag but 0 is excluded for this process: ADDG finds no other.
      '0x1020',
      '0x201',
    ]);
  });
});

describe.runIf(ON_ARM64)('a debugger', () => {
  it('reads and writes the tags of a stopped process', () => {
    const said: string[] = [];
    const result = run(
      function* (u, share) {
        const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }));
        yield* u.must(u.st2g(page + TAG(6)));
        share.set('page', page);
        yield* share.wait('done');
        said.push(hex(yield* u.must(u.ldg(page))).slice(2, 3));
      },
      {
        *tracer(u, share) {
          const page = yield* share.waitWord('page');
          const pid = u.pidOf('program');
          yield* u.must(u.ptraceAttach(pid));
          said.push([...(yield* u.must(u.peekTags(pid, page, 3)))].join(' '));
          said.push(`${yield* u.must(u.pokeTags(pid, page, Uint8Array.of(9)))}`);
          yield* u.must(u.ptraceDetach(pid));
          share.set('done', true);
        },
      },
    );
    expect([result.outcome.kind, ...said]).toEqual(['finished', '6 6 0', '1', '9']);
  });
});

const YAML = `
title: a use after free
arch: arm64
programs:
  program:
    - tagged-address-control: { mode: sync, tags: 0xfffe }
    - mmap: { bytes: 4096, prot: rwm }
      as: page
    - irg: { address: $page }
      as: object
    - stg: { address: $object }
    - store: { address: $object, value: 5 }
    - addg: { address: $object, bytes: 0, tags: 1 }
      as: freed
    - stg: { address: $freed }
    - load: { address: $object }
      expect: { signal: SIGSEGV, code: SEGV_MTESERR }
    - load: { address: $freed }
      expect: 5
`;

const POKE = `
title: tags of another process
arch: arm64
programs:
  target:
    - mmap: { bytes: 4096, prot: rwm }
      as: page
    - wait-for: done
    - ldg: { address: $page }
      expect: $page + 0x0300000000000000
  tracer:
    - pid-of: target
      as: pid
    - ptrace-attach: $pid
    - poke-tags: { pid: $pid, address: $page, tags: [0xf3, 0x10, 255] }
      expect: 3
    - ptrace-detach: $pid
    - set: { variable: done, value: 1 }
`;

describe('a YAML scenario with tags', () => {
  it.runIf(ON_ARM64)('runs', () => {
    const result = runScenario(loadYamlScenario(YAML, 'tags.yaml'), { architecture });
    expect(result.outcome.kind).toBe('finished');
  });

  it.runIf(ON_ARM64)('gives PTRACE_POKEMTETAGS bytes, of which it takes the low 4 bits', () => {
    const result = runScenario(loadYamlScenario(POKE, 'poke.yaml'), { architecture });
    expect(result.outcome.kind).toBe('finished');
    const beyond = POKE.replace('0xf3', '256');
    expect(() => loadYamlScenario(beyond, 'poke.yaml')).toThrow(InputError);
  });
});

describe.skipIf(ON_ARM64)('on a machine without memory tags', () => {
  it.each<[string, Program, RegExp]>([
    [
      'an instruction',
      function* (u) {
        yield* u.irg(0n);
      },
      /^program "program": irg: this machine has no memory tags: expected arm64 \(--arch arm64\)/,
    ],
    [
      'a store of a tag',
      function* (u) {
        yield* u.stzg(0n);
      },
      /: stzg: this machine has no memory tags/,
    ],
    [
      'the control of checks',
      function* (u) {
        yield* u.setTaggedAddressControl({ mode: 'sync' });
      },
      /: setTaggedAddressControl: this machine has no memory tags/,
    ],
    [
      'tags of another process',
      function* (u) {
        yield* u.peekTags(1, 0n, 1);
      },
      /: peekTags: this machine has no memory tags/,
    ],
    [
      'PROT_MTE',
      function* (u) {
        yield* u.mmap({ bytes: 4096, prot: 'rwm' });
      },
      /: mmap: the machine has no protection "rwm": expected letters of rwx, or none; on arm64/,
    ],
    [
      'PROT_BTI with mprotect',
      function* (u) {
        yield* u.mprotect(0n, 4096, 'rxb');
      },
      /: mprotect: the machine has no protection "rxb"/,
    ],
  ])('%s is a mistake of the program', (_name, program, message) => {
    expect(() => run(program)).toThrow(InputError);
    expect(() => run(program)).toThrow(message);
  });
});

describe.runIf(ON_ARM64)('arguments that a call does not have', () => {
  it.each<[string, Program, RegExp]>([
    [
      'a mode that is none',
      function* (u) {
        yield* u.setTaggedAddressControl({ mode: 'asymm' as never });
      },
      /mode: expected none, sync, async, both, found asymm/,
    ],
    [
      'more tags than there are',
      function* (u) {
        yield* u.irg(0n, 0x1_0000);
      },
      /irg: exclude: expected a whole number from 0 to 65535, found 65536/,
    ],
    [
      'an offset of ADDG that is no multiple of 16',
      function* (u) {
        yield* u.addg(0n, 8, 0);
      },
      /addg: bytes: expected a multiple of 16, found 8/,
    ],
  ])('%s', (_name, program, message) => {
    expect(() => run(program)).toThrow(message);
  });
});
