/**
 * What every way of locking `__access_remote_vm` has in common, so that they can stand side by side: today's code and
 * the proposals of June 2026. The mail that proposed it is named in the file of each.
 */
import type { Task } from '../../base/task.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';

/** One transfer between a kernel buffer and the memory of `mm`. The caller holds a reference to the mm's users. */
export interface RemoteTransfer {
  readonly mm: MmStruct;
  /** First page, tag bits included if the address had any. */
  readonly page: number;
  /** Byte offset in that page, 0…4095. */
  readonly offset: number;
  /** Source of a write, target of a read. */
  readonly buffer: Uint8Array;
  /** Bytes to move, at most the buffer's length. */
  readonly length: number;
  /** FOLL_ flags: FOLL_WRITE says the direction. */
  readonly gupFlags: number;
}

export interface RemoteAccessDesign {
  /** As options and reports name it: `v0`. */
  readonly name: string;
  readonly title: string;
  /** Bytes moved: short when something stopped it, never negative. */
  accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number>;
}
