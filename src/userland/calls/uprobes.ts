/** The calls of `User` for breakpoints in files. What they mean is said there. */
import { atomically, type Task } from '../../base/task.ts';
import { hex } from '../../base/u64.ts';
import {
  uprobeRegister as registerProbe,
  uprobeUnregister as unregisterProbe,
} from '../../kernel/consumers/uprobes/register.ts';
import {
  UPROBE_HANDLER_REMOVE,
  type Uprobe,
  type UprobeConsumer,
} from '../../kernel/consumers/uprobes/uprobe.ts';
import { EBADF, EINVAL, ESRCH } from '../../kernel/errno.ts';
import { fput, getFile, type MappedFile } from '../../kernel/mm/mapped-file.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import { findTaskByPid } from '../../kernel/process/task-mm.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import type { Outcome } from '../outcome.ts';
import { byteCount, checkKeys } from '../units.ts';
import type { UprobeArguments } from '../user-probes.ts';
import { mappedFileOf } from './files.ts';
import { openFileOf } from './open-file.ts';
import { countOrErrno, doneOrErrno, type ProcessContext, systemCall } from './process-context.ts';

/** What the descriptor refers to: a listener that counts, in one address space or in all. */
class UprobeEvent implements UprobeConsumer {
  hits = 0;
  readonly #mm: MmStruct | null;

  constructor(mm: MmStruct | null) {
    this.#mm = mm;
  }

  filter = (mm: MmStruct): boolean => this.#mm === null || this.#mm === mm;

  /** A child got the breakpoint with its memory, and it is none of this listener's business. */
  handler(current: TaskStruct): number {
    if (current.mm !== null && !this.filter(current.mm)) return UPROBE_HANDLER_REMOVE;
    this.hits++;
    return 0;
  }
}

const ARGUMENTS = ['fd', 'offset', 'refCtrOffset', 'pid'] as const;

export function uprobeRegister(context: ProcessContext, args: UprobeArguments): Task<Outcome<number>> {
  checkKeys(args, ARGUMENTS, 'uprobeRegister');
  const offset = byteCount(args.offset, 'uprobeRegister: offset');
  const refCtrOffset = byteCount(args.refCtrOffset ?? 0, 'uprobeRegister: refCtrOffset');
  const file = mappedFileOf(context, args.fd);
  const error = openFileOf(context, args.fd) === undefined ? -EBADF : -EINVAL;
  const call =
    file === null ? atomically(() => error) : register(context.task, file, offset, refCtrOffset, args.pid);
  const shown = [`${args.fd}`, hex(offset), hex(refCtrOffset)];
  return systemCall(context, 'uprobe_register', shown, call, countOrErrno);
}

function* register(
  task: TaskStruct,
  file: MappedFile,
  offset: number,
  refCtrOffset: number,
  pid: number | undefined,
): Task<number> {
  const target = pid === undefined ? null : findTaskByPid(task, pid);
  if (pid !== undefined && (target === null || target.mm === null)) return -ESRCH;
  const event = new UprobeEvent(target?.mm ?? null);
  getFile(file);
  const uprobe = yield* registerProbe(task, file.mapping, offset, refCtrOffset, event);
  if (typeof uprobe === 'number') {
    yield* fput(task.kernel.frames, file);
    return uprobe;
  }
  const release = (current: TaskStruct): Task<void> => remove(current, file, uprobe, event);
  return task.files.install(new OpenFile(`uprobe ${hex(offset)}`, event, release));
}

function* remove(current: TaskStruct, file: MappedFile, uprobe: Uprobe, event: UprobeEvent): Task<void> {
  yield* unregisterProbe(current, uprobe, event);
  yield* fput(current.kernel.frames, file);
}

/** The listener, or -EBADF, -EINVAL. */
function eventOf(context: ProcessContext, descriptor: number): UprobeEvent | number {
  const open = openFileOf(context, descriptor);
  if (open === undefined) return -EBADF;
  return open.value instanceof UprobeEvent ? open.value : -EINVAL;
}

export function uprobeUnregister(context: ProcessContext, descriptor: number): Task<Outcome<void>> {
  const event = eventOf(context, descriptor);
  const { task } = context;
  const call = typeof event === 'number' ? atomically(() => event) : task.files.close(task, descriptor);
  return systemCall(context, 'uprobe_unregister', [`${descriptor}`], call, doneOrErrno);
}

export function uprobeHits(context: ProcessContext, descriptor: number): Task<Outcome<number>> {
  const event = eventOf(context, descriptor);
  const call = atomically(() => (typeof event === 'number' ? event : event.hits));
  return systemCall(context, 'read', [`${descriptor}`], call, countOrErrno);
}
