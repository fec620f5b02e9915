/**
 * What one remote access costs under each design, alone on its machine: cycles, locked read-modify-writes by line,
 * look-ups, walks, and what was left to today's code. Every case has a process of its own, and a transfer of the same
 * kind elsewhere in it has gone before, so that locks and counts are in the cache of the CPU.
 */
import type { Task } from '../../base/task.ts';
import type { CostProfile } from '../../hardware/cost-profile.ts';
import { FOLL_WRITE } from '../../kernel/gup/foll-flags.ts';
import { accessRemoteVm } from '../../kernel/remote/access-remote-vm.ts';
import type { DesignName } from '../../kernel/remote/design-names.ts';
import { designNamed } from '../../kernel/remote/designs/registry.ts';
import type { RemoteCounters } from '../../kernel/remote/remote-counters.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { createSystem, type SystemArchitecture } from '../system.ts';
import { type LineCounts, metered, PointMeter } from './point-meter.ts';
import { createTarget, makeExecutable, mapMemory, type RemoteTarget, TARGET_BASE } from './remote-process.ts';

export interface RemoteAccessCase {
  readonly design: DesignName;
  /** Of the transfer. */
  readonly bytes: number;
  readonly write: boolean;
  /** Are the pages there? */
  readonly present: boolean;
  /** In how many VMAs the transfer lies: 1, or 2, which meet in its middle. */
  readonly vmas: 1 | 2;
}

export interface RemoteAccessCost extends RemoteAccessCase {
  /** Bytes moved. */
  readonly moved: number;
  /** Virtual time of the call, in cycles. */
  readonly cycles: number;
  /** Locked read-modify-writes on lines that other CPUs use too. */
  readonly atomics: number;
  readonly lines: Readonly<LineCounts>;
  /** Steps with interrupts off. */
  readonly stepsWithInterruptsOff: number;
  readonly vmaLookups: number;
  readonly walks: number;
  /** How often the design left the transfer, or the rest of it, to mmap_lock, by reason. */
  readonly fallbacks: ReadonlyMap<string, number>;
}

export interface RemoteAccessCostOptions {
  readonly architecture: SystemArchitecture;
  readonly profile: CostProfile;
}

const PAGE_BYTES = 4096;

/** One machine, one target, two transfers: the second is measured. */
export function measureRemoteAccess(
  { architecture, profile }: RemoteAccessCostOptions,
  wanted: RemoteAccessCase,
): RemoteAccessCost {
  const system = createSystem({ architecture, profile, cpus: 1 });
  const { kernel, loop } = system;
  const target = createTarget(system, 'target', 0);
  const reader = createTarget(system, 'reader', 0).task;
  const span = 2 * Math.max(wanted.bytes, PAGE_BYTES);
  loop.complete(target.task, layOut(target, wanted, span));
  kernel.remoteAccess = designNamed(wanted.design);
  loop.complete(reader, transfer(reader, target, wanted, TARGET_BASE, span));
  const before = counters(kernel.remoteCounters);
  const meter = new PointMeter(target.mm);
  const measured = transfer(reader, target, wanted, TARGET_BASE + BigInt(span), span);
  const { moved, cycles } = loop.complete(reader, timed(reader, measured, meter));
  const { lines, atomics, withInterruptsOff } = meter;
  return {
    ...wanted,
    moved,
    cycles,
    atomics,
    lines,
    stepsWithInterruptsOff: withInterruptsOff,
    ...difference(before, counters(kernel.remoteCounters)),
  };
}

/** The two halves of a target's memory, one for each transfer, as the case wants them. */
function* layOut(target: RemoteTarget, { present, vmas }: RemoteAccessCase, span: number): Task<void> {
  yield* mapMemory(target, TARGET_BASE, 2 * span, present);
  if (vmas === 1) return;
  for (const half of [0, span]) {
    yield* makeExecutable(target, TARGET_BASE + BigInt(half + span / 2), span / 2);
  }
}

/** In one VMA it begins with a page; in two the boundary is in its middle. */
function transfer(
  reader: TaskStruct,
  { mm }: RemoteTarget,
  { bytes, write, vmas }: RemoteAccessCase,
  start: bigint,
  span: number,
): Task<number> {
  const address = vmas === 1 ? start : start + BigInt(span / 2 - bytes / 2);
  return accessRemoteVm(reader, mm, address, new Uint8Array(bytes), bytes, write ? FOLL_WRITE : 0);
}

function* timed(
  reader: TaskStruct,
  task: Task<number>,
  meter: PointMeter,
): Task<{ moved: number; cycles: number }> {
  const cpu = reader.processor;
  if (cpu === null) throw new Error(`${reader.name} is on no CPU`);
  const begun = cpu.time;
  const moved = yield* metered(task, meter, () => cpu.interruptsDisabled > 0);
  return { moved, cycles: cpu.time - begun };
}

interface Counters {
  readonly vmaLookups: number;
  readonly walks: number;
  readonly fallbacks: ReadonlyMap<string, number>;
}

function counters(of: RemoteCounters): Counters {
  return { vmaLookups: of.vmaLookups, walks: of.walks, fallbacks: new Map(of.fallbackReasons()) };
}

function difference(before: Counters, after: Counters): Counters {
  const fallbacks = [...after.fallbacks]
    .map(([reason, count]) => [reason, count - (before.fallbacks.get(reason) ?? 0)] as const)
    .filter(([, count]) => count > 0);
  return {
    vmaLookups: after.vmaLookups - before.vmaLookups,
    walks: after.walks - before.walks,
    fallbacks: new Map(fallbacks),
  };
}
