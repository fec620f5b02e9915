/** The calls of `User` by which the kernel itself, or a program in it, looks into processes. What they mean is said there. */
import { atomically, type Task } from '../../base/task.ts';
import { hex, hexAddress } from '../../base/u64.ts';
import { bpfForEachTaskVma } from '../../kernel/consumers/bpf-task-vma-iter.ts';
import { type CoreDump, coreDump as dumpCore } from '../../kernel/consumers/core-dump.ts';
import {
  tomoyoDumpPage as dumpArgumentPage,
  TomoyoPageDump,
} from '../../kernel/consumers/tomoyo-dump-page.ts';
import { EACCES, EFAULT, ENOMEM, ESRCH } from '../../kernel/errno.ts';
import * as foll from '../../kernel/gup/foll-flags.ts';
import { MMF_DUMP_FILTER_MASK, type MmStruct } from '../../kernel/mm/mm.ts';
import { sysExecve } from '../../kernel/process/exec.ts';
import { findTaskByPid } from '../../kernel/process/task-mm.ts';
import { accessProcessVm as accessVm } from '../../kernel/remote/access-remote-vm.ts';
import {
  bpfCopyFromUserTask as bpfCopy,
  bpfCopyFromUserTaskStr as bpfCopyStr,
} from '../../kernel/remote/bpf-copy-from-user-task.ts';
import { copyRemoteVmStr as copyStr } from '../../kernel/remote/copy-remote-vm-str.ts';
import { getCmdline as cmdlineOf } from '../../kernel/remote/get-cmdline.ts';
import { isSettingTrapFlag as setsTrapFlag } from '../../kernel/remote/single-step.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, type Word, word } from '../units.ts';
import type {
  CoreImage,
  CoreMapping,
  FollName,
  KernelString,
  TaskVmaRead,
  TomoyoArguments,
  TomoyoPage,
} from '../user-probes.ts';
import { listBits } from './flag-words.ts';
import {
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';

const PAGE_SIZE = 4096n;

/** What callers of GUP may ask for, besides writing, which the call itself says. */
const FOLL_FLAGS: Readonly<Record<FollName, number>> = {
  FORCE: foll.FOLL_FORCE,
  ANON: foll.FOLL_ANON,
  NOFAULT: foll.FOLL_NOFAULT,
  DUMP: foll.FOLL_DUMP,
  HWPOISON: foll.FOLL_HWPOISON,
  SPLIT_PMD: foll.FOLL_SPLIT_PMD,
  HONOR_NUMA_FAULT: foll.FOLL_HONOR_NUMA_FAULT,
};

const follBits = (names: readonly FollName[], what: string): number =>
  listBits(names, FOLL_FLAGS, 'FOLL_', what);

/** A call about another task; -ESRCH without it. */
function* onTask(
  { task }: ProcessContext,
  pid: number,
  call: (target: TaskStruct) => Task<number>,
): Task<number> {
  const target = findTaskByPid(task, pid);
  return target === null ? -ESRCH : yield* call(target);
}

/** Memory of the kernel that a call fills: given, or new. */
function destinationOf(destination: Word | Uint8Array, what: string): Uint8Array {
  return destination instanceof Uint8Array ? destination : new Uint8Array(byteCount(destination, what));
}

export function accessProcessVm(
  context: ProcessContext,
  pid: number,
  address: bigint,
  bytes: Word,
  flags: readonly FollName[],
): Task<Outcome<Uint8Array>> {
  const buffer = new Uint8Array(byteCount(bytes, 'accessProcessVm: bytes'));
  const at = word(address, 'accessProcessVm: address');
  const gupFlags = follBits(flags, 'accessProcessVm: flags');
  const call = onTask(context, pid, (target) =>
    accessVm(context.task, target, at, buffer, buffer.length, gupFlags),
  );
  const shown = [`${pid}`, hexAddress(at), `${buffer.length}`, flags.join('|') || '0'];
  return systemCall(context, 'access_process_vm', shown, call, (moved) =>
    moved < 0 ? errnoFailure(moved) : success(buffer.slice(0, moved)),
  );
}

export function accessProcessVmWrite(
  context: ProcessContext,
  pid: number,
  address: bigint,
  data: Uint8Array,
  flags: readonly FollName[],
): Task<Outcome<number>> {
  const at = word(address, 'accessProcessVmWrite: address');
  const gupFlags = follBits(flags, 'accessProcessVmWrite: flags') | foll.FOLL_WRITE;
  const call = onTask(context, pid, (target) =>
    accessVm(context.task, target, at, data, data.length, gupFlags),
  );
  const shown = [`${pid}`, hexAddress(at), `${data.length}`, ['WRITE', ...flags].join('|')];
  return systemCall(context, 'access_process_vm', shown, call, countOrErrno);
}

export function copyRemoteVmStr(
  context: ProcessContext,
  pid: number,
  address: bigint,
  destination: Word | Uint8Array,
  flags: readonly FollName[],
): Task<Outcome<KernelString>> {
  const buffer = destinationOf(destination, 'copyRemoteVmStr: bytes');
  const at = word(address, 'copyRemoteVmStr: address');
  const gupFlags = follBits(flags, 'copyRemoteVmStr: flags');
  const call = onTask(context, pid, (target) =>
    copyStr(context.task, target, at, buffer, buffer.length, gupFlags),
  );
  const shown = [`${pid}`, hexAddress(at), `${buffer.length}`, flags.join('|') || '0'];
  return systemCall(context, 'copy_remote_vm_str', shown, call, stringOrErrno(buffer));
}

const stringOrErrno =
  (data: Uint8Array) =>
  (result: number): Outcome<KernelString> =>
    result < 0 ? errnoFailure(result) : success({ bytes: result, data });

export function bpfCopyFromUserTask(
  context: ProcessContext,
  pid: number,
  address: bigint,
  destination: Word | Uint8Array,
  flags: Word,
): Task<Outcome<Uint8Array>> {
  const buffer = destinationOf(destination, 'bpfCopyFromUserTask: bytes');
  const at = word(address, 'bpfCopyFromUserTask: address');
  const bits = word(flags, 'bpfCopyFromUserTask: flags');
  const call = onTask(context, pid, (target) => bpfCopy(context.task, buffer, at, target, bits));
  const shown = [`${pid}`, hexAddress(at), `${buffer.length}`, hex(bits)];
  return systemCall(context, 'bpf_copy_from_user_task', shown, call, (result) =>
    result < 0 ? errnoFailure(result) : success(buffer),
  );
}

export function bpfCopyFromUserTaskStr(
  context: ProcessContext,
  pid: number,
  address: bigint,
  destination: Word | Uint8Array,
  flags: Word,
): Task<Outcome<KernelString>> {
  const buffer = destinationOf(destination, 'bpfCopyFromUserTaskStr: bytes');
  const at = word(address, 'bpfCopyFromUserTaskStr: address');
  const bits = word(flags, 'bpfCopyFromUserTaskStr: flags');
  const call = onTask(context, pid, (target) => bpfCopyStr(context.task, buffer, at, target, bits));
  const shown = [`${pid}`, hexAddress(at), `${buffer.length}`, hex(bits)];
  return systemCall(context, 'bpf_copy_from_user_task_str', shown, call, stringOrErrno(buffer));
}

export function bpfIterTaskVma(
  context: ProcessContext,
  pid: number,
  bytes: Word,
): Task<Outcome<readonly TaskVmaRead[]>> {
  const { task } = context;
  const length = byteCount(bytes, 'bpfIterTaskVma: bytes');
  const found: TaskVmaRead[] = [];
  const call = onTask(context, pid, (target) =>
    bpfForEachTaskVma(task, target, function* ({ start, end }) {
      const data = new Uint8Array(length);
      const address = BigInt(start) * PAGE_SIZE;
      const error = yield* bpfCopy(task, data, address, target, 0n);
      found.push({ start: address, end: BigInt(end) * PAGE_SIZE, data: error === 0 ? data : null });
    }),
  );
  return systemCall(context, 'bpf_iter_task_vma', [`${pid}`, `${length}`], call, (result) =>
    result < 0 ? errnoFailure(result) : success(found),
  );
}

export function getCmdline(context: ProcessContext, pid: number, bytes: Word): Task<Outcome<Uint8Array>> {
  const buffer = new Uint8Array(byteCount(bytes, 'getCmdline: bytes'));
  const call = onTask(context, pid, (target) => cmdlineOf(context.task, target, buffer));
  return systemCall(context, 'get_cmdline', [`${pid}`, `${buffer.length}`], call, (read) =>
    read < 0 ? errnoFailure(read) : success(buffer.slice(0, read)),
  );
}

export function isSettingTrapFlag(
  context: ProcessContext,
  pid: number,
  address: bigint,
): Task<Outcome<boolean>> {
  const at = word(address, 'isSettingTrapFlag: address');
  const call = onTask(context, pid, function* (target) {
    return (yield* setsTrapFlag(context.task, target, at)) ? 1 : 0;
  });
  return systemCall(context, 'is_setting_trap_flag', [`${pid}`, hexAddress(at)], call, (result) =>
    result < 0 ? errnoFailure(result) : success(result === 1),
  );
}

export function setCoredumpFilter(context: ProcessContext, bits: number): Task<Outcome<void>> {
  const filter = byteCount(bits, 'setCoredumpFilter: bits');
  const call = atomically(() => {
    const { mm } = context.task;
    if (mm === null) return -ESRCH;
    // Bits that mean nothing are dropped without a word.
    mm.coredumpFilter = filter & MMF_DUMP_FILTER_MASK;
    return 0;
  });
  return systemCall(context, 'write', ['/proc/self/coredump_filter', hex(filter)], call, doneOrErrno);
}

function coreImage(dump: CoreDump): CoreImage {
  const { pages, pageTags, complete } = dump;
  const address = (page: number): bigint => BigInt(page) * PAGE_SIZE;
  const mappings = dump.segments.map(
    ({ start, end, dumpPages }): CoreMapping => ({
      start: address(start),
      end: address(end),
      dumpBytes: dumpPages * Number(PAGE_SIZE),
    }),
  );
  return {
    mappings,
    pages: pages.map(({ page, bytes }) => ({ address: address(page), data: bytes })),
    pageTags: pageTags.map(({ page, tags }) => ({ address: address(page), tags })),
    complete,
  };
}

export function coreDump(context: ProcessContext): Task<Outcome<CoreImage | null>> {
  return systemCall(context, 'coredump', [], dumpCore(context.task), (dump) =>
    success(dump === null ? null : coreImage(dump)),
  );
}

const TOMOYO_ARGUMENTS = ['path', 'argv', 'envp', 'offset'] as const;

export function tomoyoDumpPage(context: ProcessContext, args: TomoyoArguments): Task<Outcome<TomoyoPage>> {
  checkKeys(args, TOMOYO_ARGUMENTS, 'tomoyoDumpPage');
  const { path = '/bin/program', argv = [path], envp = [], offset = 0 } = args;
  const { task } = context;
  const beyond = word(offset, 'tomoyoDumpPage: offset');
  const dump = new TomoyoPageDump();
  let position = 0n;
  const check = function* (mm: MmStruct, lowest: bigint): Task<number> {
    position = BigInt.asUintN(64, lowest + beyond);
    return (yield* dumpArgumentPage(task, mm, position, dump)) ? -EACCES : -ENOMEM;
  };
  const call = sysExecve(task, { filename: path, argv, envp, check });
  const shown = [path, `${argv.length} arguments`, hex(beyond)];
  // The module has seen what it wanted and refuses the program.
  return systemCall(context, 'tomoyo_dump_page', shown, call, (result) =>
    result === -EACCES ? success({ position, data: dump.data }) : errnoFailure(result || -EFAULT),
  );
}
