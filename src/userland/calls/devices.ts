/** The calls of `User` for memory of devices. What they mean is said there. */
import { InputError } from '../../base/input-error.ts';
import { atomically, type Task } from '../../base/task.ts';
import { hex, hexAddress } from '../../base/u64.ts';
import { Kvm, type MemorySlot, type QueueWork } from '../../kernel/consumers/kvm.ts';
import { MirrorDevice } from '../../kernel/consumers/mirror-device.ts';
import { EBADF, EINVAL, ENOMEM, ESRCH } from '../../kernel/errno.ts';
import { DeviceFile } from '../../kernel/mm/device-file.ts';
import { GemFile, gemGetPages, gemPurge as purgeGem } from '../../kernel/mm/gem-file.ts';
import { fput } from '../../kernel/mm/mapped-file.ts';
import { mmdrop, mmgrab } from '../../kernel/mm/mm-count.ts';
import { mmput } from '../../kernel/mm/mm-lifetime.ts';
import { rootCredentials } from '../../kernel/process/credentials.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import { createTask } from '../../kernel/process/fork.ts';
import { findTaskByPid, getTaskMm } from '../../kernel/process/task-mm.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, type Word, word } from '../units.ts';
import type { DeviceArguments, KvmArguments, KvmPageFaults, KvmSlot } from '../user-devices.ts';
import { installFile, mappedFileOf } from './files.ts';
import { openFileOf } from './open-file.ts';
import {
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';

const PAGE_BYTES = 4096;
const MOST_BYTES = 2 ** 30;
const FILLS = ['remap', 'fault', 'mixed'] as const;

function devicePages(size: Word, what: string): number {
  const bytes = byteCount(size, what);
  if (bytes === 0 || bytes > MOST_BYTES) {
    throw new InputError(what, { expected: '1 to 1 GiB', found: `${bytes}` });
  }
  return Math.ceil(bytes / PAGE_BYTES);
}

export function openDevice(context: ProcessContext, args: DeviceArguments): Task<Outcome<number>> {
  checkKeys(args, ['bytes', 'fill', 'access', 'noncached'], 'openDevice');
  const { fill = 'remap', access = true, noncached = false } = args;
  if (!FILLS.includes(fill)) {
    throw new InputError('openDevice: fill', { expected: FILLS.join(', '), found: String(fill) });
  }
  const pages = devicePages(args.bytes, 'openDevice: bytes');
  const { kernel } = context.task;
  const call = atomically(() =>
    installFile(context, new DeviceFile(kernel, { pages, fill, access, noncached })),
  );
  return systemCall(context, 'open', [`device of ${pages} pages`, fill], call, countOrErrno);
}

/** The device and the place in it, or -errno. */
function placeOf(context: ProcessContext, fd: number, offset: number, length: number): DeviceFile | number {
  const file = mappedFileOf(context, fd);
  if (!(file instanceof DeviceFile)) return -EBADF;
  return offset + length <= file.pages * PAGE_BYTES ? file : -EINVAL;
}

/** Moves bytes between the device's memory and `data`, which is one step: the device is nobody the kernel knows of. */
function move(context: ProcessContext, fd: number, offset: number, data: Uint8Array, write: boolean): number {
  const device = placeOf(context, fd, offset, data.length);
  if (typeof device === 'number') return device;
  const { memory } = context.task.kernel.machine;
  for (let done = 0; done < data.length; ) {
    const inPage = (offset + done) % PAGE_BYTES;
    const frame = device.firstFrame + Math.floor((offset + done) / PAGE_BYTES);
    const part = data.subarray(done, done + PAGE_BYTES - inPage);
    if (write) memory.writeBytes(frame, inPage, part);
    else memory.readBytes(frame, inPage, part);
    done += part.length;
  }
  return 0;
}

export function deviceRead(
  context: ProcessContext,
  fd: number,
  bytes: Word,
  offset: Word,
): Task<Outcome<Uint8Array>> {
  const data = new Uint8Array(byteCount(bytes, 'deviceRead: bytes'));
  const at = byteCount(offset, 'deviceRead: offset');
  const call = atomically(() => move(context, fd, at, data, false));
  const shown = [`${fd}`, `${data.length}`, hex(BigInt(at))];
  return systemCall(context, 'the device reads', shown, call, (result) =>
    result < 0 ? errnoFailure(result) : success(data),
  );
}

export function deviceWrite(
  context: ProcessContext,
  fd: number,
  data: Uint8Array,
  offset: Word,
): Task<Outcome<void>> {
  const at = byteCount(offset, 'deviceWrite: offset');
  const call = atomically(() => move(context, fd, at, data, true));
  const shown = [`${fd}`, `${data.length}`, hex(BigInt(at))];
  return systemCall(context, 'the device writes', shown, call, doneOrErrno);
}

// --- memory of a graphics driver ---

export function gemCreate(context: ProcessContext, bytes: Word): Task<Outcome<number>> {
  const pages = devicePages(bytes, 'gemCreate');
  return systemCall(context, 'GEM create', [`${pages} pages`], createGem(context, pages), countOrErrno);
}

function* createGem(context: ProcessContext, pages: number): Task<number> {
  const { task } = context;
  const file = new GemFile(task.kernel, pages);
  if (yield* gemGetPages(task, file)) return installFile(context, file);
  yield* fput(task.kernel.frames, file);
  return -ENOMEM;
}

export function gemPurge(context: ProcessContext, fd: number): Task<Outcome<void>> {
  const file = mappedFileOf(context, fd);
  const call = file instanceof GemFile ? purgeGem(context.task, file) : atomically(() => -EBADF);
  return systemCall(context, 'GEM purge', [`${fd}`], call, doneOrErrno);
}

// --- a device that has pages for itself ---

function mirrorOf(context: ProcessContext, fd: number): MirrorDevice | null {
  const value = openFileOf(context, fd)?.value;
  return value instanceof MirrorDevice ? value : null;
}

function* openMirror({ task }: ProcessContext, pid: number | undefined): Task<number> {
  const target = pid === undefined ? task : findTaskByPid(task, pid);
  const mm = target === null ? null : yield* getTaskMm(task, target);
  if (mm === null) return -ESRCH;
  const device = yield* MirrorDevice.open(task, mm);
  yield* mmput(task, mm);
  return task.files.install(new OpenFile(device.name, device, () => device.close()));
}

export function openMirrorDevice(context: ProcessContext, pid?: number): Task<Outcome<number>> {
  const shown = [`mirror of ${pid ?? context.task.pid}`];
  return systemCall(context, 'open', shown, openMirror(context, pid), countOrErrno);
}

export function makeExclusive(
  context: ProcessContext,
  fd: number,
  address: bigint,
  bytes: Word,
): Task<Outcome<void>> {
  const at = word(address, 'makeDeviceExclusive: address');
  const length = word(bytes, 'makeDeviceExclusive: bytes');
  const device = mirrorOf(context, fd);
  const call = device === null ? atomically(() => -EBADF) : device.exclusive(context.task, at, length);
  const shown = [`${fd}`, 'HMM_DMIRROR_EXCLUSIVE', hexAddress(at), hex(length)];
  return systemCall(context, 'ioctl', shown, call, doneOrErrno);
}

export function deviceFetchAdd(
  context: ProcessContext,
  fd: number,
  address: bigint,
  value: Word,
): Task<Outcome<bigint>> {
  const at = word(address, 'deviceFetchAdd: address');
  const added = word(value, 'deviceFetchAdd: value');
  const device = mirrorOf(context, fd);
  const call: Task<bigint | number> =
    device === null ? atomically(() => -EBADF) : device.fetchAdd(context.task, at, added);
  const shown = [`${fd}`, hexAddress(at), hex(added)];
  return systemCall(context, 'the device adds', shown, call, (result) =>
    typeof result === 'number' ? errnoFailure(result) : success(result),
  );
}

export function deviceExclusivePages(context: ProcessContext, fd: number): Task<Outcome<readonly bigint[]>> {
  const call = atomically(() => mirrorOf(context, fd)?.addresses ?? null);
  return systemCall(context, 'the device lists', [`${fd}`], call, (addresses) =>
    addresses === null ? errnoFailure(-EBADF) : success(addresses),
  );
}

// --- virtual machines ---

function wholePages(value: Word, what: string): number {
  const bytes = word(value, what);
  if (bytes % BigInt(PAGE_BYTES) !== 0n) {
    throw new InputError(what, { expected: 'a multiple of 4096', found: hex(bytes) });
  }
  return Number(bytes / BigInt(PAGE_BYTES));
}

function memorySlot(slot: KvmSlot): MemorySlot {
  checkKeys(slot, ['guest', 'address', 'bytes', 'readOnly'], 'kvmCreateVm: slot');
  return {
    guestPage: wholePages(slot.guest, 'kvmCreateVm: guest'),
    hostPage: wholePages(slot.address, 'kvmCreateVm: address'),
    pages: wholePages(slot.bytes, 'kvmCreateVm: bytes'),
    readOnly: slot.readOnly === true,
  };
}

/** Each work item has a thread of the kernel for itself, which does not keep a run from ending. */
const workerOf =
  ({ task, run }: ProcessContext): QueueWork =>
  (work) => {
    const { kernel, loop } = run.system;
    const name = `kworker ${kernel.nextSerial('kworker')}`;
    const worker = createTask(
      kernel,
      null,
      rootCredentials(),
      name,
      (task.cpu + 1) % kernel.machine.cpus.length,
    );
    worker.background = true;
    loop.start(worker, runWork(worker, work(worker)));
  };

function* runWork(worker: TaskStruct, work: Task<void>): Task<void> {
  yield* work;
  worker.kernel.tasks.delete(worker.pid);
}

function kvmOf(context: ProcessContext, fd: number): Kvm | null {
  const value = openFileOf(context, fd)?.value;
  return value instanceof Kvm ? value : null;
}

function* createVm(context: ProcessContext, slots: readonly MemorySlot[], async: boolean): Task<number> {
  const { task } = context;
  const { mm } = task;
  if (mm === null) throw new Error(`${task.name} has no address space`);
  yield* mmgrab(mm);
  const kvm = new Kvm(mm, slots, async ? workerOf(context) : null);
  return task.files.install(new OpenFile('kvm-vm', kvm, () => mmdrop(mm)));
}

export function kvmCreateVm(context: ProcessContext, args: KvmArguments): Task<Outcome<number>> {
  checkKeys(args, ['slots', 'asyncPageFaults'], 'kvmCreateVm');
  const slots = args.slots.map(memorySlot);
  const call = createVm(context, slots, args.asyncPageFaults !== false);
  return systemCall(context, 'ioctl', ['KVM_CREATE_VM', `${slots.length} slots`], call, countOrErrno);
}

function* guestAccess(
  context: ProcessContext,
  fd: number,
  guest: bigint,
  data: Uint8Array,
  write: boolean,
): Task<number> {
  const kvm = kvmOf(context, fd);
  if (kvm === null) return -EBADF;
  for (let done = 0; done < data.length; ) {
    const at = guest + BigInt(done);
    const offset = Number(at % BigInt(PAGE_BYTES));
    const part = data.subarray(done, done + PAGE_BYTES - offset);
    const error = yield* kvm.access(context.task, Number(at >> 12n), offset, part, write);
    if (error !== 0) return error;
    done += part.length;
  }
  return 0;
}

export function kvmRead(
  context: ProcessContext,
  fd: number,
  guest: bigint,
  bytes: Word,
): Task<Outcome<Uint8Array>> {
  const at = word(guest, 'kvmRead: guest');
  const data = new Uint8Array(byteCount(bytes, 'kvmRead: bytes'));
  const call = guestAccess(context, fd, at, data, false);
  return systemCall(
    context,
    'KVM_RUN',
    [`${fd}`, 'read', hexAddress(at), `${data.length}`],
    call,
    (result) => (result < 0 ? errnoFailure(result) : success(data)),
  );
}

export function kvmWrite(
  context: ProcessContext,
  fd: number,
  guest: bigint,
  data: Uint8Array,
): Task<Outcome<void>> {
  const at = word(guest, 'kvmWrite: guest');
  const shown = [`${fd}`, 'write', hexAddress(at), `${data.length}`];
  return systemCall(context, 'KVM_RUN', shown, guestAccess(context, fd, at, data, true), doneOrErrno);
}

export function kvmPageFaults(context: ProcessContext, fd: number): Task<Outcome<KvmPageFaults>> {
  const call = atomically(() => kvmOf(context, fd)?.counters ?? null);
  return systemCall(context, 'read', [`${fd}`, 'kvm statistics'], call, (counters) =>
    counters === null ? errnoFailure(-EBADF) : success({ ...counters }),
  );
}
