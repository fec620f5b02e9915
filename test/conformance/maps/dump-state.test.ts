/** Where the registers of a dump come from, and what is refused. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../../../src/base/input-error.ts';
import { bytesInMemory } from '../../../src/conformance/core/byte-source.ts';
import { type ElfCore, readElfCore } from '../../../src/conformance/core/elf-core.ts';
import type { DumpStateOptions } from '../../../src/conformance/maps/dump-options.ts';
import { pageTableDump } from '../../../src/conformance/maps/page-table-dump.ts';
import { kernelRootOf, rootFrame, x86DumpState } from '../../../src/conformance/maps/x86_64-state.ts';
import { dumpHeadText } from '../../../src/report/maps-text.ts';
import { makeCore, qemuState } from '../core/make-core.ts';

const LA57 = 1n << 12n;
const page = { physicalAddress: 0x3000, entries: {} };
const coreOf = (...notes: readonly ReturnType<typeof qemuState>[]): ElfCore =>
  readElfCore(bytesInMemory('a.core', makeCore({ pages: [page], notes })));

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tablewalk-state-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const REGS = { arch: 'x86_64', cr0: '0x80050033', cr3: '0x3000', cr4: '0x20', efer: '0xd01' };
function regs(extra: object): string {
  const file = join(folder, 'regs.json');
  writeFileSync(file, JSON.stringify({ ...REGS, ...extra }));
  return file;
}
function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message.replaceAll(`${folder}/`, '');
  }
  throw new Error('accepted');
}

describe('registers', () => {
  it('of the note QEMU: those of the processor asked for', () => {
    const core = coreOf(
      qemuState({ cr3: 0x3000n, cs: 0x33 }),
      qemuState({ cr3: 0x5000n, cr4: 0x20n | LA57 }),
    );
    expect(pageTableDump(core)).toMatchObject({
      levels: 4,
      state: { cr3: 0x3000n, cpl: 3, maxPhysAddr: 52 },
    });
    expect(pageTableDump(core, { cpu: 1 })).toMatchObject({ levels: 5, state: { cr3: 0x5000n, cpl: 0 } });
    expect(refusal(() => pageTableDump(core, { cpu: 2 }))).toBe(
      'a.core: no such processor: expected a processor from 0 to 1, found 2',
    );
  });

  it('that the core does not tell are assumed, and the head of the list says so', () => {
    expect(dumpHeadText(pageTableDump(coreOf(qemuState({ cr3: 0x3000n }))))).toContain(
      'not given, assumed: EFER.NXE = 1, MAXPHYADDR = 52',
    );
    expect(dumpHeadText(pageTableDump(coreOf(), { cr3: 0x3000n }))).toContain(
      'assumed: CR4 = PAE (4 levels, no protection keys), EFER.NXE = 1, MAXPHYADDR = 52',
    );
    expect(dumpHeadText(pageTableDump(coreOf(), { regs: regs({ maxphyaddr: 40 }) }))).not.toContain(
      'assumed',
    );
  });

  it('CR3 of the command line wins over the note and REGS.json', () => {
    const core = coreOf(qemuState({ cr3: 0x3000n, cr4: 0x20n | LA57 }));
    expect(pageTableDump(core, { cr3: 0x7000n })).toMatchObject({ levels: 5, state: { cr3: 0x7000n } });
    expect(pageTableDump(core, { regs: regs({}), cr3: 0x7000n }).state).toMatchObject({ cr3: 0x7000n });
  });

  it('name roots; the PCID and flag bits of CR3 are no part of the table address', () => {
    const file = regs({ roots: { init: '0x8000000003abc805', shell: '0x5000' }, levels: 4 });
    expect(rootFrame(x86DumpState(coreOf(), { regs: file, root: 'init' }).cr3)).toBe(0x3abc);
    expect(x86DumpState(coreOf(), { regs: file, root: 'shell' }).cr3).toBe(0x5000n);
  });

  it('under page-table isolation give the kernel half of the pair by name', () => {
    const file = regs({ roots: { init: '0x3abd806' }, pti: true });
    expect(x86DumpState(coreOf(), { regs: file, root: 'init' }).cr3).toBe(0x3abd806n);
    expect(x86DumpState(coreOf(), { regs: file, root: 'init.kernel' }).cr3).toBe(0x3abc006n);
    expect(kernelRootOf(0x3abc006n)).toBe(0x3abc006n);
  });
});

describe('registers are refused when', () => {
  it.each<[string, object, DumpStateOptions, string]>([
    [
      'of another architecture',
      { arch: 'arm64' },
      {},
      'regs.json: field arch: expected "x86_64", as the core says, found "arm64"',
    ],
    [
      'CR3 is missing',
      { cr3: undefined },
      {},
      'regs.json: field cr3: expected a hexadecimal string "0x…" of at most 64 bits, found nothing',
    ],
    [
      'levels contradict CR4',
      { levels: 5 },
      {},
      'regs.json: field levels: expected 4, as CR4.LA57 says, found 5',
    ],
    [
      'a root is no number',
      { roots: { init: 5 } },
      {},
      'regs.json: field roots.init: expected a hexadecimal string "0x…" of at most 64 bits, found 5',
    ],
    [
      'the root is unknown',
      { roots: { init: '0x1000', shell: '0x2000' } },
      { root: 'zoo' },
      'regs.json: no root named "zoo": expected init, shell, found zoo',
    ],
    [
      'a kernel root is asked for without isolation',
      { roots: { init: '0x1000' }, pti: false },
      { root: 'init.kernel' },
      'regs.json: no root named "init.kernel": expected init, found init.kernel',
    ],
  ])('%s', (_, extra, options, want) => {
    const file = regs(extra);
    expect(refusal(() => x86DumpState(coreOf(), { ...options, regs: file }))).toBe(want);
  });

  it('the file is not JSON', () => {
    const file = join(folder, 'bad.json');
    writeFileSync(file, '{"arch": ');
    expect(refusal(() => x86DumpState(coreOf(), { regs: file }))).toMatch(/^bad.json: not JSON: /);
  });

  it('there is neither a note nor an option', () => {
    expect(refusal(() => pageTableDump(coreOf()))).toContain('give --regs or --cr3');
  });
});
