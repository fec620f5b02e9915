/**
 * The registers that say how an arm64 dump's page tables are read. They come from REGS.json: the notes of an AArch64
 * core hold general registers only. Names are taken with and without `_el1`, in any case; values with and without `0x`.
 * What is not given is assumed and said: TCR2_EL1 is 0, but for what switches on permission registers that are not zero;
 * PSTATE at EL1 is what an exception makes of it.
 */
import type { Arm64Features } from '../../arch/arm64/features.ts';
import { TCR_EL1 } from '../../arch/arm64/registers.ts';
import { SCTLR_EL1, TCR2_EL1 } from '../../arch/arm64/system-registers.ts';
import { InputError } from '../../base/input-error.ts';
import type { ElfCore } from '../core/elf-core.ts';
import type { FieldReader } from '../json-fields.ts';
import { featuresOf } from './arm64-identification.ts';
import type { DumpStateOptions } from './dump-options.ts';
import { chooseRoot, hexField, readRegistersFile, rootsOf } from './registers-file.ts';

export interface Arm64DumpState {
  /** Where the registers come from, for the head of a report. */
  readonly origin: string;
  readonly ttbr0: bigint;
  readonly ttbr1: bigint;
  readonly tcr: bigint;
  readonly tcr2: bigint;
  /** TCR2_EL1.PIE: permissions by index. */
  readonly indirect: boolean;
  readonly sctlr: bigint;
  readonly mair: bigint;
  readonly pir: bigint;
  readonly pire0: bigint;
  readonly porEl1: bigint;
  readonly porEl0: bigint;
  /** PSTATE of an access at EL1: as it was when the guest was stopped there, or as an exception to EL1 makes it. */
  readonly pstateEl1: DumpPstate;
  /** PSTATE of an access at EL0: as it was when the guest was stopped there, otherwise all zero. */
  readonly pstateEl0: DumpPstate;
  readonly features: Arm64Features;
  /** TTBR0_EL1 by process name, as it is when that process runs; `kernel` is TTBR1_EL1. */
  readonly roots: ReadonlyMap<string, bigint>;
  readonly currentProcess: string | null;
  /** What was not in the input. */
  readonly assumed: readonly string[];
  /** What the file says beside the registers and the registers say otherwise: they are followed. */
  readonly contradicted: readonly string[];
}

/** The bits of PSTATE that translation depends on, and where they come from. */
interface DumpPstate {
  readonly pan: boolean;
  readonly uao: boolean;
  readonly tco: boolean;
  /** `from cpsr`, or what was assumed in words. */
  readonly origin: string;
}

/** The name of REGS.json's `roots` that is TTBR1_EL1. */
const KERNEL_ROOT = 'kernel';

/** REGS.json's registers, by name without regard to case, `_el1` and the debugger's `_reserved`. */
class NamedRegisters {
  readonly #fields: FieldReader;
  readonly #keys: ReadonlyMap<string, string>;

  constructor(fields: FieldReader) {
    this.#fields = fields;
    this.#keys = new Map(Object.keys(fields.value).map((key) => [plainName(key), key]));
  }

