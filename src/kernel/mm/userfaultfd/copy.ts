/**
 * UFFDIO_COPY: pages with the caller's data. The data is read with page faults off first, as the locks of the target are
 * held; if that does not do, they are let go, the data is read, and the page is filled in after another look.
 * @see Linux fs/userfaultfd.c, `userfaultfd_copy`; mm/userfaultfd.c, `mfill_atomic_pte_copy`; mm/shmem.c,
 * `shmem_mfill_atomic_pte`
 */
import type { Task } from '../../../base/task.ts';
import { EFAULT, EINVAL, ENOMEM } from '../../errno.ts';
import { NO_FRAME } from '../../frame/buddy.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { allocUserFolio } from '../alloc-folio.ts';
import { copyFromUser, copyFromUserInatomic } from '../user-access.ts';
import type { VmArea } from '../vma.ts';
import { VM_SHARED } from '../vma-flags.ts';
import type { UserfaultfdContext } from './context.ts';
import { type FilledRange, fillIoctl } from './fill-ioctl.ts';
import { type FillOperation, RETRY_OUTSIDE } from './fill-operation.ts';
import { mfillInstallPte } from './install-pte.ts';
import { shmemFillPage } from './shmem-fill.ts';
import { UFFDIO_MODE_DONTWAKE, UFFDIO_MODE_WP } from './uffd-abi.ts';
import { validateUnalignedRange } from './validate-range.ts';

const PAGE_BYTES = 4096;

/**
 * @param target where the pages go, bytes, at a page boundary
 * @param source an address in the caller's memory, or the bytes themselves where that is outside everything modelled
 * @param mode UFFDIO_MODE_*
 */
export function* userfaultfdCopy(
  current: TaskStruct,
  context: UserfaultfdContext,
  target: bigint,
  source: bigint | Uint8Array,
  length: bigint,
  mode: bigint,
): Task<FilledRange> {
  const badSource = (): number => {
    if ((mode & ~(UFFDIO_MODE_DONTWAKE | UFFDIO_MODE_WP)) !== 0n) return -EINVAL;
    return typeof source === 'bigint' ? validateUnalignedRange(context.mm, source, length) : 0;
  };
  const operation = new CopyPages(current, source, (mode & UFFDIO_MODE_WP) !== 0n);
  return yield* fillIoctl(current, context, { start: target, length }, mode, badSource, operation);
}

class CopyPages implements FillOperation {
  readonly writeProtect: boolean;
  readonly fileOnly = false;
  readonly huge = 'copy';
  readonly #current: TaskStruct;
  readonly #source: bigint | Uint8Array;
  readonly #bytes = new Uint8Array(PAGE_BYTES);
  /** The data of a huge page, read while no lock was held; null: none. */
  #outside: Uint8Array | null = null;
  /** A page that waits for its data, or has it already; -1: none. */
  #frame = NO_FRAME;

  constructor(current: TaskStruct, source: bigint | Uint8Array, writeProtect: boolean) {
    this.#current = current;
    this.#source = source;
    this.writeProtect = writeProtect;
  }

  *fillPage(vma: VmArea, page: number, offset: number): Task<number> {
    const current = this.#current;
    const { frames } = current.kernel;
    let frame = this.#frame;
    if (frame === NO_FRAME) {
      frame = yield* allocUserFolio(current, (vma.flags & VM_SHARED) === 0 ? vma : null, 0, false);
      if (frame === NO_FRAME) return -ENOMEM;
      if (!this.#readWithoutFaults(frame, offset)) {
        this.#frame = frame;
        return RETRY_OUTSIDE;
      }
    }
    this.#frame = NO_FRAME;
    if ((vma.flags & VM_SHARED) !== 0) {
      return yield* shmemFillPage(current, vma, page, frame, this.writeProtect);
    }
    const error = yield* mfillInstallPte(current, vma, page, frame, this.writeProtect);
    if (error !== 0) frames.put(frame);
    return error;
  }

  fillHugePage(frame: number, offset: number, pages: number): boolean {
    const outside = this.#outside;
    for (let i = 0; i < pages; i++) {
      if (outside !== null) this.#store(frame + i, outside.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES));
      else if (!this.#readWithoutFaults(frame + i, offset + i)) return false;
    }
    this.#outside = null;
    return true;
  }

  /** The locks are not held: faults may be handled, and may wait. */
  *prepareOutside(offset: number, pages: number): Task<number> {
    if (typeof this.#source !== 'bigint') throw new Error('given bytes need no fault');
    const bytes = pages === 1 ? this.#bytes : new Uint8Array(pages * PAGE_BYTES);
    const at = this.#source + BigInt(offset * PAGE_BYTES);
    if ((yield* copyFromUser(this.#current, bytes, at)) !== 0) return -EFAULT;
    if (this.#frame !== NO_FRAME) this.#store(this.#frame, bytes);
    else this.#outside = bytes;
    return 0;
  }

  finish(): void {
    if (this.#frame !== NO_FRAME) this.#current.kernel.frames.put(this.#frame);
    this.#frame = NO_FRAME;
  }

  #readWithoutFaults(frame: number, offset: number): boolean {
    const at = offset * PAGE_BYTES;
    if (typeof this.#source === 'bigint') {
      if (copyFromUserInatomic(this.#current, this.#bytes, this.#source + BigInt(at)) !== 0) return false;
    } else this.#bytes.set(this.#source.subarray(at, at + PAGE_BYTES));
    this.#store(frame, this.#bytes);
    return true;
  }

  #store(frame: number, bytes: Uint8Array): void {
    this.#current.kernel.machine.memory.writeBytes(frame, 0, bytes);
  }
}
