/**
 * Bad input of every kind, as the tables in bad-input/: what was asked for, and the one line that says what is wrong with
 * it: file and position, what was expected, what was found. All rows run in one process of the command line, in a folder
 * of their own; the exit status is 2, and nothing of ours shows through.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { linkPackage, runCommandsIn } from '../support/child.ts';
import type { CommandResult } from '../support/command.ts';
import { bench } from './bad-input/bench.ts';
import { dumps } from './bad-input/dumps.ts';
import { explore } from './bad-input/explore.ts';
import { options } from './bad-input/options.ts';
import { recordings } from './bad-input/recordings.ts';
import type { Rows } from './bad-input/row.ts';
import { scenarios } from './bad-input/scenarios.ts';
import { writeBadInput } from './bad-input-files.ts';

const table: Rows = { ...recordings, ...scenarios, ...dumps, ...options, ...bench, ...explore };

const rows = Object.values(table).flat();
const folder = mkdtempSync(join(tmpdir(), 'tablewalk-bad-input-'));
const results = new Map<string, CommandResult>();

const wordsOf = (command: string): string[] => command.split(' ').map((word) => (word === "''" ? '' : word));

beforeAll(() => {
  writeBadInput(folder);
  linkPackage(folder);
  const all = runCommandsIn(
    folder,
    rows.map(({ command }) => wordsOf(command)),
  );
  rows.forEach(({ command }, at) => {
    results.set(command, all[at] as CommandResult);
  });
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true }));

const resultOf = (command: string): CommandResult => results.get(command) as CommandResult;

describe.each(Object.entries(table))('bad input: %s', (_, members) => {
  it.each(members)('$command', ({ command, says, until }) => {
    const { status, stdout, stderr } = resultOf(command);
    const line = stderr.replaceAll(folder, 'FOLDER');
    expect(line.replace(/deep\.yaml:1:\d+/, 'deep.yaml:1:COLUMN')).toBe(`tablewalk: ${says}\n`);
    expect(status).toBe(2);
    if (until === undefined) expect(stdout).toBe('');
    else expect(stdout).toMatch(until);
  });
});

describe('the table of bad input', () => {
  it('has each command line once', () => {
    expect(results.size).toBe(rows.length);
  });

  it('never shows a stack trace, a second line or a control character', () => {
    const strange = rows.filter(({ command }) => !/^\P{Cc}*\n$/u.test(resultOf(command).stderr));
    expect(strange).toEqual([]);
  });
});
