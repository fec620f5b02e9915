import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../../../src/base/input-error.ts';
import { bytesInMemory } from '../../../src/conformance/core/byte-source.ts';
import { CoreMemory } from '../../../src/conformance/core/core-memory.ts';
import { Machine, openElfCore, readElfCore } from '../../../src/conformance/core/elf-core.ts';
import { processorCount, x86CoreCpus } from '../../../src/conformance/core/elf-notes.ts';
import { makeCore, qemuState } from './make-core.ts';

const REAL = new URL('../../real/x86_64-4level-linux6.1.core.gz', import.meta.url).pathname;

/** Everything an InputError says, in one line. */
function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message;
  }
  throw new Error('accepted');
}

const page = { physicalAddress: 0x3000, entries: { 5: 0x1234_5678_9abc_def0n } };
const good = (): Uint8Array => makeCore({ pages: [page], notes: [qemuState({ cr3: 0x3000n })] });
const parse = (bytes: Uint8Array): ReturnType<typeof readElfCore> =>
  readElfCore(bytesInMemory('a.core', bytes));
const spoiled = (spoil: (view: DataView) => void): Uint8Array => {
  const bytes = good();
  spoil(new DataView(bytes.buffer));
  return bytes;
};

describe('a core of a running kernel', () => {
  it('has its segments, notes and control registers read, also with e_ehsize 8', async () => {
    const core = await openElfCore(REAL);
    expect(core.machine).toBe(Machine.X86_64);
    expect(core.segments.length).toBe(41);
    expect(core.segments[0]).toEqual({
      physicalAddress: 0x100_0000n,
      virtualAddress: 0n,
      fileOffset: 0x1000,
      fileBytes: 0x4_1000,
    });
    expect(core.notes.map(({ name, type }) => `${name} ${type}`)).toEqual(['CORE 1', 'QEMU 0']);
    expect(processorCount(core.notes)).toBe(1);
    expect(x86CoreCpus(core.file, core.notes)).toEqual([
      {
        cr0: 0x8005_0033n,
        cr2: 0x7ffe_f4f7_c3e0n,
        cr3: 0x106_2000n,
        cr4: 0x75_0ef0n,
        rip: 0x40_29e7n,
        rsp: 0x7ffe_f4f7_b330n,
        rflags: 0x206n,
        cpl: 3,
      },
    ]);
  });

  it('is the same read from the unpacked file', async () => {
    const packed = await openElfCore(REAL);
    const plain = readElfCore(bytesInMemory('plain', gunzipSync(readFileSync(REAL))));
    expect(plain.segments).toEqual(packed.segments);
    const memory = [new CoreMemory(packed), new CoreMemory(plain)];
    for (const { firstFrame, endFrame } of new CoreMemory(plain).runs) {
      for (let frame = firstFrame; frame < endFrame; frame++) {
        expect(memory[0]?.table(frame)).toEqual(memory[1]?.table(frame));
      }
    }
  });
});

describe('core memory', () => {
  it('gives the words of a page that the dump holds and nothing for one it does not', () => {
    const memory = new CoreMemory(parse(good()));
    const table = memory.table(3) as Int32Array;
    expect([table[10], table[11]]).toEqual([0x9abc_def0 | 0, 0x1234_5678]);
    expect(memory.table(2)).toBeUndefined();
    expect(memory.table(4)).toBeUndefined();
    expect(memory.readFrame(4, new Uint8Array(4096))).toBe(false);
    expect(memory.frameCount).toBe(1);
  });

  it('takes a page listed twice, as a dump made with paging does, from the first', () => {
    const pages = [1, 2, 1].map((at) => ({ physicalAddress: at * 4096, entries: { 0: BigInt(at) } }));
    const memory = new CoreMemory(parse(makeCore({ pages })));
    expect(memory.runs.map(({ firstFrame, endFrame }) => [firstFrame, endFrame])).toEqual([
      [1, 2],
      [2, 3],
    ]);
    expect(memory.table(1)?.[0]).toBe(1);
  });

  it('leaves out memory that a filter kept from the dump (p_filesz 0, p_offset -1)', () => {
    const bytes = makeCore({ pages: [page, { ...page, physicalAddress: 0x4000 }] });
    const view = new DataView(bytes.buffer);
    view.setBigUint64(64 + 2 * 56 + 8, 0xffff_ffff_ffff_ffffn, true);
    view.setBigUint64(64 + 2 * 56 + 32, 0n, true);
    const memory = new CoreMemory(parse(bytes));
    expect(memory.fileOffsetOf(4)).toBe(-1);
    expect(memory.fileOffsetOf(3)).toBeGreaterThan(0);
  });

  it('reads 70,000 program headers, whose count stands in section header 0 (PN_XNUM)', () => {
    const memory = new CoreMemory(parse(makeCore({ pages: [page], programHeaders: 70_000 })));
    expect(memory.table(3)?.[10]).toBe(0x9abc_def0 | 0);
  });
});

