/**
 * An address space in which nothing is ever touched, so that its page tables stay empty: the VMA side of mm/ on its
 * own. Tasks run to their end at once, as nothing else runs beside them.
 */

import { KeysWithoutOverlays } from '../../../src/arch/arm64/kernel/protection-keys.ts';
import { type KernelArch, MmContext } from '../../../src/arch/kernel-arch.ts';
import { ThreadState } from '../../../src/arch/thread-state.ts';
import { X86PagingFormat } from '../../../src/arch/x86_64/kernel/paging-format.ts';
import { PointKind, type Task } from '../../../src/base/task.ts';
import { Machine } from '../../../src/hardware/machine.ts';
import { PhysicalMemory } from '../../../src/hardware/physical-memory.ts';
import { FrameTable } from '../../../src/kernel/frame/frame-table.ts';
import { defaultKernelConfig, Kernel, type KernelConfig } from '../../../src/kernel/kernel.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { mmAlloc } from '../../../src/kernel/mm/mm-lifetime.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  PROT_EXEC,
  PROT_READ,
  PROT_SEM,
  PROT_WRITE,
} from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { TaskStruct } from '../../../src/kernel/task-struct.ts';

/** 2^47 - 4096 bytes: x86-64 with 4-level paging. */
export const TASK_SIZE_PAGES = 0x7_ffff_ffff;
export const MMAP_BASE_PAGE = 0x1_0001_0000;
export const RW = PROT_READ | PROT_WRITE;
export const PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS;
export const FIXED = PRIVATE | MAP_FIXED;

const NO_FLAGS = { flags: 0, flagsHigh: 0 };

/** Runs a task that must not have to wait for anybody. */
export function finish<T>(task: Task<T>): T {
  for (;;) {
    const step = task.next();
    if (step.done === true) return step.value;
    if (step.value.kind === PointKind.Wait && step.value.ready?.() === false) {
      throw new Error(`waits for ever at ${step.value.operation} of ${step.value.object.name}`);
    }
  }
}

export interface VmaWorld {
  readonly kernel: Kernel;
  readonly mm: MmStruct;
  readonly task: TaskStruct;
}

/** One task with an empty address space and 16 MiB of memory. */
export function vmaWorld(
  config: Partial<KernelConfig> = {},
  withoutCapabilities: readonly number[] = [],
  cpus = 1,
): VmaWorld {
  const memory = new PhysicalMemory();
  memory.addRegion(0n, 16n << 20n);
  const machine = new Machine({ cpus, memory });
  const frames = new FrameTable({ memory, firstFrame: 0, frameCount: 4096 });
  const arch: Partial<KernelArch> = {
    name: 'empty page tables',
    format: new X86PagingFormat({ levels: 4, shadowStacks: false }),
    taskSizePages: TASK_SIZE_PAGES,
    mapWindowPages: TASK_SIZE_PAGES,
    memoryTags: null,
    vmFlagsClear: NO_FLAGS,
    dataDefaultFlags: NO_FLAGS,
    legacyMapFlags: 0,
    contiguousEntries: null,
    vmFlagLetters: [],
    protectionKeys: new KeysWithoutOverlays(),
    validateProt: (prot) => (prot & ~(RW | PROT_EXEC | PROT_SEM)) === 0,
    calcVmProtBits: () => NO_FLAGS,
    calcVmFlagBits: () => NO_FLAGS,
    validateFlags: () => true,
    createThread: (name) => new ThreadState(name),
    untaggedAddress: (_cpu, address) => address,
    createMmContext: (name, rootFrame) => new MmContext(name, rootFrame, cpus),
  };
  const kernel = new Kernel(machine, arch as KernelArch, frames, { ...defaultKernelConfig, ...config });
  const mm = mmAlloc(kernel, 'p', MMAP_BASE_PAGE) as MmStruct;
  const credentials = rootCredentials(withoutCapabilities);
  const task = new TaskStruct({ kernel, pid: 1, name: 'p', cpu: 0, mm, credentials, parent: null });
  return { kernel, mm, task };
}

/** Maps `pages` pages at page `page`, private anonymous and fixed unless said otherwise. */
export function map(world: VmaWorld, page: number, pages: number, prot = RW, flags = FIXED): bigint {
  return finish(sysMmap(world.task, BigInt(page) << 12n, BigInt(pages) << 12n, prot, flags, null, 0n));
}

/** `[start, end)` in pages of every VMA. */
export const ranges = (mm: MmStruct): (readonly [number, number])[] =>
  [...mm.vmas].map((vma) => [vma.start, vma.end] as const);
