/** The part of `User` about the kernel's own looks into processes: BPF programs, uprobes, core dumps. */
import type { Task } from '../base/task.ts';
import * as probes from './calls/probes.ts';
import type { ProcessContext } from './calls/process-context.ts';
import * as uprobes from './calls/uprobes.ts';
import type { Outcome } from './outcome.ts';
import type { Word } from './units.ts';
import { DeviceUser } from './user-devices.ts';

/** A FOLL_ flag that a caller of GUP may pass; `FOLL_` may stand in front. */
export type FollName = 'FORCE' | 'ANON' | 'NOFAULT' | 'DUMP' | 'HWPOISON' | 'SPLIT_PMD' | 'HONOR_NUMA_FAULT';

/** A string that the kernel has copied. */
export interface KernelString {
  /** As the call counts them: `copyRemoteVmStr` without the NUL, `bpfCopyFromUserTaskStr` with it. */
  readonly bytes: number;
  /** All of the destination. */
  readonly data: Uint8Array;
}

/** One mapping in a core dump. */
export interface CoreMapping {
  readonly start: bigint;
  readonly end: bigint;
  /** Bytes from `start` on whose contents are in the dump (`p_filesz`); what is more is in its table only. */
  readonly dumpBytes: number;
}

/** The memory of a core dump. */
export interface CoreImage {
  /** Every mapping, in order of addresses. */
  readonly mappings: readonly CoreMapping[];
  /** The pages that are no holes of the file, 4096 bytes each, in order of addresses. */
  readonly pages: readonly { readonly address: bigint; readonly data: Uint8Array }[];
  /** arm64, mappings with PROT_MTE: of pages that have tags, one for each 16 bytes. */
  readonly pageTags: readonly { readonly address: bigint; readonly tags: Uint8Array }[];
  /** False: a fatal signal ended it. */
  readonly complete: boolean;
}

/** An execve that goes as far as the security module's check. */
export interface TomoyoArguments {
  /** Default `/bin/program`. */
  readonly path?: string;
  /** Texts, or addresses of texts. Default: the path. */
  readonly argv?: readonly (string | bigint)[];
  readonly envp?: readonly (string | bigint)[];
  /** Bytes from the lowest string (the first argument) to the address that is looked at. Default 0. */
  readonly offset?: Word;
}

/** Where a breakpoint goes. */
export interface UprobeArguments {
  /** A descriptor of the file. */
  readonly fd: number;
  /** Bytes into the file; a multiple of the breakpoint's length (x86-64: 1, arm64: 4). */
  readonly offset: Word;
  /** Bytes into the file of a 16-bit counter, in private writable mappings of it; default: none. */
  readonly refCtrOffset?: Word;
  /** In this process' memory only, and its threads'; default: in everybody's. */
  readonly pid?: number;
}

export interface TomoyoPage {
  /** The address in the new address space. */
  readonly position: bigint;
  /** The page, zeros in front of the address. */
  readonly data: Uint8Array;
}

/** One mapping that a BPF program has come by (`bpfIterTaskVma`). */
export interface TaskVmaRead {
  /** Bytes; `end` is the one after the last. */
  readonly start: bigint;
  readonly end: bigint;
  /** What it read there; null: it could not. */
  readonly data: Uint8Array | null;
}

export class ProbeUser extends DeviceUser {
  readonly #context: ProcessContext;

  constructor(context: ProcessContext) {
    super(context);
    this.#context = context;
  }