const MALFORMED: readonly (readonly [string, Uint8Array, string])[] = [
  [
    'empty file',
    new Uint8Array(0),
    String.raw`byte 0x0: not an ELF file: expected "\x7fELF", found an empty file`,
  ],
  [
    'bad magic',
    new TextEncoder().encode('hello, world'),
    String.raw`byte 0x0: not an ELF file: expected "\x7fELF", found "hello, w"`,
  ],
  [
    'kdump',
    new TextEncoder().encode('KDUMP   '),
    String.raw`byte 0x0: not an ELF file: expected "\x7fELF", found a kdump-compressed dump`,
  ],
  [
    'truncated header',
    good().slice(0, 40),
    'byte 0x0: the file ends in the middle of the ELF header: expected 64 bytes, found 40 bytes, then the end of the file',
  ],
  [
    '32-bit class',
    spoiled((v) => v.setUint8(4, 1)),
    'byte 0x4: wrong class (EI_CLASS): expected 2 (ELFCLASS64), found 1',
  ],
  [
    'big-endian',
    spoiled((v) => v.setUint8(5, 2)),
    'byte 0x5: wrong byte order (EI_DATA): expected 1 (little-endian), found 2',
  ],
  [
    'an executable',
    spoiled((v) => v.setUint16(16, 2, true)),
    'byte 0x10: not a core (e_type): expected 4 (ET_CORE), found 2',
  ],
  [
    'RISC-V',
    spoiled((v) => v.setUint16(18, 243, true)),
    'byte 0x12: core of another machine (e_machine): expected 62 (x86-64) or 183 (AArch64), found 243',
  ],
  [
    'header size',
    spoiled((v) => v.setUint16(52, 52, true)),
    'byte 0x34: wrong header size (e_ehsize): expected 64, found 52',
  ],
  [
    'program header size',
    spoiled((v) => v.setUint16(54, 32, true)),
    'byte 0x36: wrong program header size (e_phentsize): expected 56, found 32',
  ],
  [
    'no program headers',
    spoiled((v) => v.setUint16(56, 0, true)),
    'byte 0x38: no program headers (e_phnum): expected at least one, found 0',
  ],
  [
    'PN_XNUM without sections',
    spoiled((v) => v.setUint16(56, 0xffff, true)),
    'byte 0x28: e_phnum is PN_XNUM but there is no section header (e_shoff): expected an offset, found 0',
  ],
  [
    'program headers past the end',
    spoiled((v) => v.setBigUint64(32, 0x10_0000n, true)),
    'byte 0x20: e_phoff lies past the end of the file: expected at most 0x2000, found 0x100000',
  ],
  [
    'truncated program headers',
    spoiled((v) => v.setUint16(56, 500, true)),
    'byte 0x40: the file ends in the middle of the program headers: expected 28000 bytes, found 8128 bytes, then the end of the file',
  ],
  [
    'segment past the end',
    spoiled((v) => v.setBigUint64(64 + 56 + 32, 0x2000n, true)),
    'byte 0x80: program header 1 (PT_LOAD) ends past the end of the file: expected at most 0x2000, found 0x3000',
  ],
  [
    'segment of 2^64 - 1 bytes',
    spoiled((v) => v.setBigUint64(64 + 56 + 32, 2n ** 64n - 1n, true)),
    'byte 0x80: program header 1 (PT_LOAD) ends past the end of the file: expected at most 0x2000, found 0x10000000000000fff',
  ],
  [
    'half a page',
    spoiled((v) => v.setBigUint64(64 + 56 + 32, 0x800n, true)),
    'byte 0x78: program header 1 (PT_LOAD) is not made of whole pages: expected multiples of 4096, found p_paddr 0x3000, p_filesz 0x800',
  ],
  [
    'address past 52 bits',
    spoiled((v) => v.setBigUint64(64 + 56 + 24, 1n << 52n, true)),
    'byte 0x90: program header 1 (PT_LOAD) lies past the largest physical address: expected below 2^52, found 0x10000000000000',
  ],
  [
    'no memory',
    makeCore({ notes: [qemuState({ cr3: 0n })] }),
    'byte 0x40: no PT_LOAD: the core holds no memory: expected at least one, found none',
  ],
  [
    'note past its segment',
    spoiled((v) => v.setUint32(64 + 112 + 64 + 4, 5000, true)),
    'byte 0xf0: a note reaches past its segment: expected 5020 bytes, found 460 bytes to the end of PT_NOTE',
  ],
];

