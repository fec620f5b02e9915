/** The files of the bad-input table, by name: every kind of file the command reads, spoiled in one place each. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { makeCore, qemuState } from '../conformance/core/make-core.ts';
import { projectFolder } from '../support/child.ts';

const inProject = (file: string): string => join(projectFolder, file);
const CORE = readFileSync(inProject('test/real/x86_64-4level-linux6.1.core.gz'));
const REGS = readFileSync(inProject('test/real/x86_64-4level-linux6.1.regs.json'), 'utf8');
const VECTORS = readFileSync(inProject('test/vectors/x86_64.jsonl.gz'));

const vector = {
  id: 'v1',
  arch: 'x86_64',
  cpu: {
    cr0: '0x80010033',
    cr3: '0x1000',
    cr4: '0x20',
    efer: '0xd01',
    pkru: '0x0',
    pkrs: '0x0',
    cpl: 0,
    ac: 0,
    maxPhysAddr: 40,
    pge1g: true,
  },
  memory: [],
  access: { va: '0x1000', kind: 'read', seg: 'ds', size: 8 },
  expect: { fault: { vector: 14, errorCode: '0x0', cr2: '0x1000' } },
  memoryAfter: [],
  tags: ['np'],
};
const step = {
  op: 'mmap',
  pid: 1,
  args: {
    addr: '0x100000000000',
    len: '0x4000',
    prot: 'rw',
    flags: 'PRIVATE|ANONYMOUS|FIXED',
    fd: -1,
    off: '0x0',
  },
  result: { ret: '0x100000000000' },
  vmas: [['0x100000000000', '0x100000004000', 'rw-p', '0x0', 'anon', 'rd wr mr mw me ac']],
  pages: [],
  rss: { rss: 0, anon: 0, swap: 0, lck: 0 },
};
const trace = {
  id: 't1',
  arch: 'x86_64',
  kernel: '6.18',
  arena: '0x100000000000',
  arena_size: '0x10000000',
  steps: [step],
};
const lines = (...objects: unknown[]): string => `${objects.map((o) => JSON.stringify(o)).join('\n')}\n`;
const yaml = (...calls: string[]): string =>
  ['title: t', 'programs:', '  p:', ...calls.map((call) => `    - ${call}`), ''].join('\n');
const typescript = (...body: string[]): string =>
  ["import { defineScenario } from 'tablewalk';", ...body, ''].join('\n');
const program = (...body: string[]): string =>
  typescript(
    'export default defineScenario({',
    "  title: 't',",
    '  programs: {',
    '    *p(u) {',
    ...body.map((line) => `      ${line}`),
    '    },',
    '  },',
    '});',
  );

/** A core whose header lies about where the program headers are. */
function coreWithWrongHeader(): Uint8Array {
  const core = makeCore({ pages: [{ physicalAddress: 0, entries: {} }], notes: [qemuState({ cr3: 0n })] });
  new DataView(core.buffer).setBigUint64(32, 0xffff_ffffn, true);
  return core;
}

/** Nine lists of nine aliases each of the one before: 9^9 values in some hundred bytes. */
function aliasBomb(): string {
  const names = [...'abcdefghi'];
  const list = (item: string): string => `[${Array(9).fill(item).join(', ')}]`;
  return names
    .map((name, at) => `${name}: &${name} ${list(at === 0 ? 'x' : `*${names[at - 1]}`)}\n`)
    .join('');
}

