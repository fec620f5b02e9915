/** The options by which `walk` and `maps` open a core dump. */
import type { Command } from 'commander';
import type { PageTableDump } from '../conformance/maps/page-table-dump.ts';
import { exclusive, unsignedWord, wholeNumber } from './option-values.ts';

export interface DumpOptions {
  readonly dump?: string;
  readonly regs?: string;
  readonly cr3?: string;
  readonly root?: string;
  readonly cpu?: string;
}

export function addDumpOptions(command: Command): Command {
  return command
    .option('--dump <core>', 'an ELF64 core as QEMU writes it (dump-guest-memory), plain or .gz')
    .option('--regs <file>', 'the registers as JSON; without it those in the core are used')
    .option('--root <name>', 'the page table of this process, a name of the registers file')
    .option('--cr3 <value>', 'the page table at this CR3')
    .option('--cpu <n>', 'the registers of this processor of the core, from 0');
}

/** @throws InputError when the core or the registers cannot be read */
export async function openDump(file: string, options: DumpOptions): Promise<PageTableDump> {
  const { openPageTableDump } = await import('../conformance/maps/page-table-dump.ts');
  const { regs, cr3, root, cpu } = options;
  if (cr3 !== undefined && root !== undefined) exclusive('--cr3', '--root');
  if (cpu !== undefined && regs !== undefined) exclusive('--cpu', '--regs');
  return openPageTableDump(file, {
    ...(regs === undefined ? {} : { regs }),
    ...(root === undefined ? {} : { root }),
    ...(cr3 === undefined ? {} : { cr3: unsignedWord('option --cr3', cr3) }),
    ...(cpu === undefined ? {} : { cpu: wholeNumber('option --cpu', cpu, 0, 65535) }),
  });
}
