/**
 * What an audit of the memory manager has seen so far, shared by its parts: whom it asks, what it has counted, and what is
 * wrong.
 */
import type { AddressSpace } from '../../kernel/frame/address-space.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { TablePage } from '../../kernel/mm/page-table.ts';

/** What the kernel cannot tell by itself: who holds something from outside. */
export interface AuditOptions {
  /** Files of descriptors; those that are mapped, have a name or have a page in memory are found without. */
  readonly files?: Iterable<AddressSpace>;
  /** Address spaces that no task has any more and that a descriptor keeps (`mmgrab`). */
  readonly mms?: Iterable<MmStruct>;
  /** References to a folio, by its first frame, that somebody outside holds: pins of drivers. */
  readonly references?: ReadonlyMap<number, number>;
  /**
   * `locked_vm` may be more than what is locked: MREMAP_DONTUNMAP of locked memory leaves it counted, as recorded on 6.18.
   */
  readonly lockedVmMayExceed?: boolean;
  /**
   * More may be promised than the mappings that are left account for: growth of a stack is promised whatever the stack is,
   * and given back only if it is accounted memory (Linux mm/vma.c, `acct_stack_growth`).
   */
  readonly committedMayExceed?: boolean;
  /**
   * A VMA may have guards that its flags do not tell of: MADV_GUARD_INSTALL sets VM_MAYBE_GUARD under the VMA's read lock,
   * and a split or mprotect that has read the flags before it waits for readers writes them back without it, as in 6.18.
   */
  readonly guardFlagMayBeLost?: boolean;
  /**
   * `hugetlb_usage` may be of pages that another address space has unmapped: where a table was shared, Linux counts a page for
   * whoever faulted it in, and takes it off for whoever has the table last.
   */
  readonly hugetlbUsageMayDiffer?: boolean;
}

export class Audit {
  readonly kernel: Kernel;
  readonly options: AuditOptions;
  readonly findings: string[] = [];
  readonly mms: ReadonlySet<MmStruct>;
  readonly files: ReadonlySet<AddressSpace>;
  /** Ptes that map each frame. */
  readonly ptes = new Map<number, number>();
  /** Entries above the last level that map a folio whole, by its first frame. */
  readonly wholes = new Map<number, number>();
  /** Swap entries and objects that refer to each slot, and how many of the entries say they are the only one. */
  readonly slots = new Map<number, number>();
  readonly exclusiveSlots = new Map<number, number>();
  /** Tables that some address space leads to, and from how many upper entries. */
  readonly tables = new Map<TablePage, number>();
  /** Entries of broken memory, by frame: they need no reference. */
  readonly poisoned = new Set<number>();

  constructor(kernel: Kernel, options: AuditOptions = {}) {
    this.kernel = kernel;
    this.options = options;
    this.mms = findMms(kernel, options);
    this.files = findFiles(kernel, this.mms, options);
  }

  report(finding: string): void {
    this.findings.push(finding);
  }

  /** Reports unless the two are equal: `what is 3, counted are 2`. Where there are many, `what` is made when it is needed. */
  expectEqual(what: string | (() => string), is: number, counted: number): void {
    if (is === counted) return;
    this.findings.push(`${typeof what === 'string' ? what : what()} is ${is}, counted are ${counted}`);
  }
}

/** Adds to the count of `key`. */
export function count<K>(counts: Map<K, number>, key: K, by = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

/** In reports. */
export const frameName = (frame: number): string => `frame 0x${frame.toString(16)}`;
export const pageName = (mm: MmStruct, page: number): string => `${mm.name}, page 0x${page.toString(16)}`;

function findMms(kernel: Kernel, { mms = [] }: AuditOptions): Set<MmStruct> {
  const found = new Set<MmStruct>(mms);
  for (const { mm } of kernel.tasks.values()) if (mm !== null) found.add(mm);
  // A CPU may have an address space loaded whose last task is gone: its root table is still there.
  for (const { mm } of kernel.activeMm) if (mm !== null && mm.pgd >= 0) found.add(mm);
  return found;
}

function findFiles(
  kernel: Kernel,
  mms: ReadonlySet<MmStruct>,
  { files = [] }: AuditOptions,
): Set<AddressSpace> {
  const found = new Set<AddressSpace>(files);
  for (const file of kernel.namedFiles.values()) found.add(file);
  for (const mm of mms) for (const { file } of mm.vmas) if (file !== null) found.add(file.mapping);
  for (const folio of kernel.frames.foliosInUse()) {
    const mapping = kernel.frames.mapping(folio);
    if (mapping?.kind !== 'address_space') continue;
    const file = mapping as AddressSpace;
    // Nobody can reach the pages of a file without a name that nobody has open.
    if (file.openFiles > 0 || file.links > 0) found.add(file);
  }
  return found;
}
