// Packs the project, checks what is inside, installs it into an empty folder and uses it from there: the command with
// scenarios of every kind, and the types.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const fail = (message) => {
  console.error(`package check: ${message}`);
  process.exit(1);
};
/** Runs a command and returns what it prints; when it fails, shows that and stops. */
const run = (command, args, cwd) => {
  const { status, stdout } = spawnSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0) fail(`'${command} ${args.join(' ')}' in ${cwd} ended with status ${status}\n${stdout}`);
  return stdout;
};

const WANTED = [
  'package.json',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
  'CAVEATS.md',
  'dist/index.js',
  'dist/index.d.ts',
  'dist/cli/main.js',
  'docs/scenarios.md',
  'docs/library.md',
  'docs/questions.md',
  'examples/peek.ts',
  'examples/remote-read.ts',
  'examples/mm/vma-locks.ts',
  'examples/remote/s01-cmdline-during-mprotect.ts',
  'examples/bugs/mremap-stale-tlb.ts',
  'examples/complaints/smaps-stall.ts',
  'examples/questions/two-vmas.ts',
  'examples/mte/detection-rate.ts',
  'examples/mte/lib/allocator.ts',
];
const ALLOWED = [/^dist\/.*\.(js|d\.ts)$/, /^docs\/.*\.md$/, /^examples\/(bugs\/|explore\/|mm\/|questions\/|remote\/|complaints\/|mte\/(lib\/)?)?[^/]+\.(ts|yaml)$/, /^[^/]+$/];

const JAVASCRIPT_SCENARIO = `
import { defineScenario } from 'tablewalk';

export default defineScenario({
  title: 'a scenario in JavaScript',
  programs: {
    *program(u) {
      const page = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      yield* u.must(u.store(page, 1n));
    },
  },
});
`;
const TYPED_USE = `
import { architectureNamed, arm64, defineScenario, type Outcome, PhysicalMemory, runScenario, x86_64 } from 'tablewalk';

const scenario = defineScenario({
  title: 'typed',
  programs: {
    *program(u, share) {
      const page: bigint = yield* u.must(u.mmap({ bytes: 4096, prot: 'rw' }));
      const loaded: Outcome<bigint> = yield* u.load(page);
      share.set('loaded', loaded.ok ? loaded.value : 0n);
    },
  },
});
export const steps: number = runScenario(scenario, { architecture: architectureNamed('x86_64') }).steps;
export const walker = x86_64;

const mmu = new arm64.Arm64Mmu(new PhysicalMemory(), { features: { ...arm64.NEOVERSE_V2, mte: 0 } });
arm64.msr(mmu, { SCTLR_EL1: arm64.SCTLR_EL1.encode({ M: 1 }), TTBR0_EL1: 0x1000n });
const table: bigint = arm64.tableLayout({ granule: 12, level: 1, lpa: false }).encode({ VALID: 1, TYPE: 1 });
export const esr: bigint = arm64.faultEsr(mmu.fault) | table;
export const refused: string | null = new arm64.ShareabilityDomain([mmu]).tlbi(0, 'VMALLE1IS');
// @ts-expect-error: there is no such register
arm64.msr(mmu, { SCTLR_EL4: 0n });
`;
// No types but the package's own: it must not need @types/node, or skip the check of its declarations.
const TYPED_OPTIONS = {
  compilerOptions: {
    target: 'ES2023',
    lib: ['ES2023'],
    types: [],
    module: 'NodeNext',
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    noEmit: true,
  },
  files: ['typed.ts'],
};

function checkContent({ files, name, version, unpackedSize }) {
  const paths = files.map((file) => file.path);
  const missing = WANTED.find((wanted) => !paths.includes(wanted));
  if (missing !== undefined) fail(`${missing} is missing from the package`);
  const stray = paths.find((path) => /(^|\/)test\/|\.test\./.test(path) || !ALLOWED.some((allowed) => allowed.test(path)));
  if (stray !== undefined) fail(`${stray} does not belong in the package`);
  console.log(`${name}-${version}: ${files.length} files, ${Math.round(unpackedSize / 1024)} KiB unpacked`);
}

/** A folder as a user makes it, with the package installed. */
function install(folder, tarball, packageJson) {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify(packageJson));
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', tarball], folder);
  cpSync(join(folder, 'node_modules/tablewalk/examples'), folder, { recursive: true });
  writeFileSync(join(folder, 'plain.mjs'), JAVASCRIPT_SCENARIO);
}

function checkCommand(folder, scenarios) {
  const help = run('npx', ['tablewalk', '--help'], folder);
  for (const command of ['run', 'verify', 'replay', 'walk', 'maps', 'decode']) {
    if (!new RegExp(`^  ${command}\\b`, 'm').test(help)) fail(`'npx tablewalk --help' does not name ${command}`);
  }
  for (const scenario of scenarios) {
    const ran = run('npx', ['tablewalk', 'run', scenario], folder);
    if (!/: finished(, every assertion holds)?$/m.test(ran)) fail(`'npx tablewalk run ${scenario}' did not finish:\n${ran}`);
  }
}

rmSync('dist', { recursive: true, force: true });
run('npm', ['run', '-s', 'build'], '.');
run('npm', ['run', '-s', 'publint'], '.');
const temporary = mkdtempSync(join(tmpdir(), 'tablewalk-package-'));
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }));

const [packed] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', temporary], '.'));
checkContent(packed);
const tarball = join(temporary, packed.filename);

const modules = join(temporary, 'modules');
install(modules, tarball, { name: 'user', private: true, type: 'module' });
checkCommand(modules, ['peek.ts', 'remote-read.ts', 'plain.mjs', 'fork-cow.yaml', 'mte/use-after-free.ts']);
// Folders whose .ts files are CommonJS, which imports the same package; and a scenario in none of them.
const plain = join(temporary, 'plain');
install(plain, tarball, { name: 'user', private: true });
cpSync('examples/peek.ts', join(temporary, 'peek.ts'));
checkCommand(plain, ['remote-read.ts', '../peek.ts']);
const common = join(temporary, 'common');
install(common, tarball, { name: 'user', private: true, type: 'commonjs' });
checkCommand(common, ['remote-read.ts']);

writeFileSync(join(modules, 'typed.ts'), TYPED_USE);
writeFileSync(join(modules, 'tsconfig.json'), JSON.stringify(TYPED_OPTIONS));
run(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', modules], '.');
console.log('installed into empty folders: --help, scenarios in TypeScript, JavaScript and YAML, and the types work');