  /**
   * What a part of the kernel reads of `pid`, with the FOLL_ flags it passes, `['FORCE']` say: the bytes that could be read,
   * maybe fewer, maybe none. No permission is asked for.
   * @errors ESRCH (no such process). @see Linux mm/memory.c, `access_process_vm`
   */
  accessProcessVm(
    pid: number,
    address: bigint,
    bytes: Word,
    flags: readonly FollName[] = [],
  ): Task<Outcome<Uint8Array>> {
    const call = probes.accessProcessVm(this.#context, pid, address, bytes, flags);
    return this.#context.made('accessProcessVm', call);
  }

  /** As `accessProcessVm`, with FOLL_WRITE: how many bytes were written. @errors ESRCH */
  accessProcessVmWrite(
    pid: number,
    address: bigint,
    data: Uint8Array,
    flags: readonly FollName[] = [],
  ): Task<Outcome<number>> {
    const call = probes.accessProcessVmWrite(this.#context, pid, address, data, flags);
    return this.#context.made('accessProcessVmWrite', call);
  }

  /**
   * copy_remote_vm_str: a string of `pid` up to its NUL, at most `destination` bytes with it. The string in `data` always
   * ends with a NUL, also where the call fails: there behind what whole pages gave.
   * @param destination how many bytes, or the kernel's own memory to fill
   * @errors EFAULT (a page that cannot be read, no memory, killed), ESRCH. @see Linux mm/memory.c, `copy_remote_vm_str`
   */
  copyRemoteVmStr(
    pid: number,
    address: bigint,
    destination: Word | Uint8Array,
    flags: readonly FollName[] = [],
  ): Task<Outcome<KernelString>> {
    const call = probes.copyRemoteVmStr(this.#context, pid, address, destination, flags);
    return this.#context.made('copyRemoteVmStr', call);
  }

  /**
   * bpf_copy_from_user_task by a program on this CPU: all bytes or none. On failure a destination that was given is zeros.
   * @param destination how many bytes, or the program's own memory to fill
   * @param flags must be 0
   * @errors EFAULT, EINVAL (flags), ESRCH (a program gets no such task). @see Linux kernel/bpf/helpers.c
   */
  bpfCopyFromUserTask(
    pid: number,
    address: bigint,
    destination: Word | Uint8Array,
    flags: Word = 0,
  ): Task<Outcome<Uint8Array>> {
    const call = probes.bpfCopyFromUserTask(this.#context, pid, address, destination, flags);
    return this.#context.made('bpfCopyFromUserTask', call);
  }

  /**
   * bpf_copy_from_user_task_str: a string up to its NUL, at most `destination` bytes with it; `bytes` counts the NUL. With
   * BPF_F_PAD_ZEROS what lies behind the string is zeros, and on failure everything.
   * @param flags 0, or 1: BPF_F_PAD_ZEROS
   * @errors EFAULT, EINVAL (other flags), ESRCH. @see Linux kernel/bpf/helpers.c
   */
  bpfCopyFromUserTaskStr(
    pid: number,
    address: bigint,
    destination: Word | Uint8Array,
    flags: Word = 0,
  ): Task<Outcome<KernelString>> {
    const call = probes.bpfCopyFromUserTaskStr(this.#context, pid, address, destination, flags);
    return this.#context.made('bpfCopyFromUserTaskStr', call);
  }

  /**
   * A BPF program on this CPU that goes over the mappings of `pid` (bpf_for_each(task_vma, …)) and reads so many bytes at the
   * beginning of each by bpf_copy_from_user_task. A mapping that is being changed is passed over.
   * @errors ENOENT (no memory), ESRCH. @see Linux kernel/bpf/task_iter.c, `bpf_iter_task_vma_next`
   */
  bpfIterTaskVma(pid: number, bytes: Word): Task<Outcome<readonly TaskVmaRead[]>> {
    return this.#context.made('bpfIterTaskVma', probes.bpfIterTaskVma(this.#context, pid, bytes));
  }

  /**
   * get_cmdline, as for an audit record: the argument strings by FOLL_FORCE, from whatever they lie in; at most so many
   * bytes, and none where they cannot be read.
   * @errors ESRCH. @see Linux mm/util.c, `get_cmdline`
   */
  getCmdline(pid: number, bytes: Word): Task<Outcome<Uint8Array>> {
    return this.#context.made('getCmdline', probes.getCmdline(this.#context, pid, bytes));
  }

  /**
   * What x86 asks before a debugger's single step of `pid` at `address`: does the instruction there set the trace flag
   * itself (POPF, IRET)? Read by FOLL_FORCE; false where nothing can be read, and always on arm64.
   * @errors ESRCH. @see Linux arch/x86/kernel/step.c, `is_setting_trap_flag`
   */
  isSettingTrapFlag(pid: number, address: bigint): Task<Outcome<boolean>> {
    return this.#context.made('isSettingTrapFlag', probes.isSettingTrapFlag(this.#context, pid, address));
  }

  /**
   * Puts a breakpoint at a place of a file into every private executable mapping of it that is not writable, those that come
   * later too, and counts who runs into it (`fetch`). Gives a descriptor, as perf_event_open does; closing it removes the
   * breakpoint, and so does the end of the process.
   * @errors EBADF, EINVAL (beyond the file, not aligned, another counter at that place), EIO (no such pages), ENOTSUPP (the
   * file has a breakpoint there), ESRCH, and those of a write to the page: EFAULT, ENOMEM
   * @see Linux kernel/events/uprobes.c, `uprobe_register`
   */
  uprobeRegister(args: UprobeArguments): Task<Outcome<number>> {
    return this.#context.made('uprobeRegister', uprobes.uprobeRegister(this.#context, args));
  }

  /** Takes the breakpoint away where nobody else wants it: closes the descriptor. @errors EBADF, EINVAL (no uprobe) */
  uprobeUnregister(descriptor: number): Task<Outcome<void>> {
    return this.#context.made('uprobeUnregister', uprobes.uprobeUnregister(this.#context, descriptor));
  }

  /** How often somebody has run into the breakpoint. @errors EBADF, EINVAL (no uprobe) */
  uprobeHits(descriptor: number): Task<Outcome<number>> {
    return this.#context.made('uprobeHits', uprobes.uprobeHits(this.#context, descriptor));
  }

  /**
   * Writes /proc/self/coredump_filter: which mappings a core dump has, a bit each (default 0x33). Children and execve
   * inherit it.
   * @see core(5)
   */
  setCoredumpFilter(bits: number): Task<Outcome<void>> {
    return this.#context.made('setCoredumpFilter', probes.setCoredumpFilter(this.#context, bits));
  }

  /**
   * The memory of this process as the kernel writes it into a core file when it dies; the process goes on all the same. Null:
   * nothing is written (not dumpable).
   * @see Linux fs/coredump.c, `vma_dump_size`, `dump_user_range`; core(5)
   */
  coreDump(): Task<Outcome<CoreImage | null>> {
    return this.#context.made('coreDump', probes.coreDump(this.#context));
  }

  /**
   * Begins an execve; when its strings are in the new address space, the security module TOMOYO copies the page at one
   * of them and then refuses the program, so that this one goes on.
   * @errors ENOMEM (the page cannot be had), and those of `execve`. @see Linux security/tomoyo/domain.c, `tomoyo_dump_page`
   */
  tomoyoDumpPage(args: TomoyoArguments): Task<Outcome<TomoyoPage>> {
    return this.#context.made('tomoyoDumpPage', probes.tomoyoDumpPage(this.#context, args));
  }
}
