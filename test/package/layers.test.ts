/** Each dependency rule catches one planted violation, and a clean tree breaks none. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

/** [rule that must speak, file that breaks it, what it imports] */
const planted: readonly (readonly [string, string, string])[] = [
  ['base-imports-downward', 'src/base/planted.ts', '../hardware/target.ts'],
  ['hardware-imports-downward', 'src/hardware/planted.ts', '../sched/target.ts'],
  ['arch/x86_64-imports-downward', 'src/arch/x86_64/planted.ts', '../arm64/target.ts'],
  ['arch/arm64-imports-downward', 'src/arch/arm64/planted.ts', '../x86_64/target.ts'],
  ['sched-imports-downward', 'src/sched/planted.ts', '../kernel/target.ts'],
  ['kernel/lock-imports-downward', 'src/kernel/lock/planted.ts', '../mm/target.ts'],
  ['kernel/frame-imports-downward', 'src/kernel/frame/planted.ts', '../mm/target.ts'],
  ['kernel-imports-downward', 'src/kernel/mm/planted.ts', '../../userland/target.ts'],
  ['check-imports-downward', 'src/check/planted.ts', '../userland/target.ts'],
  ['userland-imports-downward', 'src/userland/planted.ts', '../report/target.ts'],
  ['conformance-imports-downward', 'src/conformance/planted.ts', '../report/target.ts'],
  ['report-imports-downward', 'src/report/planted.ts', '../cli/target.ts'],
  ['sweep-imports-downward', 'src/sweep/planted.ts', '../cli/target.ts'],
  ['seam-knows-no-architecture', 'src/arch/planted.ts', './x86_64/target.ts'],
  ['registry-knows-architectures-only', 'src/arch/registry.ts', '../kernel/target.ts'],
  ['kernel-does-not-pick-an-architecture', 'src/kernel/gup/planted.ts', '../../arch/x86_64/target.ts'],
  ['kernel-mm-below-gup-remote-consumers', 'src/kernel/mm/above.ts', '../gup/target.ts'],
  ['kernel-gup-below-remote-consumers', 'src/kernel/gup/above.ts', '../remote/target.ts'],
  ['kernel-remote-below-consumers', 'src/kernel/remote/above.ts', '../consumers/target.ts'],
  ['legacy-vmas-in-demonstrations-only', 'src/kernel/remote/old.ts', '../gup/legacy-vmas.ts'],
  ['bigint-buffer-in-one-place', 'src/cli/planted.ts', 'bigint-buffer'],
  ['core-runs-in-a-browser', 'src/sched/file-reader.ts', 'node:fs'],
  ['no-cycles', 'src/cli/circle-a.ts', './circle-b.ts'],
];

describe('the dependency rules', () => {
  let folder = '';
  let broken = new Map<string, string[]>();

  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tablewalk-layers-'));
    for (const name of ['.dependency-cruiser.cjs', 'tsconfig.json', 'package.json']) {
      cpSync(join(root, name), join(folder, name));
    }
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    for (const [, file, target] of planted) {
      write(file, `import '${target}';\nexport const planted = true;\n`);
      if (target.startsWith('.')) write(join(dirname(file), target), 'export const target = true;\n');
    }
    write('src/cli/circle-b.ts', "import './circle-a.ts';\n");
    const depcruise = join(root, 'node_modules/.bin/depcruise');
    const output = spawnAnyStatus(depcruise, ['src', '--output-type', 'json'], folder);
    const { summary } = JSON.parse(output) as {
      summary: { violations: { rule: { name: string }; from: string }[] };
    };
    broken = new Map();
    for (const { rule, from } of summary.violations) {
      broken.set(rule.name, [...(broken.get(rule.name) ?? []), from]);
    }
  }, 60_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(planted)('%s catches %s importing %s', (rule, file) => {
    expect(broken.get(rule)).toContain(file);
  });

  it('has a planted violation for every rule', async () => {
    const config = (await import(join(root, '.dependency-cruiser.cjs'))) as {
      default: { forbidden: { name: string }[] };
    };
    const rules = config.default.forbidden.map(({ name }) => name);
    expect(planted.map(([rule]) => rule).sort()).toEqual(rules.sort());
  });
});

/** The output of a command that may exit with any status. */
function spawnAnyStatus(command: string, args: readonly string[], cwd: string): string {
  try {
    return execFileSync(command, args, {
      cwd,
      encoding: 'utf8',
      maxBuffer: 1 << 26,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}