describe('a core that is not right is refused with the byte, what was expected and what was found', () => {
  it.each(MALFORMED)('%s', (_, bytes, want) => {
    expect(refusal(() => parse(bytes))).toBe(`a.core: ${want}`);
  });

  it.each<[string, (view: DataView) => void, string]>([
    [
      'another version',
      (v) => v.setUint32(0, 2, true),
      'unknown version of QEMUCPUState: expected 1, found 2',
    ],
    [
      'another size',
      (v) => v.setUint32(4, 16, true),
      'the size in QEMUCPUState is not that of the note: expected 440, found 16',
    ],
  ])('note QEMU of %s', (_, spoil, want) => {
    const note = qemuState({ cr3: 0n });
    spoil(new DataView(note.bytes.buffer));
    const core = parse(makeCore({ pages: [page], notes: [note] }));
    expect(refusal(() => x86CoreCpus(core.file, core.notes))).toContain(want);
  });

  it('note QEMU cut short', () => {
    const note = { ...qemuState({ cr3: 0n }), bytes: new Uint8Array(100) };
    const core = parse(makeCore({ pages: [page], notes: [note] }));
    expect(refusal(() => x86CoreCpus(core.file, core.notes))).toContain(
      'too short: expected at least 432 bytes, found 100',
    );
  });
});

describe('a gzip core', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tablewalk-core-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('is told from a plain one by its first bytes, whatever its name', async () => {
    const plain = join(folder, 'plain.core.gz');
    writeFileSync(plain, gunzipSync(readFileSync(REAL)));
    const core = await openElfCore(plain);
    expect(core.segments).toEqual((await openElfCore(REAL)).segments);
    expect(new CoreMemory(core).table(0x1062)).toEqual(new CoreMemory(await openElfCore(REAL)).table(0x1062));
    core.source.close();
    expect(() => new CoreMemory(core).table(0x1064)).toThrow();
  });

  it.each<[string, (packed: Uint8Array) => Uint8Array, RegExp]>([
    [
      'truncated',
      (packed) => packed.slice(0, packed.length - 40),
      /ends too early: the file is truncated, after \d+ unpacked/,
    ],
    ['damaged', (packed) => packed.fill(0xff, 60, 80), /gzip data is damaged, after \d+ unpacked bytes/],
  ])('%s', async (name, spoil, want) => {
    const file = join(folder, `${name}.core.gz`);
    writeFileSync(file, spoil(new Uint8Array(gzipSync(good()))));
    const error: unknown = await openElfCore(file).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toMatch(want);
    expect((error as InputError).file).toBe(file);
  });

  it('of a large file keeps zero parts out of memory and reads across parts', async () => {
    const file = join(folder, 'sparse.gz');
    const bytes = new Uint8Array(5 << 20);
    bytes.set([0x7f, 0x45, 0x4c, 0x46]);
    bytes.fill(7, (4 << 20) - 3, (4 << 20) + 3);
    writeFileSync(file, gzipSync(bytes));
    const { openBytes } = await import('../../../src/conformance/core/byte-source.ts');
    const source = await openBytes(file);
    const out = new Uint8Array(8);
    source.read((4 << 20) - 4, out);
    expect([...out]).toEqual([0, 7, 7, 7, 7, 7, 7, 0]);
    expect(source.size).toBe(5 << 20);
  });
});
