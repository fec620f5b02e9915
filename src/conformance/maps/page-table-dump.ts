/**
 * The page tables of a dump, ready to be listed, translated through and compared: core, registers and top tables. What
 * the architectures have in common here is the shape of their classes; e_machine chooses.
 */
import { type ElfCore, Machine, openElfCore } from '../core/elf-core.ts';
import { Arm64Dump } from './arm64-dump.ts';
import type { DumpStateOptions } from './dump-options.ts';
import { X86Dump } from './x86_64-dump.ts';

export type PageTableDump = X86Dump | Arm64Dump;

/**
 * Opens a core, .gz too, with the registers of `options`.
 * @throws InputError for a malformed core or REGS.json, or an unknown root
 */
export async function openPageTableDump(
  file: string,
  options: DumpStateOptions = {},
): Promise<PageTableDump> {
  return pageTableDump(await openElfCore(file), options);
}

/** The same of a core that is already open. */
export function pageTableDump(core: ElfCore, options: DumpStateOptions = {}): PageTableDump {
  return core.machine === Machine.AArch64 ? new Arm64Dump(core, options) : new X86Dump(core, options);
}
