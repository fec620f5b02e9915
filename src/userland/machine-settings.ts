/**
 * Memory of a scenario's machine and settings of its kernel: in the scenario, and overridden by the configuration of a
 * run. Sizes are bytes, or texts: `64MiB`.
 */
import { InputError } from '../base/input-error.ts';
import { BUG_NAMES, type BugName } from '../kernel/bugs.ts';
import type { KernelConfig, ShmemEnabled } from '../kernel/kernel.ts';
import { DESIGN_NAMES, type DesignName } from '../kernel/remote/design-names.ts';
import { checkKeys } from './units.ts';

/** Bytes: a whole number, or with a unit: `4096`, `'512KiB'`, `'64MiB'`, `'2GiB'`. */
export type ByteSize = number | string;

export interface MachineSettings {
  /**
   * Memory of the machine; default 256 MiB, and room for `hugepages`. Only what is touched is really there. Less than 4 MiB,
   * or no multiple of it, is a limit: the kernel reclaims rather than use more. Page tables may go beyond.
   */
  readonly memory?: ByteSize;
  /** A swap area in memory of its own; default none. */
  readonly swap?: ByteSize;
  /**
   * The boot parameter movablecore=: so much at the top of memory must stay movable (ZONE_MOVABLE). Pages of programs are
   * taken from it first; the kernel's own never, nor pages that are pinned for long. Default none.
   */
  readonly movable?: ByteSize;
  /** The boot parameter cma=: so much below that is for a driver one day, and for pages of programs until then. Default none. */
  readonly cma?: ByteSize;
  /** The boot parameters hugepages=: pages that pools take from memory at once, as far as there are such. */
  readonly hugepages?: { readonly '2MiB'?: number; readonly '1GiB'?: number };
  /** /sys/kernel/mm/transparent_hugepage/enabled; default `madvise`. */
  readonly transparentHugepage?: 'never' | 'madvise' | 'always';
  /** /sys/kernel/mm/transparent_hugepage/shmem_enabled, of shared memory and memfds; default `never`. */
  readonly transparentHugepageShmem?: ShmemEnabled;
  /**
   * The kernel thread khugepaged runs on the last CPU, whenever page tables have changed, and makes huge pages of small
   * ones; default false.
   */
  readonly khugepaged?: boolean;
  /** CONFIG_PROVE_LOCKING: watches the order of locks (`noLockOrderViolation`); default false. */
  readonly lockdep?: boolean;
  /** CONFIG_PER_VMA_LOCK; default true. Without it every fault takes mmap_lock. */
  readonly perVmaLocks?: boolean;
  /** sysctl vm.max_map_count; default 65530. */
  readonly maxMapCount?: number;
  /** sysctl vm.overcommit_memory: 0 heuristic (default), 1 always, 2 never. */
  readonly overcommitMemory?: 0 | 1 | 2;
  /** The boot parameter proc_mem.force_override: who may go against protection by /proc/PID/mem; default `always`. */
  readonly procMemForceOverride?: 'always' | 'ptrace' | 'never';
  /** How accesses to another process's memory lock: `v0`, today's code (the default), or a proposal. */
  readonly design?: DesignName;
  /**
   * Bugs put in on purpose: old orders of operations of real kernels, by the names of `BUGS` (src/kernel/bugs.ts); docs/museum.md
   * tells of each.
   */
  readonly kernelBugs?: readonly KernelBug[];
}

export type KernelBug = BugName;

export const MACHINE_SETTINGS = [
  'memory',
  'swap',
  'movable',
  'cma',
  'hugepages',
  'transparentHugepage',
  'transparentHugepageShmem',
  'khugepaged',
  'lockdep',
  'perVmaLocks',
  'maxMapCount',
  'overcommitMemory',
  'procMemForceOverride',
  'design',
  'kernelBugs',
] as const;

export const THP_MODES = ['never', 'madvise', 'always'] as const;
export const THP_SHMEM_MODES: readonly ShmemEnabled[] = [
  'never',
  'always',
  'within_size',
  'advise',
  'deny',
  'force',
];
const OVERCOMMIT = [0, 1, 2] as const;
export const PROC_MEM_FORCE = ['always', 'ptrace', 'never'] as const;

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
const SIZE = /^(\d+)\s*(?:([KMGT])(?:iB)?)?$/;

/** @throws InputError for what is no size of whole pages */
export function byteSize(size: ByteSize, what: string): number {
  const match = SIZE.exec(String(size));
  const bytes = match === null ? Number.NaN : Number(match[1]) * (UNITS[match[2] ?? ''] as number);
  if (!Number.isSafeInteger(bytes) || bytes % 4096 !== 0) {
    throw new InputError(`${what} is no size in pages`, {
      expected: 'a multiple of 4096 bytes, such as 65536 or 64MiB',
      found: String(size),
    });
  }
  return bytes;
}

function checkWord<T>(what: string, value: T | undefined, allowed: readonly T[]): void {
  if (value === undefined || allowed.includes(value)) return;
  throw new InputError(`"${what}" is not known`, { expected: allowed.join(', '), found: String(value) });
}

function checkCount(what: string, value: unknown, most: number): void {
  if (value === undefined) return;
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most) return;
  throw new InputError(`"${what}" is out of range`, {
    expected: `a whole number from 0 to ${most}`,
    found: String(value),
  });
}

