import { describe, expect, it } from 'vitest';
import type { KernelArchitecture } from '../../src/arch/kernel-architecture.ts';
import { architectureNamed } from '../../src/arch/registry.ts';
import { InputError } from '../../src/base/input-error.ts';
import { readJsonLines } from '../../src/conformance/jsonl.ts';
import { architectureOfTrace } from '../../src/conformance/replay/architecture.ts';
import { formatDifference } from '../../src/conformance/replay/compare.ts';
import { replayTrace, type TraceOutcome } from '../../src/conformance/replay/run.ts';
import { parseTrace, readTraces, type Trace } from '../../src/conformance/replay/trace.ts';
import type { ReplayOptions } from '../../src/conformance/replay/world.ts';

const DIRECTED = 'test/traces/directed-x86_64.jsonl.gz';
const PUBLIC = 'test/traces/public-x86_64.jsonl.gz';
const DIRECTED_ARM64 = 'test/traces/directed-arm64.jsonl.gz';
const PUBLIC_ARM64 = 'test/traces/public-arm64.jsonl.gz';
const MTE = 'test/traces/arm64-mte.jsonl.gz';
const architecture = architectureNamed('x86_64');

const shortId = (trace: Trace): string => trace.id.replace(/^.*-/, '');
const ownArchitecture = (trace: Trace): KernelArchitecture => architectureNamed(architectureOfTrace(trace));

function explain(outcome: TraceOutcome): string {
  if (outcome.kind === 'failed') return formatDifference(outcome.difference).join('\n');
  return outcome.kind === 'passed' ? 'passed' : `unsupported: ${outcome.missing.join(', ')}`;
}

/** The traces of a file by the last part of their id. */
async function tracesOf(file: string): Promise<Map<string, Trace>> {
  const traces = new Map<string, Trace>();
  for await (const trace of readTraces(file)) traces.set(shortId(trace), trace);
  return traces;
}

/** The README says how many scripts and calls there are, and that all are replayed. */
describe.each([
  { what: 'a real x86-64 kernel', file: DIRECTED, scripts: 101, calls: 1163 },
  { what: 'a real arm64 kernel', file: DIRECTED_ARM64, scripts: 101, calls: 1163 },
  { what: 'a real arm64 kernel with memory tags', file: MTE, scripts: 94, calls: 1118 },
])('recorded traces of $what', async ({ file, scripts, calls }) => {
  const traces = await tracesOf(file);
  const outcome = (id: string, options: Partial<ReplayOptions> = {}): TraceOutcome => {
    const trace = traces.get(id) as Trace;
    return replayTrace(trace, { architecture: ownArchitecture(trace), ...options });
  };

  it(`are ${scripts} scripts of ${calls} calls`, () => {
    const steps = [...traces.values()].map((trace) => trace.steps.length);
    expect({ scripts: steps.length, calls: steps.reduce((a, b) => a + b, 0) }).toEqual({ scripts, calls });
  });

  it.each([...traces.keys()])('%s is replayed field by field', (id) => {
    expect(explain(outcome(id))).toBe('passed');
  });

  it.each(['adversarial', 'none'] as const)('give the same results with TLB retention %s', (retention) => {
    for (const id of traces.keys())
      expect(`${id} ${explain(outcome(id, { retention }))}`).toBe(`${id} passed`);
  });
});

describe('random traces of real kernels', () => {
  it.each([
    { file: PUBLIC, scripts: 1500, calls: 37_490 },
    { file: PUBLIC_ARM64, scripts: 300, calls: 7521 },
  ])(
    'are all replayed, field by field: $file',
    async ({ file, ...expected }) => {
      const counted = { scripts: 0, calls: 0 };
      for await (const trace of readTraces(file)) {
        const outcome = replayTrace(trace, { architecture: ownArchitecture(trace) });
        expect(`${shortId(trace)} ${explain(outcome)}`).toBe(`${shortId(trace)} passed`);
        counted.scripts += 1;
        counted.calls += trace.steps.length;
      }
      expect(counted).toEqual(expected);
    },
    240_000,
  );
});

describe('a trace of another architecture', () => {
  it('is unsupported', async () => {
    const [trace] = (await tracesOf(MTE)).values();
    expect(replayTrace(trace as Trace, { architecture })).toMatchObject({
      kind: 'unsupported',
      missing: ['architecture arm64'],
    });
  });
});

/** A trace with one thing changed in its JSON. */
async function changed(id: string, change: (steps: Record<string, unknown>[]) => void): Promise<Trace> {
  for await (const line of readJsonLines(DIRECTED, { wideIntegersAsText: true })) {
    const value = line.value as { id: string; steps: Record<string, unknown>[] };
    if (!value.id.endsWith(id)) continue;
    change(value.steps);
    return parseTrace({ ...line, value });
  }
  throw new Error(`no trace ${id}`);
}

