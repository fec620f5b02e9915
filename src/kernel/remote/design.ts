/**
 * What every way of locking `__access_remote_vm` has in common, so that they can stand side by side: today's code, the
 * proposals of June 2026, and some that are wrong on purpose.
 */
import type { Task } from '../../base/task.ts';
import type { MmStruct } from '../mm/mm.ts';
import type { TaskStruct } from '../task-struct.ts';
import type { DesignName } from './design-names.ts';
import type { RemoteLocking } from './remote-lock.ts';

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

/** Who proposed it, and where to read that. */
interface Proposal {
  readonly author: string;
  /** `24 June 2026`. */
  readonly date: string;
  /** Of the mail, or the file of Linux for what is there already. */
  readonly subject: string;
}

/**
 * Can the design do it? `true`: under the lock it is about. `'mmap_lock'`: it takes mmap_lock for that from the start. `false`: it
 * notices on the way, gives the rest to today's code and counts that.
 */
export type Serves = boolean | 'mmap_lock';

export interface DesignServes {
  readonly reads: Serves;
  readonly writes: Serves;
  /** Pages that have to be faulted in. */
  readonly absentPages: Serves;
  /** Addresses below a stack, which has to grow. */
  readonly stackGrowth: Serves;
  readonly hugetlb: Serves;
  /** VM_IO and VM_PFNMAP, by `vm_ops->access`. */
  readonly pfnmap: Serves;
  /** Transfers over more than one VMA. */
  readonly multiVma: Serves;
}

export interface RemoteAccessDesign {
  /** As options and reports name it. */
  readonly name: DesignName;
  readonly title: string;
  readonly proposedBy: Proposal;
  readonly serves: DesignServes;
  /** Set for a design that is wrong on purpose: what is wrong with it, in one line. */
  readonly wrong?: string;
  /** How other remote paths lock under this design; none: mmap_lock, as today. */
  readonly locking?: RemoteLocking;
  /** Bytes moved: short when something stopped it, never negative. */
  accessRemoteVm(current: TaskStruct, transfer: RemoteTransfer): Task<number>;
}