const files: Readonly<Record<string, string | Uint8Array>> = {
  'empty.jsonl': '',
  'text.jsonl': 'not JSON\n',
  'list.jsonl': '[1, 2]\n',
  'binary.jsonl': Uint8Array.of(0x80, 0x81, 0x0a),
  'header-only.jsonl.gz': Uint8Array.of(0x1f, 0x8b),
  'damaged.jsonl.gz': Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff, 0xff),
  'truncated.jsonl.gz': VECTORS.subarray(0, 20_000),

  'vector.jsonl': lines(vector),
  'cut-line.jsonl': `${lines(vector)}${JSON.stringify(vector).slice(0, 100)}`,
  'wide.jsonl': lines({ ...vector, cpu: { ...vector.cpu, cr3: '0x1ffffffffffffffff' } }),
  'no-cpu.jsonl': lines(vector, { ...vector, cpu: undefined }),
  'kind.jsonl': lines({ ...vector, access: { ...vector.access, kind: 'reed' } }),
  'pair.jsonl': lines({ ...vector, memory: [['0x1000', '0x1'], ['0x1008']] }),
  'arch.jsonl': lines({ ...vector, arch: 'mips' }),
  'arm64.jsonl': lines({ ...vector, arch: 'arm64' }),

  'strange.yaml': 'title: t\narch: arm65\nprograms: { p: [] }\n',
  'tags.yaml':
    'title: t\nprograms:\n  p:\n    - setuid: { uid: 0 }\n    - tagged-address-control: { mode: sync }\n',
  'no-result.yaml': 'title: t\nprograms:\n  p:\n    - setuid: { uid: 0 }\n      as: nothing\n',
  'trace.jsonl': lines(trace),
  'cut-trace.jsonl': JSON.stringify(trace).slice(0, 300),
  'no-steps.jsonl': lines(trace, { ...trace, steps: undefined }),
  'step-pid.jsonl': lines({ ...trace, steps: [step, { ...step, pid: 'one' }] }),
  'vma-row.jsonl': lines({ ...trace, steps: [{ ...step, vmas: [['0x1000']] }] }),
  'wide-argument.jsonl': lines({
    ...trace,
    steps: [{ ...step, args: { ...step.args, addr: '0x1ffffffffffffffff' } }],
  }),
  'arena.jsonl': lines({ ...trace, arena: 'here' }),

  'scenario.txt': yaml('brk: { address: 0 }'),
  'empty.yaml': '',
  'not-yaml.yaml': 'title: [\n',
  'typo.yaml': 'title: t\nprogrmas: {}\n',
  'call.yaml': yaml('mmap: { bytes: 4096, prot: rw }', 'mumap: { address: 0x1000, bytes: 4096 }'),
  'wide.yaml': yaml('load: { address: 0x1ffffffffffffffff }'),
  'unaligned.yaml': yaml('munmap: { address: 0x1234, bytes: 4096 }'),
  'type.yaml': yaml('load: { address: page }'),
  'bomb.yaml': aliasBomb(),
  'deep.yaml': `title: ${'['.repeat(20_000)}\n`,
  'binary.yaml': Uint8Array.of(0x74, 0xff, 0xfe),
  'cpus.yaml': `cpus: 1\nplacement: { p: 3 }\n${yaml('brk: { address: 0 }')}`,

  'empty.ts': '',
  'throws.ts': typescript('', "throw new Error('the disk is full');"),
  'throws-text.mjs': "throw 'only text';\n",
  'syntax.ts': typescript(
    'export default defineScenario({',
    "  title: 't',",
    '  programs: { *p(u) {] },',
    '});',
  ),
  'syntax.mjs': 'export default {\n  a: [1, 2\n};\n',
  'no-default.ts': 'export const scenario = 1;\n',
  'missing-import.ts': "import { x } from './not-there.ts';\n\nexport default x;\n",
  'missing-export.ts': "import { defineScenery } from 'tablewalk';\n\nexport default defineScenery({});\n",
  'no-scenario.ts': 'export default { programs: {} };\n',
  'define.ts': typescript('', "export default defineScenario({ title: 't', cpus: 99, programs: {} });"),
  'runtime.ts': program('const share = new Map();', "share.get('page').bytes;", 'yield* u.must(u.brk(0n));'),
  'runtime-always.ts': typescript(
    'export default defineScenario({',
    "  title: 't',",
    '  programs: { *p(u) { yield* u.compute(1); } },',
    "  always: { 'it holds': (w) => w.nothing.there },",
    '});',
  ),
  'unknown-call.ts': program('yield* u.mmapp({ bytes: 4096 });'),
  'wide.ts': program('yield* u.must(u.load(1n << 64n));'),
  'unaligned.ts': program('yield* u.munmap(0x1234n, 4096);'),
  'loop.yaml': yaml('brk: { address: 0 }'),

  'empty.core': '',
  'text.core': 'this is no core\n',
  'wrong-header.core': coreWithWrongHeader(),
  'cut.core': gunzipSync(CORE).subarray(0, 100),
  'cut.core.gz': CORE.subarray(0, 5_000),
  'arm64.core': makeCore({ machine: 183, pages: [{ physicalAddress: 0, entries: {} }] }),
  'no-note.core': makeCore({ pages: [{ physicalAddress: 0, entries: {} }] }),
  'good.core': makeCore({
    pages: [{ physicalAddress: 0x1000, entries: {} }],
    notes: [qemuState({ cr3: 0x1000n })],
  }),

  'text.regs.json': 'CR3 is 0x1000\n',
  'gzip.regs.json': gzipSync(REGS),
  'list.regs.json': '[]\n',
  'no-cr3.regs.json': REGS.replace(/ "cr3".*\n/, ''),
  'wide.regs.json': REGS.replace('"0x1062000",\n "cr4"', '"0x11062000110620001",\n "cr4"'),
  'levels.regs.json': REGS.replace('"levels": 4', '"levels": 5'),
  'arch.regs.json': REGS.replace('"x86_64",', '"sparc",'),

  'row.truth.jsonl': lines({ va: '0x1000', pa: '0x1000', size: 4096, flags: 'X--DA--UW' }, { va: '0x2000' }),
  'size.truth.jsonl': lines({ va: '0x1000', pa: '0x1000', size: 8192, flags: 'X--DA--UW' }),
  'unaligned.truth.jsonl': lines({ va: '0x1234', pa: '0x1000', size: 4096, flags: 'X--DA--UW' }),
  'twice.truth.jsonl': lines(
    { va: '0x1000', pa: '0x1000', size: 4096, flags: 'X--DA--UW' },
    { va: '0x1000', pa: '0x3000', size: 4096, flags: 'X--DA--UW' },
  ),
};

/** Writes them all into `folder`, and a folder named as each kind of file. */
export function writeBadInput(folder: string): void {
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  for (const name of ['folder.jsonl', 'folder.yaml', 'folder.ts', 'folder.core', 'folder.json']) {
    mkdirSync(join(folder, name));
  }
}
