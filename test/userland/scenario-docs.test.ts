import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COUNTER_NAMES } from '../../src/userland/counter-names.ts';
import { MACHINE_SETTINGS } from '../../src/userland/machine-settings.ts';
import { User } from '../../src/userland/user.ts';
import { Userfaultfd } from '../../src/userland/userfaultfd.ts';
import { CALLS } from '../../src/userland/yaml/calls.ts';
import { CHECKS } from '../../src/userland/yaml/checks.ts';
import { loadYamlScenario } from '../../src/userland/yaml/load.ts';

const text = readFileSync('docs/scenarios.md', 'utf8');

/** The names in backticks in the first cells of a table of the YAML form. */
function named(table: 'call' | 'check'): string[] {
  const yaml = text.slice(text.indexOf('\n## YAML'));
  const rows = yaml.slice(yaml.indexOf(`| ${table} |`)).split('\n\n')[0] as string;
  return rows
    .split('\n')
    .slice(2)
    .flatMap((row) =>
      [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] as string),
    );
}

/** Every word between backticks, and what stands before its argument list. */
const words = new Set(
  [...text.replaceAll(/^```.*?^```$/gms, '').matchAll(/`([^`]+)`/g)].flatMap(([, code = '']) => [
    code,
    ...(code.match(/\w+/g) ?? []),
  ]),
);

/** Methods of a class and those it extends. */
function methodsOf(prototype: object): string[] {
  const names: string[] = [];
  for (let at = prototype; at !== Object.prototype; at = Object.getPrototypeOf(at) as object) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (typeof value === 'function' && name !== 'constructor') names.push(name);
    }
  }
  return names;
}

describe('docs/scenarios.md', () => {
  it('lists every call of the YAML form, and no other', () => {
    expect(named('call').sort()).toEqual(Object.keys(CALLS).sort());
  });

  it('lists every check, and no other', () => {
    expect(named('check').sort()).toEqual(Object.keys(CHECKS).sort());
  });

  it.each([
    ['User', User],
    ['Userfaultfd', Userfaultfd],
  ])('names every call of %s, as it is or as YAML writes it', (_, type) => {
    const names = methodsOf(type.prototype);
    expect(names.length).toBeGreaterThan(10);
    const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const unnamed = names.filter((name) => !words.has(name) && !words.has(kebab(name)));
    expect(unnamed).toEqual([]);
  });

  it('has arguments, results, errors and source of every call of User in one row', () => {
    const typescript = text.slice(0, text.indexOf('\n## YAML'));
    const cells = new Map<string, number>();
    for (const row of typescript.split('\n').filter((line) => line.startsWith('| `'))) {
      const parts = row.split(' |');
      for (const [, name = ''] of (parts[0] ?? '').matchAll(/`(\w+)`/g)) {
        cells.set(name, Math.max(cells.get(name) ?? 0, parts.length - 1));
      }
    }
    expect(methodsOf(User.prototype).filter((name) => cells.get(name) !== 5)).toEqual([]);
  });

  it('names every counter', () => {
    expect([...COUNTER_NAMES].filter((name) => !words.has(name))).toEqual([]);
  });

  it('names every setting of the machine', () => {
    expect(MACHINE_SETTINGS.filter((name) => !words.has(name))).toEqual([]);
  });

  it('has a YAML example that loads', () => {
    const example = /```yaml\n([^`]*)```/.exec(text)?.[1] ?? '';
    expect(loadYamlScenario(example, 'docs/scenarios.md').title).toBe('after fork, a write copies the page');
  });
});
