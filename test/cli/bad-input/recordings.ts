/** Bad vectors and traces. Each command line and the one line that it gives; see bad-input.test.ts. */
import type { Rows } from './row.ts';

export const recordings: Rows = {
  vectors: [
    { command: 'verify empty.jsonl', says: 'empty.jsonl: no vectors', until: /passed, / },
    { command: 'verify text.jsonl', says: 'text.jsonl:1: the line is not a JSON object: found "not JSON"' },
    {
      command: 'verify list.jsonl',
      says: 'list.jsonl:1: field arch: expected the name of an architecture, found nothing',
    },
    { command: 'verify binary.jsonl', says: 'binary.jsonl:1: not UTF-8 text' },
    {
      command: 'verify header-only.jsonl.gz',
      says: 'header-only.jsonl.gz:1: the gzip data ends too early: the file is truncated',
    },
    { command: 'verify damaged.jsonl.gz', says: 'damaged.jsonl.gz:1: the gzip data is damaged' },
    {
      command: 'verify truncated.jsonl.gz',
      says: 'truncated.jsonl.gz:206: the gzip data ends too early: the file is truncated',
    },
    {
      command: 'verify cut-line.jsonl',
      says: 'cut-line.jsonl:2:101: the line is not a JSON object: found "…r4\\":\\"0x20\\",\\"efer\\":\\"0xd01\\",\\"pkr"',
    },
    {
      command: 'verify wide.jsonl',
      says: 'wide.jsonl:1: field cpu.cr3: expected a hexadecimal string "0x…" of at most 64 bits, found "0x1ffffffffffffffff"',
    },
    { command: 'verify no-cpu.jsonl', says: 'no-cpu.jsonl:2: field cpu: expected an object, found nothing' },
    {
      command: 'verify kind.jsonl',
      says: 'kind.jsonl:1: field access.kind: expected "read" or "write" or "fetch", found "reed"',
    },
    {
      command: 'verify pair.jsonl',
      says: 'pair.jsonl:1: field memory[1]: expected a pair [address, value], found ["0x1008"]',
    },
    {
      command: 'verify arch.jsonl',
      says: 'arch.jsonl:1: field arch: expected "x86_64" or "arm64", found "mips"',
    },
    {
      command: 'verify arm64.jsonl',
      says: 'arm64.jsonl:1: field cpu.features: expected a list, found nothing',
    },
    { command: 'verify nothere.jsonl', says: 'nothere.jsonl: no such file' },
    { command: 'verify folder.jsonl', says: 'folder.jsonl: is a folder, a file was expected' },
    {
      command: 'verify vector.jsonl --only zzz',
      says: 'vector.jsonl: no vector has an id or tag that --only names',
      until: /passed, /,
    },
    {
      command: 'walk --vectors vector.jsonl --id v1 --step 2',
      says: 'vector.jsonl: vector v1 has no access at step 2: expected one of the accesses: 1, found 1 step',
    },
    {
      command: 'walk --arch x86_64 --vectors arm64.jsonl --id v1',
      says: 'arm64.jsonl:1: vector v1 is of another architecture: expected x86_64, found arm64',
    },
    {
      command: 'walk --vectors wide.jsonl --id v1',
      says: 'wide.jsonl:1: field cpu.cr3: expected a hexadecimal string "0x…" of at most 64 bits, found "0x1ffffffffffffffff"',
    },
    {
      command: 'walk --vectors vector.jsonl --id v2',
      says: 'vector.jsonl: no vector v2: expected an id of this file',
    },
  ],
  traces: [
    {
      command: 'replay cut-trace.jsonl',
      says: 'cut-trace.jsonl:1:301: the line is not a JSON object: found "…},\\"vmas\\":[[\\"0x100000000000\\",\\"0"',
    },
    { command: 'replay no-steps.jsonl', says: 'no-steps.jsonl:2: "steps" must be a list: found nothing' },
    {
      command: 'replay step-pid.jsonl',
      says: 'step-pid.jsonl:1: step 1: "pid" must be a number of 0 or more: found "one"',
    },
    {
      command: 'replay vma-row.jsonl',
      says: 'vma-row.jsonl:1: step 0: a row of "vmas" has 6 fields: found ["0x1000"]',
    },
    {
      command: 'replay wide-argument.jsonl',
      says: 'wide-argument.jsonl:1: step 0: mmap needs "addr", a 64-bit number: found "0x1ffffffffffffffff"',
    },
    {
      command: 'replay arena.jsonl',
      says: 'arena.jsonl:1: "arena" must be 0x and up to 16 digits: found "here"',
    },
    { command: 'replay empty.jsonl', says: 'empty.jsonl: no traces', until: /^0 passed, 0 failed/ },
    { command: 'replay folder.jsonl', says: 'folder.jsonl: is a folder, a file was expected' },
    { command: 'replay nothere', says: 'nothere: no such file' },
    { command: 'replay vector.jsonl', says: 'vector.jsonl:1: "steps" must be a list: found nothing' },
    {
      command: 'replay trace.jsonl --only t2',
      says: 'trace.jsonl: no trace has an id that --only names',
      until: /^0 passed, 0 failed/,
    },
  ],
};
