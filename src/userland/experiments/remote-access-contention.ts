/**
 * What remote reads cost when several CPUs make them of one process, beside a thread of it that changes another VMA, or
 * beside nobody. Every reader reads 8 bytes of a page of its own again and again, so that they share locks and no data.
 */
import type { Task } from '../../base/task.ts';
import type { CostProfile } from '../../hardware/cost-profile.ts';
import { PROT_READ, PROT_WRITE } from '../../kernel/mm/mman.ts';
import { sysMprotect } from '../../kernel/mm/mprotect.ts';
import { accessRemoteVm } from '../../kernel/remote/access-remote-vm.ts';
import type { DesignName } from '../../kernel/remote/design-names.ts';
import { designNamed } from '../../kernel/remote/designs/registry.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { createSystem, type SystemArchitecture } from '../system.ts';
import { createTarget, mapMemory, type RemoteTarget, TARGET_BASE } from './remote-process.ts';

/** What goes on in the target meanwhile: nothing, or mprotect of a VMA that no reader looks at. */
export type Writer = 'none' | 'mprotect of another VMA';

export interface ContentionCase {
  readonly design: DesignName;
  /** CPUs that read. */
  readonly readers: number;
  readonly writer: Writer;
}

export interface ContentionCost extends ContentionCase {
  /** Reads of all readers. */
  readonly calls: number;
  /** Virtual cycles of one call: half of them took no longer, and 99 of 100. */
  readonly median: number;
  readonly p99: number;
  readonly longest: number;
  /** Calls of all readers in a million cycles. */
  readonly callsPerMillion: number;
  /** Calls of mprotect meanwhile. */
  readonly writes: number;
  /** The same in a million cycles: how far the readers hold the writer up. */
  readonly writesPerMillion: number;
}

export interface ContentionOptions {
  readonly architecture: SystemArchitecture;
  readonly profile: CostProfile;
  /** Of each reader. */
  readonly calls: number;
}

const PAGE_BYTES = 4096;
const BYTES = 8;
/** From what is read to what is written: nothing of their page tables but the upper levels is shared. */
const FAR = 2 ** 30;

export function measureContention(
  { architecture, profile, calls }: ContentionOptions,
  wanted: ContentionCase,
): ContentionCost {
  const { readers, writer } = wanted;
  const system = createSystem({ architecture, profile, cpus: readers + 1 });
  const { kernel, loop } = system;
  const target = createTarget(system, 'target', readers);
  const bytes = readers * PAGE_BYTES;
  const other = TARGET_BASE + BigInt(FAR);
  loop.complete(target.task, layOut(target, bytes));
  kernel.remoteAccess = designNamed(wanted.design);

  const times: number[] = [];
  const state = { reading: readers, writes: 0, begun: 0, ended: 0 };
  // The target has run alone so far: everybody begins where it is.
  state.begun = Math.max(...system.machine.cpus.map(({ time }) => time));
  for (let cpu = 0; cpu < readers; cpu++) {
    const reader = createTarget(system, `reader ${cpu}`, cpu).task;
    loop.start(reader, read(reader, target, TARGET_BASE + BigInt(cpu * PAGE_BYTES), calls, times, state));
  }
  if (writer !== 'none') loop.start(target.task, write(target, other, state));
  const result = loop.run();
  if (result.kind !== 'finished') throw new Error(`${wanted.design} with ${readers} readers: ${result.kind}`);
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.ceil(share * times.length) - 1] as number;
  return {
    ...wanted,
    calls: times.length,
    median: at(0.5),
    p99: at(0.99),
    longest: at(1),
    callsPerMillion: (times.length / (state.ended - state.begun)) * 1e6,
    writes: state.writes,
    writesPerMillion: (state.writes / (state.ended - state.begun)) * 1e6,
  };
}

function* layOut(target: RemoteTarget, bytes: number): Task<void> {
  yield* mapMemory(target, TARGET_BASE, bytes, true);
  yield* mapMemory(target, TARGET_BASE + BigInt(FAR), bytes + PAGE_BYTES, true);
}

interface Progress {
  /** Readers that are not done. */
  reading: number;
  writes: number;
  /** Cycles at which the first reader began and the last one was done. */
  begun: number;
  ended: number;
}

function* read(
  reader: TaskStruct,
  { mm }: RemoteTarget,
  address: bigint,
  calls: number,
  times: number[],
  state: Progress,
): Task<void> {
  const cpu = reader.processor;
  if (cpu === null) throw new Error(`${reader.name} is on no CPU`);
  const buffer = new Uint8Array(BYTES);
  for (let call = 0; call < calls; call++) {
    const before = cpu.time;
    const moved = yield* accessRemoteVm(reader, mm, address, buffer, BYTES, 0);
    if (moved !== BYTES) throw new Error(`${moved} bytes were read`);
    times.push(cpu.time - before);
  }
  state.reading--;
  state.ended = Math.max(state.ended, cpu.time);
}

/** Takes the right to write from the last page and gives it back, which splits the VMA and merges it again. */
function* write({ task }: RemoteTarget, start: bigint, state: Progress): Task<void> {
  for (let turn = 0; state.reading > 0; turn++) {
    const prot = turn % 2 === 0 ? PROT_READ : PROT_READ | PROT_WRITE;
    yield* sysMprotect(task, start, BigInt(PAGE_BYTES), prot);
    state.writes++;
  }
}
