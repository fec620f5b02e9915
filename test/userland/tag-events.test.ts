/** What a run on arm64 tells of faults, tag instructions and failed tag checks, in events and in the timeline. */
import { describe, expect, it } from 'vitest';
import type { EventKind, MachineEvent } from '../../src/hardware/event-sink.ts';
import { scenarioText } from '../../src/report/scenario-text.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { loadYamlScenario } from '../../src/userland/yaml/load.ts';
import { architecture, architectureName } from '../support/architecture.ts';

const PAGE = '0x10000000';

/** One program with a page of memory with tags, at `PAGE`, in a mode of tag checks. */
function run(mode: string, ...calls: readonly string[]): ScenarioResult {
  const text = [
    'title: tags',
    'arch: arm64',
    'programs:',
    '  p:',
    ...[
      `tagged-address-control: { mode: ${mode}, tags: 0xfffe }`,
      `mmap: { address: ${PAGE}, bytes: 4096, prot: rwxm, fixed: true }`,
      ...calls,
    ].map((call) => `    - ${call}`),
  ].join('\n');
  return runScenario(loadYamlScenario(text, 'tags.yaml'), { architecture });
}

function ofKind<K extends EventKind>(result: ScenarioResult, kind: K) {
  expect(result.outcome).toEqual({ kind: 'finished' });
  return result.events.filter((event) => event.kind === kind) as Extract<
    MachineEvent,
    { readonly kind: K }
  >[];
}

const withTag = (tag: number, offset = 0): string =>
  `0x${((BigInt(tag) << 56n) + 0x1000_0000n + BigInt(offset)).toString(16)}`;

describe.runIf(architectureName === 'arm64')('a fault that goes to the kernel is an event', () => {
  // ESR_EL1: EC 0x24 or 0x22, IL, WnR and the status code as the manual has them.
  it.each<[what: string, calls: readonly string[], syndrome: string]>([
    [
      'of a tag check of a load',
      [`stg: { address: ${withTag(3)} }`, `load: { address: ${PAGE} }\n      expect: { signal: SIGSEGV }`],
      'Data Abort from a lower Exception level, synchronous Tag Check Fault (ESR_EL1 0x92000011, FAR_EL1 0x10000000)',
    ],
    [
      'of a tag check of a store',
      [
        `stg: { address: ${withTag(3)} }`,
        `store: { address: ${withTag(5)}, value: 1 }\n      expect: { signal: SIGSEGV, code: SEGV_MTESERR }`,
      ],
      'Data Abort from a lower Exception level, synchronous Tag Check Fault, WnR (ESR_EL1 0x92000051, FAR_EL1 0x0500000010000000)',
    ],
    [
      'of a tag store that is not aligned',
      [
        `load: { address: ${PAGE} }`,
        `stg: { address: ${withTag(3, 8)} }\n      expect: { signal: SIGBUS, code: BUS_ADRALN }`,
      ],
      'Data Abort from a lower Exception level, Alignment fault, WnR (ESR_EL1 0x92000061, FAR_EL1 0x0300000010000008)',
    ],
    [
      'of an atomic access that reaches over 16 bytes',
      [
        `load: { address: ${PAGE} }`,
        `fetch-add: { address: ${PAGE} + 12, value: 1 }`
          .replace(`${PAGE} + 12`, '0x1000000c')
          .concat('\n      expect: { signal: SIGBUS, code: BUS_ADRALN }'),
      ],
      'Data Abort from a lower Exception level, Alignment fault (ESR_EL1 0x92000021, FAR_EL1 0x1000000c)',
    ],
    [
      'of a branch to an address that is no multiple of 4',
      [`load: { address: ${PAGE} }`, 'fetch: { address: 0x10000002 }\n      expect: { signal: SIGBUS }'],
      'PC alignment fault (ESR_EL1 0x8a000000, FAR_EL1 0x10000002)',
    ],
  ])('%s', (_, calls, syndrome) => {
    const faults = ofKind(run('sync', ...calls), 'fault');
    expect(faults.at(-1)?.syndrome).toBe(syndrome);
    // The first one is the page's own.
    expect(faults).toHaveLength(2);
  });

  it('counts as many as the kernel handled', () => {
    const result = run(
      'sync',
      `stg: { address: ${withTag(3)} }`,
      `load: { address: ${PAGE} }\n      expect: { signal: SIGSEGV }`,
    );
    expect(result.counters['fault']).toBe(2);
    expect(result.counters['fault-done']).toBe(2);
  });
});

describe.runIf(architectureName === 'arm64')('a tag check that fails asynchronously', () => {
  it('is an event when it sets the flag, and none while the flag is set', () => {
    const store = (tag: number): string => `store: { address: ${withTag(tag)}, value: 1 }`;
    const result = run(
      'async',
      store(0),
      store(3),
      store(4),
      `munmap: { address: ${PAGE}, bytes: 4096 }\n      expect: { signal: SIGSEGV, code: SEGV_MTEAERR }`,
    );
    expect(ofKind(result, 'tag-check')).toMatchObject([
      { task: 'p', address: 0x0300_0000_1000_0000n, flag: 'TFSRE0_EL1.TF0' },
    ]);
    expect(ofKind(result, 'fault')).toHaveLength(1);
  });
});

