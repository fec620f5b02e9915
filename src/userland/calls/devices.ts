/** The calls of `User` for memory of devices. What they mean is said there. */
import { InputError } from '../../base/input-error.ts';
import { atomically, type Task } from '../../base/task.ts';
import { hex } from '../../base/u64.ts';
import { EBADF, EINVAL } from '../../kernel/errno.ts';
import { DeviceFile } from '../../kernel/mm/device-file.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, type Word } from '../units.ts';
import type { DeviceArguments } from '../user-devices.ts';
import { installFile, mappedFileOf } from './files.ts';
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

export function openDevice(context: ProcessContext, args: DeviceArguments): Task<Outcome<number>> {
  checkKeys(args, ['bytes', 'fill', 'access', 'noncached'], 'openDevice');
  const { fill = 'remap', access = true, noncached = false } = args;
  if (!FILLS.includes(fill)) {
    throw new InputError('openDevice: fill', { expected: FILLS.join(', '), found: String(fill) });
  }
  const bytes = byteCount(args.bytes, 'openDevice: bytes');
  if (bytes === 0 || bytes > MOST_BYTES) {
    throw new InputError('openDevice: bytes', { expected: '1 to 1 GiB', found: `${bytes}` });
  }
  const { kernel } = context.task;
  const pages = Math.ceil(bytes / PAGE_BYTES);
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