  /** Undefined when it is not there. @throws InputError when it is no hexadecimal word */
  find(name: string): bigint | undefined {
    const key = this.#keys.get(plainName(name));
    return key === undefined ? undefined : hexField(this.#fields, key);
  }

  /** @throws InputError naming the field when it is not there */
  need(name: string): bigint {
    return this.find(name) ?? this.#fields.hex(name);
  }
}

const plainName = (key: string): string =>
  key
    .toLowerCase()
    .replace(/_reserved$/, '')
    .replace(/_el1$/, '');

/**
 * Registers for reading `core`; `--ttbr0`, `--ttbr1` or `--root` chooses the tables.
 * @throws InputError when there is no REGS.json, it is malformed or lacks a register, or the root is unknown
 */
export function arm64DumpState(core: ElfCore, options: DumpStateOptions): Arm64DumpState {
  const { regs } = options;
  if (regs === undefined) {
    throw new InputError('an AArch64 core does not hold the translation registers', {
      file: core.file,
      expected: '--regs with TTBR0_EL1, TTBR1_EL1, TCR_EL1, SCTLR_EL1 and MAIR_EL1',
    });
  }
  const fields = readRegistersFile(regs, 'arm64');
  const registers = new NamedRegisters(fields);
  const roots = rootsOf(fields);
  const tcr = registers.need('tcr_el1');
  const sctlr = registers.need('sctlr_el1');
  const { tcr2, assumedTcr2 } = tcr2Of(registers);
  const { pstateEl0, pstateEl1 } = pstates(registers, sctlr);
  return {
    origin: regs,
    ...tables(registers, roots, tcr, options),
    tcr,
    tcr2,
    indirect: TCR2_EL1.has(tcr2, 'PIE'),
    sctlr,
    mair: registers.need('mair_el1'),
    ...indirectPermissions(registers, tcr2),
    pstateEl0,
    pstateEl1,
    features: featuresOf((name) => registers.find(name), {
      lpa2: TCR_EL1.has(tcr, 'DS'),
      permissionIndirection: TCR2_EL1.has(tcr2, 'PIE'),
      permissionOverlay: TCR2_EL1.has(tcr2, 'E0POE') || TCR2_EL1.has(tcr2, 'POE'),
    }),
    roots,
    currentProcess: fields.has('current_process') ? fields.text('current_process') : null,
    assumed: [
      ...assumedTcr2,
      ...(pstateEl1.origin === PSTATE_GIVEN ? [] : [`PSTATE at EL1: ${pstateEl1.origin}`]),
    ],
    contradicted: contradictions(fields, tcr),
  };
}

const PSTATE_PAN = 1n << 22n;
const PSTATE_UAO = 1n << 23n;
const PSTATE_TCO = 1n << 25n;
/** PSTATE.M[3:2], as SPSR_EL1 holds it: the exception level. */
const PSTATE_EL = 3n << 2n;
const PSTATE_GIVEN = 'from cpsr';

/**
 * @see Arm ARM (DDI 0487), "SCTLR_EL1", field SPAN: 0 sets PSTATE.PAN on an exception to EL1, 1 leaves it;
 * shared pseudocode AArch64.TakeException: UAO becomes 0
 */
function pstates(registers: NamedRegisters, sctlr: bigint): Pick<Arm64DumpState, 'pstateEl0' | 'pstateEl1'> {
  const found = registers.find('cpsr') ?? registers.find('pstate');
  const pstate = found ?? 0n;
  const given: DumpPstate = {
    pan: (pstate & PSTATE_PAN) !== 0n,
    uao: (pstate & PSTATE_UAO) !== 0n,
    tco: (pstate & PSTATE_TCO) !== 0n,
    origin: PSTATE_GIVEN,
  };
  const zero = { pan: false, uao: false, tco: false };
  if ((pstate & PSTATE_EL) !== 0n) {
    return { pstateEl1: given, pstateEl0: { ...zero, origin: 'all zero, as cpsr is of EL1' } };
  }
  const spans = SCTLR_EL1.has(sctlr, 'SPAN');
  const pan = given.pan || !spans;
  const why = found === undefined ? 'there is no cpsr' : 'cpsr is of EL0';
  const origin = `PAN = ${pan ? 1 : 0} as an exception leaves it (${why}, SCTLR_EL1.SPAN = ${spans ? 1 : 0}), UAO = TCO = 0`;
  const pstateEl1: DumpPstate = { ...zero, pan, origin };
  if (found === undefined)
    return { pstateEl1, pstateEl0: { ...zero, origin: 'all zero, as there is no cpsr' } };
  return { pstateEl1, pstateEl0: given };
}

/** Permission registers, which mean nothing unless TCR2_EL1 switches them on, and the bit that does. */
const SWITCHED_BY_TCR2 = [
  ['PIR_EL1', 'PIE'],
  ['PIRE0_EL1', 'PIE'],
  ['POR_EL1', 'POE'],
  ['POR_EL0', 'E0POE'],
] as const;

/**
 * TCR2_EL1, or what is assumed of it: nobody would list permission registers that are not in use, so that those that are
 * not zero are taken to be switched on.
 */
function tcr2Of(registers: NamedRegisters): {
  readonly tcr2: bigint;
  readonly assumedTcr2: readonly string[];
} {
  const given = registers.find('tcr2_el1');
  if (given !== undefined) return { tcr2: given, assumedTcr2: [] };
  const inUse = SWITCHED_BY_TCR2.filter(([name]) => (registers.find(name) ?? 0n) !== 0n);
  const tcr2 = inUse.reduce((bits, [, field]) => TCR2_EL1.set(bits, field, 1n), 0n);
  const why = inUse.map(([name, field]) => `${field} = 1, as ${name} is not 0`).join('; ');
  return { tcr2, assumedTcr2: [tcr2 === 0n ? 'TCR2_EL1 = 0' : `TCR2_EL1 = 0x${tcr2.toString(16)} (${why})`] };
}

/** TTBR0_EL1 and TTBR1_EL1. A half without walks (EPDn = 1) needs no register. */
function tables(
  registers: NamedRegisters,
  roots: ReadonlyMap<string, bigint>,
  tcr: bigint,
  { root, regs, ttbr0, ttbr1 }: DumpStateOptions,
): { readonly ttbr0: bigint; readonly ttbr1: bigint } {
  const chosen = root === undefined ? undefined : chooseRoot(roots, root, regs);
  const lower = ttbr0 ?? (root === KERNEL_ROOT ? undefined : chosen);
  const upper = ttbr1 ?? (root === KERNEL_ROOT ? chosen : undefined);
  const register = (name: string, half: 0 | 1): bigint =>
    registers.find(name) ?? (TCR_EL1.has(tcr, `EPD${half}`) ? 0n : registers.need(name));
  return { ttbr0: lower ?? register('ttbr0_el1', 0), ttbr1: upper ?? register('ttbr1_el1', 1) };
}

/** The registers that TCR2_EL1 switches on have to be there when it does. */
function indirectPermissions(
  registers: NamedRegisters,
  tcr2: bigint,
): Pick<Arm64DumpState, 'pir' | 'pire0' | 'porEl1' | 'porEl0'> {
  const given = (name: string, enabled: 'PIE' | 'POE' | 'E0POE'): bigint =>
    TCR2_EL1.has(tcr2, enabled) ? registers.need(name) : (registers.find(name) ?? 0n);
  return {
    pir: given('pir_el1', 'PIE'),
    pire0: given('pire0_el1', 'PIE'),
    porEl1: given('por_el1', 'POE'),
    porEl0: given('por_el0', 'E0POE'),
  };
}

const GRANULES_TG0 = [4096, 65536, 16384] as const;

/** The file repeats some of TCR_EL1 in words. */
function contradictions(fields: FieldReader, tcr: bigint): string[] {
  const bits = (half: 0 | 1): number => 64 - Number(TCR_EL1.get(tcr, `T${half}SZ`));
  const repeated: readonly (readonly [field: string, value: unknown])[] = [
    ['granule', GRANULES_TG0[Number(TCR_EL1.get(tcr, 'TG0'))]],
    ['va_bits_ttbr0', bits(0)],
    ['va_bits_ttbr1', bits(1)],
    ['ds', TCR_EL1.has(tcr, 'DS')],
  ];
  return repeated
    .filter(([field, value]) => fields.has(field) && fields.value[field] !== value)
    .map(([field, value]) => `${field} is ${String(fields.value[field])}, TCR_EL1 says ${String(value)}`);
}
