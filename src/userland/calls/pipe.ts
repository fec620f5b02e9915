/** The calls of `User` for pipes. What they mean is said there. */
import { atomically, type Task } from '../../base/task.ts';
import { hexAddress } from '../../base/u64.ts';
import {
  Pipe,
  PipeEnd,
  pipeRelease,
  pipeRead as read,
  vmspliceToPipe,
} from '../../kernel/consumers/vmsplice.ts';
import { EBADF } from '../../kernel/errno.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, type Word, word } from '../units.ts';
import type { PipeEnds } from '../user-gup.ts';
import { openFileOf } from './open-file.ts';
import { countOrErrno, errnoFailure, type ProcessContext, systemCall } from './process-context.ts';

function install({ task }: ProcessContext, end: PipeEnd): number {
  const release = (current: TaskStruct): Task<void> => pipeRelease(current, end);
  return task.files.install(
    new OpenFile(`${end.writes ? 'write' : 'read'} end of ${end.pipe.name}`, end, release),
  );
}

export function pipe(context: ProcessContext): Task<Outcome<PipeEnds>> {
  const call = atomically((): PipeEnds => {
    const made = new Pipe(context.task.kernel);
    const readEnd = install(context, new PipeEnd(made, false));
    return { read: readEnd, write: install(context, new PipeEnd(made, true)) };
  });
  return systemCall(context, 'pipe', [], call, success);
}

/** Runs `body` on the pipe that one end of is open as `fd`; -EBADF when it is not that end. */
function* onPipe(
  context: ProcessContext,
  fd: number,
  writes: boolean,
  body: (pipe: Pipe) => Task<number>,
): Task<number> {
  const value = openFileOf(context, fd)?.value;
  if (value instanceof PipeEnd && value.writes === writes) return yield* body(value.pipe);
  return yield* atomically(() => -EBADF);
}

export function vmsplice(
  context: ProcessContext,
  fd: number,
  address: bigint,
  bytes: Word,
  options: { readonly nonblock?: boolean },
): Task<Outcome<number>> {
  checkKeys(options, ['nonblock'], 'vmsplice');
  const at = word(address, 'vmsplice: address');
  const count = byteCount(bytes, 'vmsplice: bytes');
  const nonblock = options.nonblock === true;
  const call = onPipe(context, fd, true, (to) => vmspliceToPipe(context.task, to, at, count, nonblock));
  const shown = [`${fd}`, hexAddress(at), `${count}`, nonblock ? 'SPLICE_F_NONBLOCK' : '0'];
  return systemCall(context, 'vmsplice', shown, call, countOrErrno);
}

export function pipeRead(context: ProcessContext, fd: number, bytes: Word): Task<Outcome<Uint8Array>> {
  const target = new Uint8Array(byteCount(bytes, 'pipeRead: bytes'));
  const call = onPipe(context, fd, false, (from) => read(context.task, from, target));
  return systemCall(context, 'read', [`${fd}`, `${target.length}`], call, (got) =>
    got < 0 ? errnoFailure(got) : success(target.slice(0, got)),
  );
}
