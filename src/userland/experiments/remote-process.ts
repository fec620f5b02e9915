/**
 * The processes of the experiments about remote access: a target whose memory is laid out as a case wants it, and
 * readers.
 */
import type { Task } from '../../base/task.ts';
import { FOLL_WRITE } from '../../kernel/gup/foll-flags.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../../kernel/mm/mman.ts';
import { sysMmap } from '../../kernel/mm/mmap.ts';
import { sysMprotect } from '../../kernel/mm/mprotect.ts';
import { rootCredentials } from '../../kernel/process/credentials.ts';
import { v0MmapLock } from '../../kernel/remote/designs/v0-mmap-lock.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { System } from '../system.ts';

const PAGE_BYTES = 4096;
/** Where the memory of a target begins: a multiple of what any table of either architecture spans. */
export const TARGET_BASE = 0x10_0000_0000n;

/** A process with an address space; the caller runs its tasks. */
export interface RemoteTarget {
  readonly task: TaskStruct;
  readonly mm: MmStruct;
}

export function createTarget(system: System, name: string, cpu: number): RemoteTarget {
  const task = system.createProcess(name, cpu, rootCredentials());
  if (task.mm === null) throw new Error(`${name} has no memory`);
  return { task, mm: task.mm };
}

/** Maps `bytes` at `start`, readable and writable; with `fill` every page is there afterwards. */
export function* mapMemory(
  { task, mm }: RemoteTarget,
  start: bigint,
  bytes: number,
  fill: boolean,
): Task<void> {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  yield* sysMmap(task, start, BigInt(bytes), PROT_READ | PROT_WRITE, flags, null, 0n);
  if (!fill) return;
  const page = Number(start / BigInt(PAGE_BYTES));
  const buffer = new Uint8Array(bytes).fill(0x5a);
  const transfer = { mm, page, offset: 0, buffer, length: bytes, gupFlags: FOLL_WRITE };
  const moved = yield* v0MmapLock.accessRemoteVm(task, transfer);
  if (moved !== bytes) throw new Error(`${moved} of ${bytes} bytes were filled`);
}

/** Makes [start, start + bytes) a VMA of its own: executable too. */
export function* makeExecutable({ task }: RemoteTarget, start: bigint, bytes: number): Task<void> {
  yield* sysMprotect(task, start, BigInt(bytes), PROT_READ | PROT_WRITE | PROT_EXEC);
}
