/** The options by which `walk` and `maps` open a core dump. */
import type { Command } from 'commander';
import { InputError } from '../base/input-error.ts';
import type { DumpStateOptions } from '../conformance/maps/dump-options.ts';
import type { PageTableDump } from '../conformance/maps/page-table-dump.ts';
import { exclusive, unsignedWord, wholeNumber } from './option-values.ts';

export interface DumpOptions {
  readonly dump?: string;
  readonly regs?: string;
  readonly cr3?: string;
  readonly ttbr0?: string;
  readonly ttbr1?: string;
  readonly root?: string;
  readonly cpu?: string;
  /** What the core must be of. */
  readonly arch?: string;
}

export function addDumpOptions(command: Command): Command {
  return command
    .option('--dump <core>', 'an ELF64 core as QEMU writes it (dump-guest-memory), plain or .gz')
    .option('--regs <file>', 'the registers as JSON; an x86-64 core has them itself')
    .option('--root <name>', 'the page table of this process, by its name in the registers file')
    .option('--cr3 <value>', 'x86-64: the page table at this CR3')
    .option('--ttbr0 <value>', 'AArch64: the lower half at this TTBR0_EL1')
    .option('--ttbr1 <value>', 'AArch64: the upper half at this TTBR1_EL1')
    .option('--cpu <n>', 'x86-64: the registers of this processor of the core, from 0');
}

const TABLES = ['cr3', 'ttbr0', 'ttbr1'] as const;

function tablesGiven(options: DumpOptions): Pick<DumpStateOptions, (typeof TABLES)[number]> {
  const given = TABLES.flatMap((name) => {
    const text = options[name];
    return text === undefined ? [] : [[name, unsignedWord(`option --${name}`, text)] as const];
  });
  return Object.fromEntries(given);
}

/** @throws InputError when the core or the registers cannot be read, or the core is of another architecture */
export async function openDump(file: string, options: DumpOptions): Promise<PageTableDump> {
  const { openPageTableDump } = await import('../conformance/maps/page-table-dump.ts');
  const { regs, root, cpu, arch } = options;
  for (const name of TABLES)
    if (options[name] !== undefined && root !== undefined) exclusive(`--${name}`, '--root');
  if (cpu !== undefined && regs !== undefined) exclusive('--cpu', '--regs');
  const dump = await openPageTableDump(file, {
    ...(regs === undefined ? {} : { regs }),
    ...(root === undefined ? {} : { root }),
    ...tablesGiven(options),
    ...(cpu === undefined ? {} : { cpu: wholeNumber('option --cpu', cpu, 0, 65535) }),
  });
  if (arch === undefined || arch === dump.arch) return dump;
  throw new InputError('option --arch is not what the core says', { expected: dump.arch, found: arch });
}
