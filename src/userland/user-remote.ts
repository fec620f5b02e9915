/** The part of `User` that looks into other processes: ptrace, files of /proc, process_vm_readv and process_vm_writev. */
import type { Task } from '../base/task.ts';
import type { MapsEntry, SmapsEntry } from '../kernel/mm/smaps.ts';
import type { SmapsRollup } from '../kernel/remote/proc-pid-smaps.ts';
import * as procFiles from './calls/proc-maps.ts';
import type { ProcessContext } from './calls/process-context.ts';
import * as remote from './calls/remote.ts';
import type { Outcome } from './outcome.ts';
import type { MemoryRange } from './ranges.ts';
import type { Word } from './units.ts';
import { ProbeUser } from './user-probes.ts';

/** What `processVmReadv` brought. */
export interface VectorRead {
  /** Bytes copied, maybe fewer than asked for. */
  readonly bytes: number;
  /** The copied bytes; empty when `local` named the place for them. */
  readonly data: Uint8Array;
}

export class RemoteUser extends ProbeUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    super(context);
    this.#context = context;
  }

  /**
   * Becomes the tracer of `pid` and stops it: PTRACE_SEIZE, PTRACE_INTERRUPT, and waiting for the stop.
   * @errors ESRCH, EPERM. @see ptrace(2)
   */
  ptraceAttach(pid: number): Task<Outcome<void>> {
    return this.#context.made('ptraceAttach', remote.ptraceAttach(this.#context, pid));
  }

  /** Lets a traced process go on. @errors ESRCH */
  ptraceDetach(pid: number): Task<Outcome<void>> {
    return this.#context.made('ptraceDetach', remote.ptraceDetach(this.#context, pid));
  }

  /** PTRACE_PEEKDATA: 8 bytes of a stopped tracee, by FOLL_FORCE. @errors ESRCH (not its tracer), EIO */
  peek(pid: number, address: bigint): Task<Outcome<bigint>> {
    return this.#context.made('peek', remote.peek(this.#context, pid, address));
  }

  /** As `peek`, into memory of this process at `target`, as the system call does. @errors also EFAULT */
  peekInto(pid: number, address: bigint, target: bigint): Task<Outcome<void>> {
    return this.#context.made('peekInto', remote.peekInto(this.#context, pid, address, target));
  }

  /**
   * PTRACE_POKEDATA: writes 8 bytes of a stopped tracee by FOLL_FORCE, which copies a read-only private page.
   * @errors ESRCH (not its tracer), EIO (a part may have been written)
   */
  poke(pid: number, address: bigint, value: Word): Task<Outcome<void>> {
    return this.#context.made('poke', remote.poke(this.#context, pid, address, value));
  }

  /** Opens /proc/PID/mem and gives a handle of this process. @errors EACCES, ESRCH, ENOENT. @see proc_pid_mem(5) */
  procMemOpen(pid: number): Task<Outcome<number>> {
    return this.#context.made('procMemOpen', remote.procMemOpen(this.#context, pid));
  }

  /**
   * pread64(2) of /proc/PID/mem: gives the bytes that could be read, at least one unless none were asked for.
   * @errors EIO (nothing could be read), EBADF, EINVAL (a negative offset: bit 63 of the address). @see proc_pid_mem(5)
   */
  procMemRead(handle: number, address: bigint, bytes: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('procMemRead', remote.procMemRead(this.#context, handle, address, bytes));
  }

  /**
   * pwrite64(2) of /proc/PID/mem: gives how many bytes were written.
   * @errors EIO (nothing could be written), EBADF, EINVAL (a negative offset: bit 63 of the address)
   */
  procMemWrite(handle: number, address: bigint, data: Uint8Array): Task<Outcome<number>> {
    return this.#context.made('procMemWrite', remote.procMemWrite(this.#context, handle, address, data));
  }

  /** As `procMemRead`, into memory of this process at `target`: how many bytes arrived. @errors also EFAULT */
  procMemReadInto(handle: number, address: bigint, bytes: Word, target: bigint): Task<Outcome<number>> {
    return this.#context.made(
      'procMemReadInto',
      remote.procMemReadInto(this.#context, handle, address, bytes, target),
    );
  }

  /** As `procMemWrite`, from memory of this process at `source`. @errors also EFAULT */
  procMemWriteFrom(handle: number, address: bigint, bytes: Word, source: bigint): Task<Outcome<number>> {
    return this.#context.made(
      'procMemWriteFrom',
      remote.procMemWriteFrom(this.#context, handle, address, bytes, source),
    );
  }

  /** Reads at most so many bytes of /proc/PID/cmdline: the argument strings in that process' memory. @errors ENOENT */
  procCmdline(pid: number, bytes: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('procCmdline', remote.procCmdline(this.#context, pid, bytes));
  }

  /** As `procCmdline`, into memory of this process at `target`: how many bytes arrived. @errors also EFAULT */
  procCmdlineInto(pid: number, bytes: Word, target: bigint): Task<Outcome<number>> {
    return this.#context.made('procCmdlineInto', remote.procCmdlineInto(this.#context, pid, bytes, target));
  }

  /**
   * Reads at most so many bytes of /proc/PID/environ into memory of this process at `target`: how many arrived.
   * @errors EFAULT, ENOENT, EACCES, ESRCH (no memory any more)
   */
  procEnvironInto(pid: number, bytes: Word, target: bigint): Task<Outcome<number>> {
    return this.#context.made('procEnvironInto', remote.procEnvironInto(this.#context, pid, bytes, target));
  }

  /**
   * Reads /proc/PID/maps: every mapping, each as it was while its own lock was held; the list is of no one moment.
   * @errors ENOENT, ESRCH, EACCES, EINTR. @see proc_pid_maps(5); Linux fs/proc/task_mmu.c, `proc_get_vma`
   */
  procMaps(pid: number): Task<Outcome<readonly MapsEntry[]>> {
    return this.#context.made('procMaps', procFiles.procMaps(this.#context, pid));
  }

  /**
   * Reads /proc/PID/smaps: every mapping and what is resident of it, in KiB. Holds mmap_lock for reading over five mappings
   * and their page tables at a time, as reads of 4096 bytes do.
   * @errors ENOENT, ESRCH, EACCES, EINTR. @see proc_pid_smaps(5); Linux fs/proc/task_mmu.c, `show_smap`
   */
  procSmaps(pid: number): Task<Outcome<readonly SmapsEntry[]>> {
    return this.#context.made('procSmaps', procFiles.procSmaps(this.#context, pid));
  }

  /**
   * Reads /proc/PID/smaps_rollup: the sums over all mappings, in KiB. Holds mmap_lock for reading, and lets it go after a
   * mapping if somebody waits for it.
   * @errors ENOENT, ESRCH, EACCES, EINTR. @see Linux fs/proc/task_mmu.c, `show_smaps_rollup`
   */
  procSmapsRollup(pid: number): Task<Outcome<SmapsRollup>> {
    return this.#context.made('procSmapsRollup', procFiles.procSmapsRollup(this.#context, pid));
  }

  /**
   * process_vm_readv(2) into `local` ranges of this process, or into a buffer outside its address space whose content
   * it gives back.
   * @errors EFAULT (nothing could be copied), ESRCH, EPERM, EINVAL
   */
  processVmReadv(
    pid: number,
    remoteRanges: readonly MemoryRange[],
    local?: readonly MemoryRange[],
  ): Task<Outcome<VectorRead>> {
    return this.#context.made(
      'processVmReadv',
      remote.processVmReadv(this.#context, pid, remoteRanges, local),
    );
  }

  /**
   * process_vm_writev(2) of bytes, or from `local` ranges of this process; gives how many bytes were copied.
   * @errors EFAULT (nothing could be copied), ESRCH, EPERM, EINVAL
   */
  processVmWritev(
    pid: number,
    remoteRanges: readonly MemoryRange[],
    source: Uint8Array | readonly MemoryRange[],
  ): Task<Outcome<number>> {
    return this.#context.made(
      'processVmWritev',
      remote.processVmWritev(this.#context, pid, remoteRanges, source),
    );
  }
}
