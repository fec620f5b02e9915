/**
 * The registers that say how a dump's page tables are read: from REGS.json, from the core's QEMU note, or from the
 * command line alone. What none of them tells is assumed and said: EFER of a 64-bit kernel (LME, LMA, NXE, SCE) and a
 * MAXPHYADDR of 52, under which no address bit is reserved.
 */
import { CR3, CR4, EFER } from '../../arch/x86_64/registers.ts';
import { InputError } from '../../base/input-error.ts';
import type { ElfCore } from '../core/elf-core.ts';
import { x86CoreCpus } from '../core/elf-notes.ts';
import type { FieldReader } from '../json-fields.ts';
import type { DumpStateOptions } from './dump-options.ts';
import { chooseRoot, readRegistersFile, rootsOf } from './registers-file.ts';

export interface X86DumpState {
  /** Where the registers come from, for the head of a report. */
  readonly origin: string;
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly maxPhysAddr: number;
  readonly pkru: bigint;
  readonly cpl: number;
  /** Names of memory types by PAT index, when the kernel's boot message is known. */
  readonly patTypes: readonly string[] | null;
  /** CR3 by process name, as it is when that process runs. */
  readonly roots: ReadonlyMap<string, bigint>;
  readonly currentProcess: string | null;
  /** Page-table isolation: each process has a second root for the kernel. */
  readonly pageTableIsolation: boolean;
  /** What was not in the input. */
  readonly assumed: readonly string[];
}

const LONG_MODE_EFER = EFER.encode({ SCE: 1, LME: 1, LMA: 1, NXE: 1 });
const MOST_PHYSICAL_BITS = 52;

/**
 * Registers for reading `core`: REGS.json if given, else the QEMU note; then `--cr3` or `--root` chooses the table.
 * @throws InputError for a malformed REGS.json, an unknown root, or when nothing gives CR3
 */
export function x86DumpState(core: ElfCore, options: DumpStateOptions): X86DumpState {
  const state = options.regs === undefined ? stateOfNote(core, options) : stateOfRegs(options.regs);
  const { cr3 = chosenRoot(state, options) } = options;
  return cr3 === undefined ? state : { ...state, cr3 };
}

function chosenRoot(state: X86DumpState, { root, regs }: DumpStateOptions): bigint | undefined {
  if (root === undefined) return undefined;
  return kernelRootNamed(state, root) ?? chooseRoot(state.roots, root, regs);
}

/** Under page-table isolation `NAME.kernel` is the kernel's root of the pair. */
function kernelRootNamed(state: X86DumpState, root: string): bigint | undefined {
  if (!state.pageTableIsolation || !root.endsWith('.kernel')) return undefined;
  const pair = state.roots.get(root.slice(0, -'.kernel'.length));
  return pair === undefined ? undefined : kernelRootOf(pair);
}

/**
 * Under page-table isolation a process has two top tables side by side, the kernel's on the even page and the user's
 * on the odd one, and two PCIDs that differ in bit 11.
 * @see Linux arch/x86/include/asm/pgtable.h (PTI_PGTABLE_SWITCH_BIT), arch/x86/entry/calling.h
 */
export function kernelRootOf(userCr3: bigint): bigint {
  const PTI_USER_PGTABLE = 1n << 12n;
  const PTI_USER_PCID = 1n << 11n;
  return userCr3 & ~(PTI_USER_PGTABLE | PTI_USER_PCID);
}

function stateOfNote(core: ElfCore, { cr3, cpu = 0 }: DumpStateOptions): X86DumpState {
  const cpus = x86CoreCpus(core.file, core.notes);
  const registers = cpus[cpu];
  if (registers === undefined && cpus.length > 0) {
    const expected = `a processor from 0 to ${cpus.length - 1}`;
    throw new InputError('no such processor', { file: core.file, expected, found: `${cpu}` });
  }
  if (registers === undefined && cr3 === undefined) {
    throw new InputError('the core has no note QEMU with the control registers: give --regs or --cr3', {
      file: core.file,
    });
  }
  return {
    origin:
      registers === undefined
        ? '--cr3'
        : `the core's note QEMU${cpus.length > 1 ? `, processor ${cpu}` : ''}`,
    cr0: registers?.cr0 ?? 0x8005_0033n,
    cr3: registers?.cr3 ?? 0n,
    cr4: registers?.cr4 ?? CR4.encode({ PAE: 1 }),
    efer: LONG_MODE_EFER,
    maxPhysAddr: MOST_PHYSICAL_BITS,
    pkru: 0n,
    cpl: registers?.cpl ?? 0,
    patTypes: null,
    roots: new Map(),
    currentProcess: null,
    pageTableIsolation: false,
    assumed: [
      ...(registers === undefined ? ['CR4 = PAE (4 levels, no protection keys)'] : []),
      'EFER.NXE = 1',
      `MAXPHYADDR = ${MOST_PHYSICAL_BITS}`,
    ],
  };
}

/** @throws InputError naming the file and field */
function stateOfRegs(file: string): X86DumpState {
  const fields = readRegistersFile(file, 'x86_64');
  const cr4 = fields.hex('cr4');
  checkLevels(fields, cr4);
  const hasWidth = fields.has('maxphyaddr');
  return {
    origin: file,
    cr0: fields.hex('cr0'),
    cr3: fields.hex('cr3'),
    cr4,
    efer: fields.has('efer') ? fields.hex('efer') : LONG_MODE_EFER,
    maxPhysAddr: hasWidth ? fields.integer('maxphyaddr', 32, MOST_PHYSICAL_BITS) : MOST_PHYSICAL_BITS,
    pkru: fields.has('pkru') ? fields.hex('pkru') : 0n,
    cpl: fields.has('cpl') ? fields.integer('cpl', 0, 3) : 0,
    patTypes: patTypes(fields),
    roots: rootsOf(fields),
    currentProcess: fields.has('current_process') ? fields.text('current_process') : null,
    pageTableIsolation: fields.has('pti') && fields.boolean('pti'),
    assumed: [
      ...(fields.has('efer') ? [] : ['EFER.NXE = 1']),
      ...(hasWidth ? [] : [`MAXPHYADDR = ${MOST_PHYSICAL_BITS}`]),
    ],
  };
}

/** `levels` repeats what CR4.LA57 says. */
function checkLevels(fields: FieldReader, cr4: bigint): void {
  if (!fields.has('levels')) return;
  const levels = CR4.has(cr4, 'LA57') ? 5 : 4;
  if (fields.integer('levels', 4, 5) !== levels) {
    fields.fail(['levels'], `${levels}, as CR4.LA57 says`, fields.value['levels']);
  }
}

/** The kernel's boot message: `x86/PAT: Configuration [0-7]: WB  WC  UC- UC  …`. */
function patTypes(fields: FieldReader): readonly string[] | null {
  if (!fields.has('kernel_says_pat')) return null;
  const types = /:\s*((?:[A-Z]+-?\s*){8})$/.exec(fields.text('kernel_says_pat'))?.[1]?.trim().split(/\s+/);
  return types?.length === 8 ? types : null;
}

/** The frame of the top table that CR3 names. */
export const rootFrame = (cr3: bigint): number => Number(CR3.get(cr3, 'TABLE') >> 12n);

/** 4 or 5. */
export const pagingLevels = (cr4: bigint): 4 | 5 => (CR4.has(cr4, 'LA57') ? 5 : 4);