/** Of one pool. */
export const MOST_HUGE_PAGES = 2 ** 16;

/** @throws InputError for a value that a setting cannot have */
export function checkMachineSettings(settings: MachineSettings): void {
  if (settings.memory !== undefined && byteSize(settings.memory, '"memory"') < LEAST_MEMORY) {
    throw new InputError('"memory" is out of range', {
      expected: '256KiB at least',
      found: `${settings.memory}`,
    });
  }
  if (settings.swap !== undefined) byteSize(settings.swap, '"swap"');
  if (settings.movable !== undefined) byteSize(settings.movable, '"movable"');
  if (settings.cma !== undefined) byteSize(settings.cma, '"cma"');
  if (settings.hugepages !== undefined) checkKeys(settings.hugepages, ['2MiB', '1GiB'], '"hugepages"');
  checkCount('hugepages 2MiB', settings.hugepages?.['2MiB'], MOST_HUGE_PAGES);
  checkCount('hugepages 1GiB', settings.hugepages?.['1GiB'], MOST_HUGE_PAGES);
  checkCount('maxMapCount', settings.maxMapCount, 2 ** 31 - 1);
  checkWord('transparentHugepage', settings.transparentHugepage, THP_MODES);
  checkWord('transparentHugepageShmem', settings.transparentHugepageShmem, THP_SHMEM_MODES);
  checkWord('overcommitMemory', settings.overcommitMemory, OVERCOMMIT);
  checkWord('procMemForceOverride', settings.procMemForceOverride, PROC_MEM_FORCE);
  checkWord('khugepaged', settings.khugepaged, [true, false]);
  checkWord('lockdep', settings.lockdep, [true, false]);
  checkWord('perVmaLocks', settings.perVmaLocks, [true, false]);
  checkWord('design', settings.design, DESIGN_NAMES);
  for (const bug of settings.kernelBugs ?? []) checkWord('kernelBugs', bug, BUG_NAMES);
}

const DEFAULT_MEMORY = 0x1000_0000;
const LEAST_MEMORY = 0x4_0000;
/** The allocator of frames counts in blocks of so many bytes. */
const MEMORY_STEP = 0x40_0000;
const GIB = 2 ** 30;

/** What the configuration of a run says goes before what the scenario says. */
export function mergedSettings(scenario: MachineSettings, run: MachineSettings): MachineSettings {
  const merged: Record<string, unknown> = {};
  for (const name of MACHINE_SETTINGS) {
    const value = run[name] ?? scenario[name];
    if (value !== undefined) merged[name] = value;
  }
  return merged;
}

/** Pages of memory that are not for everything. @throws InputError when the kernel has nowhere to live */
function zonePages({ movable = 0, cma = 0 }: MachineSettings, memoryBytes: number) {
  const movableBytes = byteSize(movable, '"movable"');
  const cmaBytes = byteSize(cma, '"cma"');
  if (movableBytes + cmaBytes + LEAST_MEMORY > memoryBytes) {
    throw new InputError('"movable" and "cma" are too large', {
      expected: `256KiB of the ${memoryBytes} bytes of memory left for the kernel`,
      found: `${movableBytes} and ${cmaBytes} bytes`,
    });
  }
  return { movablePages: movableBytes / 4096, cmaPages: cmaBytes / 4096 };
}

/** What `createSystem` takes for these settings. @throws InputError as `checkMachineSettings` */
export function systemSettings(settings: MachineSettings): {
  readonly memoryBytes: number;
  readonly kernel: Partial<KernelConfig>;
  readonly design: DesignName;
} {
  checkMachineSettings(settings);
  const { '2MiB': hugepages2M = 0, '1GiB': hugepages1G = 0 } = settings.hugepages ?? {};
  // Pages of 1 GiB begin at multiples of it, and memory does not.
  const pools = hugepages2M * 2 ** 21 + (hugepages1G === 0 ? 0 : (hugepages1G + 1) * GIB);
  const wanted =
    settings.memory === undefined ? DEFAULT_MEMORY + pools : byteSize(settings.memory, '"memory"');
  const memoryBytes = Math.ceil(wanted / MEMORY_STEP) * MEMORY_STEP;
  const { transparentHugepage, lockdep, perVmaLocks, maxMapCount, overcommitMemory, swap } = settings;
  const { procMemForceOverride } = settings;
  return {
    memoryBytes,
    design: settings.design ?? 'v0',
    kernel: {
      frameLimit: memoryBytes === wanted ? 0 : wanted / 4096,
      hugepages2M,
      hugepages1G,
      ...zonePages(settings, memoryBytes),
      swapPages: swap === undefined ? 0 : byteSize(swap, '"swap"') / 4096,
      bugs: settings.kernelBugs ?? [],
      ...(transparentHugepage === undefined ? {} : { transparentHugepage }),
      ...(settings.transparentHugepageShmem === undefined
        ? {}
        : { shmemEnabled: settings.transparentHugepageShmem }),
      ...(lockdep === undefined ? {} : { lockdep }),
      ...(perVmaLocks === undefined ? {} : { perVmaLocks }),
      ...(maxMapCount === undefined ? {} : { maxMapCount }),
      ...(overcommitMemory === undefined ? {} : { overcommitMemory }),
      ...(procMemForceOverride === undefined ? {} : { procMemForceOverride }),
    },
  };
}
