/** Bad scenarios. Each command line and the one line that it gives; see bad-input.test.ts. */
import { MACHINE_SETTINGS } from '../../../src/userland/machine-settings.ts';
import type { Rows } from './row.ts';

export const scenarios: Rows = {
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
      says: `typo.yaml:2:1: unknown key "progrmas"; did you mean "programs"?: expected one of title, description, arch, cpus, retention, ${MACHINE_SETTINGS.join(', ')}, programs, children, placement, always, finally, found progrmas`,
    },
    {
      command: 'run call.yaml',
      says: 'call.yaml:5:7: unknown call "mumap"; did you mean "mmap"?: expected one of mmap, munmap, mprotect, brk, load, store, fetch-add, swap, compare-and-swap, fetch, mremap, madvise, process-madvise, mlock, munlock, mlockall, munlockall, mincore, msync, mseal, pkey-alloc, pkey-free, pkey-mprotect, memfd-create, open, unlink, close, ftruncate, fallocate, pread, pwrite, fork, exit, wait, kill, setuid, compute, set, wait-for, pid-of, ptrace-attach, ptrace-detach, peek, poke, mem-open, mem-read, mem-write, process-vm-readv, process-vm-writev, tagged-address-control, tag-check-preference, tag-check-override, irg, addg, subg, subp, gmi, ldg, stg, st2g, stzg, stz2g, stgp, dc-zva, dc-gva, dc-gzva, peek-tags, poke-tags, found mumap',
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
};
