/** Bad options and arguments. Each command line and the one line that it gives; see bad-input.test.ts. */
import { DESIGN_NAMES } from '../../../src/kernel/remote/design-names.ts';
import { MACHINE_SETTINGS } from '../../../src/userland/machine-settings.ts';
import type { Rows } from './row.ts';

export const options: Rows = {
  'options and arguments': [
    {
      command: 'run loop.yaml --schedule zzz',
      says: 'option --schedule:1:1: bad schedule: expected choices like 3, 3*12, i1, idle1, f1:3, e1:3, g, a or k3, or - for none, found zzz',
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
      command: 'run loop.yaml --fills --policy virtual-time',
      says: "the policy virtual-time never chooses speculative fills: expected policy 'random'",
    },
    {
      command: 'run loop.yaml --memory lots',
      says: 'option --memory is no size in pages: expected a multiple of 4096 bytes, such as 65536 or 64MiB, found lots',
    },
    {
      command: 'run loop.yaml --hugepages 8',
      says: "option --hugepages: expected 2MiB or 1GiB, each with at most 65536 pages, such as 2MiB:8,1GiB:1, found '8'",
    },
    {
      command: 'run loop.yaml --hugepages 4MiB:2',
      says: "option --hugepages: expected 2MiB or 1GiB, each with at most 65536 pages, such as 2MiB:8,1GiB:1, found '4MiB:2'",
    },
    {
      command: 'run loop.yaml --hugepages 2MiB:2000000',
      says: "option --hugepages: expected 2MiB or 1GiB, each with at most 65536 pages, such as 2MiB:8,1GiB:1, found '2MiB:2000000'",
    },
    {
      command: 'run loop.yaml --thp often',
      says: "option --thp: expected never, madvise, always, found 'often'",
    },
    {
      command: 'run loop.yaml --design v9',
      says: `option --design: expected ${DESIGN_NAMES.join(', ')}, found 'v9'`,
    },
    {
      command: 'run loop.yaml --retention zz',
      says: "option --retention: expected profile, adversarial, none, found 'zz'",
    },
    {
      command: 'run loop.yaml --policy zz',
      says: "option --policy: expected virtual-time, round-robin, random, stalling, found 'zz'",
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
    {
      command: 'replay trace.jsonl --design v9',
      says: `option --design: expected ${DESIGN_NAMES.join(', ')}, found 'v9'`,
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
      command: 'run loop.yaml --quiet --json',
      says: 'options --quiet and --json exclude each other: expected one of them',
    },
    {
      command: 'run loop.yaml --schedule 0*0',
      says: 'option --schedule:1:1: bad schedule: expected choices like 3, 3*12, i1, idle1, f1:3, e1:3, g, a or k3, or - for none, found 0*0',
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
      says: `typo.yaml:2:1: unknown key "progrmas"; did you mean "programs"?: expected one of title, description, arch, cpus, retention, ${MACHINE_SETTINGS.join(', ')}, programs, children, placement, always, finally, found progrmas`,
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
