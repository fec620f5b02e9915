/**
 * Bad input of every kind, as one table: what was asked for, and the one line that says what is wrong with it: file and
 * position, what was expected, what was found. All rows run in one process of the command line, in a folder of their
 * own; the exit status is 2, and nothing of ours shows through.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { linkPackage, runCommandsIn } from '../support/child.ts';
import type { CommandResult } from '../support/command.ts';
import { writeBadInput } from './bad-input-files.ts';

interface Row {
  readonly command: string;
  /** Standard error, without `tablewalk: ` in front; FOLDER stands for the folder of the files. */
  readonly says: string;
  /** What stands on standard output: what was found until then. Default: nothing. */
  readonly until?: RegExp;
}

const table: Readonly<Record<string, readonly Row[]>> = {
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
  'scenarios in YAML': [
    {
      command: 'run scenario.txt',
      says: 'scenario.txt: not a scenario: expected a .ts, .mts, .js, .mjs, .yaml or .yml file, found .txt',
    },
    { command: 'run empty.yaml', says: 'empty.yaml:1:1: "title" is missing: expected a text' },
    {
      command: 'run not-yaml.yaml',
      says: 'not-yaml.yaml:2:1: flow sequence in block collection must be sufficiently indented and end with a ]',
    },
    {
      command: 'run typo.yaml',
      says: 'typo.yaml:2:1: unknown key "progrmas"; did you mean "programs"?: expected one of title, description, arch, cpus, retention, programs, children, placement, always, finally, found progrmas',
    },
    {
      command: 'run call.yaml',
      says: 'call.yaml:5:7: unknown call "mumap"; did you mean "mmap"?: expected one of mmap, munmap, mprotect, brk, load, store, fetch-add, swap, compare-and-swap, fetch, fork, exit, wait, kill, setuid, compute, set, wait-for, pid-of, ptrace-attach, ptrace-detach, peek, poke, mem-open, mem-read, mem-write, process-vm-readv, process-vm-writev, tagged-address-control, tag-check-preference, tag-check-override, irg, addg, subg, subp, gmi, ldg, stg, st2g, stzg, stz2g, stgp, dc-zva, dc-gva, dc-gzva, peek-tags, poke-tags, found mumap',
    },
    {
      command: 'run wide.yaml',
      says: 'wide.yaml:4:24: address: the number is too wide: expected a number of 64 bits, or $variable, found 0x1ffffffffffffffff',
    },
    {
      command: 'run unaligned.yaml',
      says: 'unaligned.yaml:4:26: munmap: the address is not page aligned: expected a multiple of 0x1000, or "expect: { errno: EINVAL }", found 0x1234',
    },
    {
      command: 'run type.yaml',
      says: 'type.yaml:4:24: address: not a number: expected a number of 64 bits, or $variable, found page',
    },
    {
      command: 'run bomb.yaml',
      says: 'bomb.yaml: aliases (*name) unfold to too much: expected values of at most 100 aliases',
    },
    { command: 'run deep.yaml', says: 'deep.yaml:1:COLUMN: nested too deeply' },
    { command: 'run binary.yaml', says: 'binary.yaml: not UTF-8 text' },
    { command: 'run cpus.yaml', says: 'cpus.yaml: "placement" puts "p" on CPU 3: expected 0 to 0' },
    { command: 'run folder.yaml', says: 'folder.yaml: is a folder, a file was expected' },
    { command: 'run nothere.yaml', says: 'nothere.yaml: no such file' },
  ],
  'scenarios in TypeScript and JavaScript': [
    { command: 'run folder.ts', says: 'folder.ts: is a folder, a file was expected' },
    { command: 'run nothere.ts', says: 'nothere.ts: no such file' },
    {
      command: 'run empty.ts',
      says: 'empty.ts: no default export: expected export default defineScenario({…})',
    },
    { command: 'run throws.ts', says: 'throws.ts:3:7: the scenario throws while it loads: the disk is full' },
    {
      command: 'run throws-text.mjs',
      says: 'throws-text.mjs: the scenario throws while it loads: only text',
    },
    { command: 'run syntax.ts', says: 'syntax.ts:4:21: the scenario throws while it loads: Unexpected "]"' },
    {
      command: 'run syntax.mjs',
      says: "syntax.mjs:3: the scenario throws while it loads: Unexpected token '}'",
    },
    {
      command: 'run no-default.ts',
      says: 'no-default.ts: no default export: expected export default defineScenario({…})',
    },
    {
      command: 'run missing-import.ts',
      says: "missing-import.ts: the scenario throws while it loads: Cannot find module 'FOLDER/not-there.ts' imported from FOLDER/missing-import.ts",
    },
    {
      command: 'run missing-export.ts',
      says: "missing-export.ts:1: the scenario throws while it loads: The requested module 'tablewalk' does not provide an export named 'defineScenery'",
    },
    { command: 'run no-scenario.ts', says: 'no-scenario.ts: a scenario needs a title' },
    { command: 'run define.ts', says: 'define.ts:3:16: a scenario needs "programs", at least one' },
    {
      command: 'run runtime.ts',
      says: 'runtime.ts:7:23: program "p" threw TypeError: Cannot read properties of undefined (reading \'bytes\')',
    },
    {
      command: 'run unknown-call.ts',
      says: 'unknown-call.ts:6:16: program "p" threw TypeError: yield* (intermediate value) is not iterable',
    },
    {
      command: 'run wide.ts',
      says: 'wide.ts:6:23: program "p": load: address: 0x10000000000000000 does not fit 64 bits',
    },
    {
      command: 'run runtime-always.ts',
      says: 'runtime-always.ts:5:42: assertion "it holds" threw TypeError: Cannot read properties of undefined (reading \'there\')',
    },
  ],
  'core dumps': [
    {
      command: 'walk --dump empty.core 0',
      says: 'empty.core: byte 0x0: not an ELF file: expected "\\x7fELF", found an empty file',
    },
    {
      command: 'walk --dump text.core 0',
      says: 'text.core: byte 0x0: not an ELF file: expected "\\x7fELF", found "this is "',
    },
    {
      command: 'walk --dump wrong-header.core 0',
      says: 'wrong-header.core: byte 0x20: e_phoff lies past the end of the file: expected at most 0x2000, found 0xffffffff',
    },
    {
      command: 'walk --dump cut.core 0',
      says: 'cut.core: byte 0x40: the file ends in the middle of the program headers: expected 2352 bytes, found 36 bytes, then the end of the file',
    },
    {
      command: 'walk --dump cut.core.gz 0',
      says: 'cut.core.gz: the gzip data ends too early: the file is truncated, after 321672 unpacked bytes',
    },
    {
      command: 'walk --dump arm64.core 0',
      says: 'arm64.core: an AArch64 core does not hold the translation registers: expected --regs with TTBR0_EL1, TTBR1_EL1, TCR_EL1, SCTLR_EL1 and MAIR_EL1',
    },
    {
      command: 'walk --dump no-note.core 0',
      says: 'no-note.core: the core has no note QEMU with the control registers: give --regs or --cr3',
    },
    {
      command: 'walk --dump arm64.core --cr3 0 0',
      says: 'arm64.core: option --cr3 is for x86-64 cores: expected --regs, with --root, --ttbr0 or --ttbr1',
    },
    {
      command: 'walk --dump arm64.core --regs arch.regs.json 0',
      says: 'arch.regs.json: field arch: expected "arm64", as the core says, found "sparc"',
    },
    { command: 'walk --dump folder.core 0', says: 'folder.core: is a folder, a file was expected' },
  ],
  'files of registers': [
    {
      command: 'walk --dump good.core --regs text.regs.json 0',
      says: 'text.regs.json: not JSON: Unexpected token \'C\', "CR3 is 0x1000 " is not valid JSON',
    },
    { command: 'walk --dump good.core --regs gzip.regs.json 0', says: 'gzip.regs.json: not UTF-8 text' },
    {
      command: 'walk --dump good.core --regs list.regs.json 0',
      says: 'list.regs.json: not a JSON object: expected an object, found []',
    },
    {
      command: 'walk --dump good.core --regs no-cr3.regs.json 0',
      says: 'no-cr3.regs.json: field cr3: expected a hexadecimal string "0x…" of at most 64 bits, found nothing',
    },
    {
      command: 'walk --dump good.core --regs wide.regs.json 0',
      says: 'wide.regs.json: field cr3: expected a hexadecimal string "0x…" of at most 64 bits, found "0x11062000110620001"',
    },
    {
      command: 'walk --dump good.core --regs levels.regs.json 0',
      says: 'levels.regs.json: field levels: expected 4, as CR4.LA57 says, found 5',
    },
    {
      command: 'walk --dump good.core --regs arch.regs.json 0',
      says: 'arch.regs.json: field arch: expected "x86_64", as the core says, found "sparc"',
    },
    {
      command: 'walk --dump good.core --regs folder.json 0',
      says: 'folder.json: is a folder, a file was expected',
    },
    { command: 'walk --dump good.core --regs nothere 0', says: 'nothere: no such file' },
  ],
  'files of recorded translations': [
    {
      command: 'maps --dump good.core --check row.truth.jsonl',
      says: 'row.truth.jsonl:2: field pa: expected a hexadecimal string "0x…" of at most 64 bits, found nothing',
      until: /registers from the core/,
    },
    {
      command: 'maps --dump good.core --check size.truth.jsonl',
      says: 'size.truth.jsonl:1: field size: expected 4096, 2097152 or 1073741824, found 8192',
      until: /registers from the core/,
    },
    {
      command: 'maps --dump good.core --check unaligned.truth.jsonl',
      says: 'unaligned.truth.jsonl:1: field va: expected an address of a page (bits 11:0 clear), found "0x1234"',
      until: /registers from the core/,
    },
    {
      command: 'maps --dump good.core --check twice.truth.jsonl',
      says: 'twice.truth.jsonl:2: two rows for 0x1000; the first is line 1',
      until: /registers from the core/,
    },
    {
      command: 'maps --dump good.core --check empty.jsonl',
      says: 'empty.jsonl: no rows to check',
      until: /registers from the core/,
    },
  ],
  'options and arguments': [
    {
      command: 'run loop.yaml --schedule zzz',
      says: 'option --schedule:1:1: bad schedule: expected choices like 3, 3*12, i1, idle1 or f1:3, or - for none, found zzz',
    },
    {
      command: 'run loop.yaml --cpus 0',
      says: "option --cpus: expected a whole number from 1 to 64, found '0'",
    },
    {
      command: 'run loop.yaml --cpus x',
      says: "option --cpus: expected a whole number from 1 to 64, found 'x'",
    },
    {
      command: 'run loop.yaml --seed -1',
      says: "option --seed: expected a whole number from 0 to 2147483647, found '-1'",
    },
    {
      command: 'run loop.yaml --steps 0',
      says: "option --steps: expected a whole number from 1 to 9007199254740991, found '0'",
    },
    {
      command: 'run loop.yaml --profile zz',
      says: "option --profile: expected flat, sapphire-rapids, zen4, neoverse-v2, found 'zz'",
    },
    {
      command: 'run loop.yaml --cpu-model zz',
      says: "no such CPU model: expected intel-complete, intel-recorded, intel-sapphire-rapids, intel-broadwell, amd-zen4, found 'zz'",
    },
    {
      command: 'run loop.yaml --tlb zz',
      says: "no such TLB profile: expected golden-cove, neoverse-v2, plain-two-level, found 'zz'",
    },
    {
      command: 'run loop.yaml --levels 5',
      says: 'CPU model intel-broadwell has no page tables of 5 levels: expected one of intel-complete, intel-recorded, intel-sapphire-rapids, amd-zen4',
    },
    {
      command: 'run loop.yaml --levels 6',
      says: "option --levels: expected a whole number from 4 to 5, found '6'",
    },
    {
      command: 'run loop.yaml --speculate --policy virtual-time',
      says: "the policy virtual-time never chooses speculative fills: expected policy 'random'",
    },
    {
      command: 'run loop.yaml --retention zz',
      says: "option --retention: expected profile, adversarial, none, found 'zz'",
    },
    {
      command: 'run loop.yaml --policy zz',
      says: "option --policy: expected virtual-time, round-robin, random, found 'zz'",
    },
    { command: 'run loop.yaml --arch zz', says: "option --arch: expected x86_64, arm64, found 'zz'" },
    { command: 'run loop.yaml --arch', says: "option '--arch <name>' argument missing" },
    {
      command: 'walk --dump good.core --cpu 1 0',
      says: 'good.core: no such processor: expected a processor from 0 to 0, found 1',
    },
    {
      command: 'walk --dump good.core --cpu 0 --regs arch.regs.json 0',
      says: 'options --cpu and --regs exclude each other: expected one of them',
    },
    {
      command: 'walk --dump good.core --root a 0',
      says: 'no root named "a": expected roots in a REGS.json given with --regs, found a',
    },
    {
      command: 'walk --dump good.core --root a --cr3 0 0',
      says: 'options --cr3 and --root exclude each other: expected one of them',
    },
    {
      command: 'walk --dump good.core --root a --ttbr1 0 0',
      says: 'options --ttbr1 and --root exclude each other: expected one of them',
    },
    {
      command: 'walk --dump good.core --ttbr0 0 0',
      says: 'good.core: option --ttbr0 is for AArch64 cores: expected --cr3',
    },
    {
      command: 'walk --dump good.core --arch arm64 0',
      says: 'option --arch is not what the core says: expected x86_64, found arm64',
    },
    {
      command: 'walk --dump good.core --access look 0',
      says: "option --access: expected read, write, fetch, found 'look'",
    },
    {
      command: 'walk --dump good.core 0x12345678123456781',
      says: 'argument VA: expected at most 64 bits, found 0x12345678123456781',
    },
    {
      command: "walk --dump good.core ''",
      says: "argument VA: expected a number, 0x for hexadecimal, found ''",
    },
    {
      command: 'walk --dump good.core --step 1 0',
      says: 'option --step does not go with --dump: expected --vectors with it',
    },
    {
      command: 'walk --vectors vector.jsonl --id v1 --user',
      says: 'option --user does not go with --vectors: expected --dump with it',
    },
    {
      command: 'walk --vectors vector.jsonl --id v1 0x1000',
      says: "argument VA does not go with --vectors: expected no address: the vector has its own, found '0x1000'",
    },
    {
      command: 'maps --dump good.core --exact',
      says: 'option --exact compares nothing: expected --check TRUTH with it',
    },
    {
      command: 'maps --dump good.core --all --check empty.jsonl',
      says: 'options --all and --check exclude each other: expected one of them',
    },
    { command: 'rnu x', says: "unknown command 'rnu' (Did you mean run?)" },
    { command: 'run loop.yaml --cpu 2', says: "unknown option '--cpu' (Did you mean --cpus?)" },
    { command: 'run loop.yaml --frob', says: "unknown option '--frob'" },
    {
      command: 'decode arm64.descriptor 1 --level=-1',
      says: 'no lookup level -1 with a 4k granule: expected 0 to 3, and -1 with 52-bit addresses',
    },
    {
      command: 'decode foo 1',
      says: "unknown kind of word 'foo': expected one of those that 'tablewalk decode' lists",
    },
    { command: 'decode x86_64.pte', says: 'argument value is missing: expected a number after the kind' },
    {
      command: 'decode x86_64.pte x',
      says: "argument value: expected a number, 0x for hexadecimal, found 'x'",
    },
    {
      command: 'decode x86_64.pte 0x1ffffffffffffffff',
      says: 'value does not fit x86_64.pte: expected an unsigned number of 64 bits, found 0x1ffffffffffffffff',
    },
    {
      command: 'decode x86_64.pte -1',
      says: "argument value: expected a number, 0x for hexadecimal, found '-1'",
    },
    {
      command: 'decode x86_64.pte 1 --maxphyaddr 99',
      says: "option --maxphyaddr: expected a whole number from 32 to 52, found '99'",
    },
    {
      command: 'decode x86_64.pte 1 --vendor via',
      says: "option --vendor: expected intel, amd, found 'via'",
    },
    {
      command: 'decode arm64.descriptor 1 --level=4',
      says: "option --level: expected a whole number from -1 to 3, found '4'",
    },
    {
      command: 'decode arm64.descriptor 1 --granule 8k',
      says: "option --granule: expected 4k, 16k, 64k, found '8k'",
    },
    {
      command: 'decode arm64.descriptor 1 --level=-1 --granule 64k',
      says: 'no lookup level -1 with a 64k granule: expected 1 to 3',
    },
    {
      command: 'decode x86_64.pte 1 2',
      says: "too many arguments for 'decode'. Expected 2 arguments but got 3.",
    },
    { command: 'decode cr0 0x_', says: "argument value: expected a number, 0x for hexadecimal, found '0x_'" },
    { command: 'frob', says: "unknown command 'frob'" },
    { command: '--frob', says: "unknown option '--frob'" },
    { command: 'run', says: "missing required argument 'scenario'" },
    {
      command: 'run loop.yaml throws.ts',
      says: "too many arguments for 'run'. Expected 1 argument but got 2.",
    },
    {
      command: 'run folder-without-extension',
      says: 'folder-without-extension: not a scenario: expected a .ts, .mts, .js, .mjs, .yaml or .yml file, found no extension',
    },
    { command: 'verify', says: "missing required argument 'files'" },
    { command: 'replay', says: "missing required argument 'files'" },
    {
      command: 'walk',
      says: 'nothing to walk: expected --vectors FILE --id ID, --dump CORE VA… or --scenario FILE --process NAME VA…',
    },
    {
      command: 'walk 0x1000',
      says: 'nothing to walk: expected --vectors FILE --id ID, --dump CORE VA… or --scenario FILE --process NAME VA…',
    },
    { command: 'maps', says: 'option --dump is missing: expected --dump CORE' },
    { command: 'maps --dump good.core --check', says: "option '--check <truth...>' argument missing" },
    {
      command: 'maps --dump good.core loop.yaml',
      says: "too many arguments for 'maps'. Expected 0 arguments but got 1.",
    },
    { command: 'walk --dump good.core', says: 'argument VA is missing: expected one address or more' },
    {
      command: 'walk --dump good.core --cr3 0x1ffffffffffffffffff 0',
      says: 'option --cr3: expected at most 64 bits, found 0x1ffffffffffffffffff',
    },
    {
      command: 'walk --dump good.core --cpu -1 0',
      says: "option --cpu: expected a whole number from 0 to 65535, found '-1'",
    },
    {
      command: 'walk --dump good.core --cpu 65536 0',
      says: "option --cpu: expected a whole number from 0 to 65535, found '65536'",
    },
    { command: 'walk --vectors vector.jsonl', says: 'option --id is missing: expected the id of a vector' },
    {
      command: 'walk --vectors vector.jsonl --id v1 --step 0',
      says: "option --step: expected a whole number from 1 to 1000000, found '0'",
    },
    {
      command: 'walk --vectors vector.jsonl --dump good.core',
      says: 'options --vectors and --dump exclude each other: expected one of them',
    },
    {
      command: 'walk --arch arm64 --vectors vector.jsonl --id v1',
      says: 'vector.jsonl:1: vector v1 is of another architecture: expected arm64, found x86_64',
    },
    {
      command: 'verify vector.jsonl --retention always',
      says: "option --retention: expected profile, adversarial, none, found 'always'",
    },
    {
      command: 'replay trace.jsonl --retention always',
      says: "option --retention: expected profile, adversarial, none, found 'always'",
    },
    { command: 'replay trace.jsonl --arch vax', says: "option --arch: expected x86_64, arm64, found 'vax'" },
    {
      command: 'replay trace.jsonl --arch arm64',
      says: 'trace.jsonl: nothing was checked: the traces are of x86_64, not of arm64',
      until: /^0 passed, 0 failed/,
    },
    {
      command: 'verify trace.jsonl',
      says: 'trace.jsonl:1: a recorded kernel trace, not a hardware vector: expected vectors; traces are for replay',
    },
    {
      command: 'maps --dump good.core --arch vax',
      says: "option --arch: expected x86_64, arm64, found 'vax'",
    },
    {
      command: 'maps --dump good.core --arch arm64',
      says: 'option --arch is not what the core says: expected x86_64, found arm64',
    },
    {
      command: 'run strange.yaml',
      says: 'strange.yaml: the scenario "t" is for an unknown architecture: expected x86_64, arm64, both, found arm65',
    },
    {
      command: 'run tags.yaml --arch x86_64',
      says: 'tags.yaml:5: program "p": tagged-address-control: this machine has no memory tags: expected arm64 (--arch arm64) and a CPU model with MTE',
    },
    {
      command: 'run no-result.yaml',
      says: 'no-result.yaml:4: program "p": setuid has no result that "as" could keep',
    },
    {
      command: 'replay trace.jsonl --list --steps',
      says: 'options --list and --steps exclude each other: expected one of them',
    },
    {
      command: 'run loop.yaml --cpus 65',
      says: "option --cpus: expected a whole number from 1 to 64, found '65'",
    },
    {
      command: 'run loop.yaml --cpus 1.5',
      says: "option --cpus: expected a whole number from 1 to 64, found '1.5'",
    },
    {
      command: 'run loop.yaml --seed 2147483648',
      says: "option --seed: expected a whole number from 0 to 2147483647, found '2147483648'",
    },
    {
      command: 'run loop.yaml --steps many',
      says: "option --steps: expected a whole number from 1 to 9007199254740991, found 'many'",
    },
    {
      command: 'run loop.yaml --schedule 0 --policy random',
      says: 'options --schedule and --policy exclude each other: expected one of them',
    },
    {
      command: 'run loop.yaml --quiet --json',
      says: 'options --quiet and --json exclude each other: expected one of them',
    },
    {
      command: 'run loop.yaml --schedule 0*0',
      says: 'option --schedule:1:1: bad schedule: expected choices like 3, 3*12, i1, idle1 or f1:3, or - for none, found 0*0',
    },
    {
      command: 'decode arm64.descriptor 1 --level=-2',
      says: "option --level: expected a whole number from -1 to 3, found '-2'",
    },
    {
      command: 'decode x86_64.pte 1 --maxphyaddr 31',
      says: "option --maxphyaddr: expected a whole number from 32 to 52, found '31'",
    },
    {
      command: 'walk --scenario loop.yaml --process p',
      says: 'argument VA is missing: expected one address or more',
    },
    {
      command: 'walk --scenario loop.yaml 0x1000',
      says: 'option --process is missing: expected the name of a program of the scenario',
    },
    {
      command: 'walk --scenario loop.yaml --process q 0x1000',
      says: 'loop.yaml: no process "q" with memory: expected p, found q',
    },
    {
      command: 'walk --scenario loop.yaml --process p 0x1ffffffffffffffff',
      says: 'argument VA: expected at most 64 bits, found 0x1ffffffffffffffff',
    },
    {
      command: 'walk --scenario typo.yaml --process p 0x1000',
      says: 'typo.yaml:2:1: unknown key "progrmas"; did you mean "programs"?: expected one of title, description, arch, cpus, retention, programs, children, placement, always, finally, found progrmas',
    },
    {
      command: 'walk --scenario loop.yaml --process p --steps x 0x1000',
      says: "option --steps: expected a whole number from 1 to 9007199254740991, found 'x'",
    },
    {
      command: 'walk --scenario loop.yaml --process p --steps 0 0x1000',
      says: "option --steps: expected a whole number from 1 to 9007199254740991, found '0'",
    },
    { command: 'walk --scenario nothere.ts --process p 0x1000', says: 'nothere.ts: no such file' },
    {
      command: 'walk --scenario loop.yaml --process p --cr3 0 0x1000',
      says: 'option --cr3 does not go with --scenario: expected --dump with it',
    },
    {
      command: 'walk --scenario loop.yaml --process p --access look 0x1000',
      says: "option --access: expected read, write, fetch, found 'look'",
    },
    {
      command: 'walk --scenario runtime.ts --process p 0x1000',
      says: 'runtime.ts:7:23: program "p" threw TypeError: Cannot read properties of undefined (reading \'bytes\')',
    },
    {
      command: 'decode x86_64.pte 1 --granule 4k',
      says: 'option --granule says nothing about x86_64.pte: expected --maxphyaddr, --no-nxe, --vendor',
    },
    {
      command: 'decode pf-error 1 --pcide',
      says: 'option --pcide says nothing about pf-error: expected no option',
    },
  ],
};

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
