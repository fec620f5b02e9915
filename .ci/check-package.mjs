// Packs the project, checks what is inside, installs it into an empty folder and runs it from there.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const run = (command, args, cwd) => execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
const fail = (message) => {
  console.error(`package check: ${message}`);
  process.exit(1);
};

run('npm', ['run', '-s', 'build'], '.');
const folder = mkdtempSync(join(tmpdir(), 'tablewalk-package-'));
try {
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], '.'));
  const files = packed.files.map((file) => file.path);
  for (const wanted of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'CAVEATS.md', 'dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js', 'examples/remote-read.ts']) {
    if (!files.includes(wanted)) fail(`${wanted} is missing from the package`);
  }
  const stray = files.find((path) => !/^(dist|examples)\/|^(package\.json|README\.md|LICENSE|CHANGELOG\.md|CAVEATS\.md)$/.test(path));
  if (stray !== undefined) fail(`${stray} does not belong in the package`);
  console.log(`${packed.name}-${packed.version}: ${files.length} files, ${Math.round(packed.unpackedSize / 1024)} KiB unpacked`);

  run('npm', ['run', '-s', 'publint'], '.');
  const clean = join(folder, 'user');
  execFileSync('mkdir', [clean]);
  writeFileSync(join(clean, 'package.json'), '{ "name": "user", "private": true, "type": "module" }\n');
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', join(folder, packed.filename)], clean);
  const help = run('npx', ['tablewalk', '--help'], clean);
  for (const command of ['run', 'verify', 'replay', 'walk', 'maps', 'decode']) {
    if (!new RegExp(`^  ${command}\\b`, 'm').test(help)) fail(`'npx tablewalk --help' does not name the command ${command}`);
  }
  const example = readFileSync(join(clean, 'node_modules/tablewalk/examples/remote-read.ts'), 'utf8');
  writeFileSync(join(clean, 'remote-read.ts'), example);
  const ran = run('npx', ['tablewalk', 'run', 'remote-read.ts'], clean);
  if (!ran.includes('finished')) fail(`'npx tablewalk run remote-read.ts' did not finish:\n${ran}`);
  console.log('installed into an empty folder: --help and run work');
} finally {
  rmSync(folder, { recursive: true, force: true });
}