describe('a difference in a user access', () => {
  it('comes with the walk explained', async () => {
    const wrong = await changed('d003', (steps) => {
      const step = steps.find(({ result }) => (result as { code?: string }).code === 'SEGV_ACCERR');
      (step?.['result'] as Record<string, unknown>)['code'] = 'SEGV_MAPERR';
    });
    const text = explain(replayTrace(wrong, { architecture }));
    expect(text).toMatch(/code "SEGV_MAPERR" +\| code "SEGV_ACCERR"/);
    expect(text).toMatch(/the walk of 0x100000000000 \(user (read|write)\) now:\n +PML4E /);
    expect(text).toMatch(/: P = 0, so there is no translation\n +#PF (WR )?US/);
  });
});

describe('a trace that says something else than the kernel did', () => {
  it.each([
    {
      name: 'a value that was read',
      id: 'd001',
      step: 6,
      change: (step: Record<string, unknown>) => {
        step['result'] = { ret: 8, value: 'c301000000000001', minflt: 0 };
      },
      field: 'result',
      process: undefined,
      line: 'value "c301000000000001" | value "c301000000000000"',
    },
    {
      name: 'a flag of a mapping',
      id: 'd001',
      step: 2,
      change: (step: Record<string, unknown>) => {
        step['vmas'] = [['0x100000000000', '0x100000004000', 'rw-p', '0x0', 'anon', 'rd wr mr mw me']];
      },
      field: 'vmas',
      process: 1,
      line: 'rd wr mr mw me | 0x100000000000-0x100000004000 rw-p 0x0    anon   rd wr mr mw me ac',
    },
    {
      name: 'the state of a page',
      id: 'd001',
      step: 3,
      change: (step: Record<string, unknown>) => {
        step['pages'] = [['0x100000000000', 2, 'PZ']];
      },
      field: 'pages',
      process: 1,
      line: '0x100000000000 ×2   PZ | 0x100000000000 ×1   PX',
    },
    {
      name: 'the resident size',
      id: 'd001',
      step: 3,
      change: (step: Record<string, unknown>) => {
        step['rss'] = { rss: 8, anon: 4, swap: 0, lck: 0 };
      },
      field: 'rss',
      process: 1,
      line: 'rss 8 KiB  | rss 4 KiB',
    },
    {
      name: 'the bytes of a remote read',
      id: 'd030',
      step: 3,
      change: (step: Record<string, unknown>) => {
        (step['result'] as Record<string, unknown>)['nz'] = [[0, 1, 'ff']];
      },
      field: 'result',
      process: undefined,
      line: 'bytes 0+1 ff',
    },
    {
      name: 'that another process died',
      id: 'd028',
      step: 2,
      change: (step: Record<string, unknown>) => {
        step['others'] = { '2': { dead: true } };
      },
      field: 'alive',
      process: 2,
      line: 'dead     | alive',
    },
  ])('fails at the first difference: $name', async ({ id, step, change, field, process, line }) => {
    const outcome = replayTrace(
      await changed(id, (steps) => change(steps[step] as Record<string, unknown>)),
      {
        architecture,
      },
    );
    if (outcome.kind !== 'failed') throw new Error(`the trace is ${outcome.kind}`);
    expect(outcome.difference.step.index).toBe(step);
    expect(outcome.difference.field).toBe(field);
    expect(outcome.difference.process).toBe(process);
    expect(formatDifference(outcome.difference).join('\n')).toContain(line);
  });
});

const step = {
  op: 'mmap',
  pid: 1,
  args: {
    addr: '0x100000000000',
    len: '0x1000',
    prot: 'rw',
    flags: 'PRIVATE|ANONYMOUS|FIXED',
    fd: -1,
    off: '0x0',
  },
  result: { ret: '0x100000000000' },
  vmas: [['0x100000000000', '0x100000001000', 'rw-p', '0x0', 'anon', 'rd wr mr mw me ac']],
  pages: [],
  rss: { rss: 0, anon: 0, swap: 0, lck: 0 },
};
const traceOf = (change: object, arch = 'x86_64'): Trace =>
  parseTrace({
    file: 'case.jsonl',
    line: 1,
    value: {
      id: 'case',
      arch,
      arena: '0x100000000000',
      arena_size: '0x10000000',
      steps: [{ ...step, ...change }],
    },
  });

describe('a trace that asks for something not built', () => {
  it('passes as it stands, so that what follows is due to the change', () => {
    expect(explain(replayTrace(traceOf({}), { architecture }))).toBe('passed');
  });

  it.each([
    { name: 'an operation', change: { op: 'teleport' }, missing: 'teleport' },
    { name: 'an argument', change: { args: { ...step.args, numa: 1 } }, missing: 'mmap with numa' },
    {
      name: 'a flag',
      change: { args: { ...step.args, flags: 'PRIVATE|UPSIDE_DOWN' } },
      missing: 'mmap with flags UPSIDE_DOWN',
    },
    { name: 'another architecture', change: {}, arch: 'riscv64', missing: 'architecture riscv64' },
  ])('is unsupported and names $name', ({ change, arch, missing }) => {
    expect(replayTrace(traceOf(change, arch), { architecture })).toMatchObject({
      kind: 'unsupported',
      missing: [missing],
    });
  });
});

describe('a malformed trace', () => {
  it.each([
    {
      name: 'no operation',
      change: { op: 7 },
      message: /^case\.jsonl:1: step 0: "op" must be text: found 7$/,
    },
    {
      name: 'no result',
      change: { result: undefined },
      message: /step 0: "result" must be an object: found nothing$/,
    },
    {
      name: 'a row of five',
      change: { vmas: [['a', 'b', 'c', 'd', 'e']] },
      message: /a row of "vmas" has 6 fields/,
    },
    {
      name: 'a count that is text',
      change: { pages: [['0x0', 'two', 'P']] },
      message: /the count of "pages" must be a number/,
    },
    {
      name: 'an address that is none',
      change: { args: { ...step.args, addr: 'here' } },
      message: /^case\.jsonl:1: step 0: mmap needs "addr", a 64-bit number: found "here"$/,
    },
    {
      name: 'an address of 65 bits',
      change: { args: { ...step.args, addr: '0x1ffffffffffffffff' } },
      message: /mmap needs "addr", a 64-bit number/,
    },
    {
      name: 'a process that never was',
      change: { pid: 5 },
      message: /^case\.jsonl:1: process 5 does not exist$/,
    },
  ])('is bad input: $name', ({ change, message }) => {
    let error: unknown;
    try {
      replayTrace(traceOf(change), { architecture });
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(message);
  });
});
