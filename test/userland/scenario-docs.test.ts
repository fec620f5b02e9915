import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CALLS } from '../../src/userland/yaml/calls.ts';
import { CHECKS } from '../../src/userland/yaml/checks.ts';
import { loadYamlScenario } from '../../src/userland/yaml/load.ts';

const text = readFileSync('docs/scenarios.md', 'utf8');

/** The names in backticks in the first cells of a table. */
function named(table: 'call' | 'check'): string[] {
  const rows = text.slice(text.indexOf(`| ${table} |`)).split('\n\n')[0] as string;
  return rows
    .split('\n')
    .slice(2)
    .flatMap((row) =>
      [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] as string),
    );
}

describe('docs/scenarios.md', () => {
  it('lists every call of the YAML form, and no other', () => {
    expect(named('call').sort()).toEqual(Object.keys(CALLS).sort());
  });

  it('lists every check, and no other', () => {
    expect(named('check').sort()).toEqual(Object.keys(CHECKS).sort());
  });

  it('has a YAML example that loads', () => {
    const example = /```yaml\n([^`]*)```/.exec(text)?.[1] ?? '';
    expect(loadYamlScenario(example, 'docs/scenarios.md').title).toBe('after fork, a write copies the page');
  });
});
