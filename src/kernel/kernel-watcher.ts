/**
 * Who looks on while a kernel works, for checks: told of what no table, frame or lock tells by itself. A kernel that
 * nobody watches pays one comparison at each of these places. A watcher changes nothing.
 */
import type { MmStruct } from './mm/mm.ts';
import type { VmArea } from './mm/vma.ts';
import type { TaskStruct } from './task-struct.ts';

export interface KernelWatcher {
  /** The task comes into the kernel from its program: a system call, an exception. */
  entered(current: TaskStruct): void;
  /** It is about to go back. */
  left(current: TaskStruct): void;
  /** A flush of [startPage, endPage) of an address space begins; `freedTables`: of upper entries as well. */
  flushBegins(
    current: TaskStruct,
    mm: MmStruct,
    startPage: number,
    endPage: number,
    freedTables: boolean,
  ): void;
  /** It has returned: as it began, or more. */
  flushEnds(
    current: TaskStruct,
    mm: MmStruct,
    startPage: number,
    endPage: number,
    freedTables: boolean,
  ): void;
  /** `vma` is going to be used to handle a fault at a page: the program's own, or one that GUP makes. */
  faults(current: TaskStruct, vma: VmArea, page: number): void;
  /**
   * GUP gives its caller the frame of a page. `vma`: the mapping it was got by, null without a look at one (gup-fast);
   * `gupFlags`: the FOLL_ flags that the caller has given, with FOLL_GET or FOLL_PIN.
   */
  grabbed(
    current: TaskStruct,
    mm: MmStruct,
    vma: VmArea | null,
    page: number,
    frame: number,
    gupFlags: number,
  ): void;
  /**
   * Pages [startPage, endPage) are about to be thrown away because the program has asked for it: when its call returns, what
   * they map now is mapped there no more.
   */
  discards(current: TaskStruct, mm: MmStruct, startPage: number, endPage: number): void;
  /** The kernel uses something that it has freed, or that a grace period has freed: its name, and what for. */
  usedAfterFree(current: TaskStruct, object: string, operation: string): void;
  /** The kernel itself reads or writes bytes of a frame for `current`, by an address of its own. */
  copied(current: TaskStruct, frame: number, offset: number, bytes: number, write: boolean): void;
}