describe.runIf(architectureName === 'arm64')('the timeline', () => {
  it('has a line for each tag instruction, with its tag', () => {
    const result = run(
      'sync',
      `irg: { address: ${PAGE}, exclude: 0xfbff }`,
      `addg: { address: ${withTag(10)}, bytes: 32, tags: 2 }`,
      `subg: { address: ${withTag(10, 32)}, bytes: 16, tags: 1 }`,
      `subp: { address: ${withTag(10, 32)}, other: ${withTag(3)} }\n      expect: 32`,
      `gmi: { address: ${withTag(10)}, mask: 1 }\n      expect: 0x401`,
      `stg: { address: ${withTag(10)} }`,
      `ldg: { address: 0x10000008 }\n      expect: ${withTag(10, 8)}`,
      `stgp: { address: ${withTag(4)}, first: 5, second: 6 }`,
      `dc-gva: { address: ${withTag(7, 64)} }`,
      `dc-gzva: { address: ${withTag(8, 64)} }`,
      `dc-zva: { address: ${withTag(8, 64)} }`,
      'tag-check-override: { on: true }',
      'tag-check-override: { on: false }',
      `st2g: { address: ${withTag(9, 8)} }\n      expect: { signal: SIGBUS }`,
    );
    expect(result.outcome).toEqual({ kind: 'finished' });
    const lines = scenarioText(result, { width: 200 })
      .split('\n')
      .flatMap((line) => / p: ((?:irg|addg|sub|gmi|st|ldg|dc|msr) ?.*)$/.exec(line)?.[1] ?? []);
    expect(lines).toEqual([
      'irg 0x10000000: tag 10',
      'addg 0x0a00000010000000: 0x0c00000010000020, tag 12',
      'subg 0x0a00000010000020: 0x0b00000010000010, tag 11',
      'subp 0x0a00000010000020: 0x20',
      'gmi 0x0a00000010000000: 0x401',
      'stg 0x0a00000010000000, tag 10',
      'ldg 0x10000008: tag 10',
      'stgp 0x0400000010000000, tag 4',
      'dc gva 0x0700000010000040, tag 7',
      'dc gzva 0x0800000010000040, tag 8',
      'dc zva 0x0800000010000040',
      'msr tco, 1',
      'msr tco, 0',
      'st2g 0x0900000010000008: SIGBUS',
    ]);
  });

  it('shows the page of a TLB fill without a tag, and calls the number of the address space ASID', () => {
    const text = scenarioText(run('none', `store: { address: ${withTag(3)}, value: 1 }`), { width: 200 });
    expect(text).toMatch(/TLB fill: 0x10000000 is frame 0x\w+, 4 KiB, ASID \d/);
    expect(text).toMatch(/fault at 0x0300000010000000 handled: frame 0x\w+, writable/);
  });
});

describe('atomic accesses of a program', () => {
  const ATOMICS = `
title: atomics
programs:
  p:
    - mmap: { bytes: 4096, prot: rw }
      as: page
    - store: { address: $page, value: 5 }
    - fetch-add: { address: $page, value: 3 }
      expect: 5
    - swap: { address: $page, value: 9 }
      expect: 8
    - compare-and-swap: { address: $page, expected: 1, value: 2 }
      expect: 9
    - compare-and-swap: { address: $page, expected: 9, value: 2 }
      expect: 9
    - load: { address: $page }
      expect: 2
    - mprotect: { address: $page, bytes: 4096, prot: r }
    - compare-and-swap: { address: $page, expected: 1, value: 2 }
      expect: { signal: SIGSEGV, code: SEGV_ACCERR }
`;

  it('read and write at once, and need the right to write also where they leave the value', () => {
    const { outcome } = runScenario(loadYamlScenario(ATOMICS, 'atomics.yaml'), { architecture });
    expect(outcome).toEqual({ kind: 'finished' });
  });
});

describe.runIf(architectureName === 'arm64')('results of YAML calls', () => {
  it('are numbers, also tags and bytes of another process', () => {
    const text = `
title: results
arch: arm64
programs:
  target:
    - mmap: { bytes: 4096, prot: rwm }
      as: page
    - st2g: { address: $page, from: ${withTag(10)} }
    - store: { address: $page, value: 0x123 }
    - set: { variable: ready, value: 1 }
    - wait-for: done
  debugger:
    - wait-for: ready
    - ptrace-attach: 2
    - peek-tags: { pid: 2, address: $page, granules: 2 }
      expect: 0x0a0a
      as: tags
    - process-vm-readv: { pid: 2, remote: [{ address: $page, bytes: 2 }] }
      as: got
    - set: { variable: sum, value: $tags + 1 }
    - set: { variable: next, value: $got + 1 }
    - ptrace-detach: 2
    - set: { variable: done, value: 1 }
finally:
  - variable: { name: sum, value: 0x0a0b }
  - variable: { name: next, value: 0x124 }
`;
    const { outcome, variables } = runScenario(loadYamlScenario(text, 'results.yaml'), { architecture });
    expect(outcome).toEqual({ kind: 'finished' });
    expect(new Map(variables).get('tags')).toBe(0x0a0an);
  });
});
