/** The calls of `User` and `Userfaultfd` for memory whose faults a program resolves. What they mean is said there. */
import { InputError } from '../../base/input-error.ts';
import { atomically, type Task } from '../../base/task.ts';
import { hex, hexAddress } from '../../base/u64.ts';
import { EBADF } from '../../kernel/errno.ts';
import type { UffdMessage } from '../../kernel/mm/userfaultfd/context.ts';
import { UserfaultfdContext } from '../../kernel/mm/userfaultfd/context.ts';
import { userfaultfdContinue } from '../../kernel/mm/userfaultfd/continue.ts';
import { userfaultfdCopy } from '../../kernel/mm/userfaultfd/copy.ts';
import type { FilledRange } from '../../kernel/mm/userfaultfd/fill-ioctl.ts';
import { userfaultfdMove } from '../../kernel/mm/userfaultfd/move.ts';
import { userfaultfdPoison } from '../../kernel/mm/userfaultfd/poison.ts';
import { EPOLLERR, EPOLLIN, userfaultfdPoll, userfaultfdRead } from '../../kernel/mm/userfaultfd/read.ts';
import { userfaultfdRegister } from '../../kernel/mm/userfaultfd/register.ts';
import * as abi from '../../kernel/mm/userfaultfd/uffd-abi.ts';
import { userfaultfdRelease, userfaultfdUnregister } from '../../kernel/mm/userfaultfd/unregister.ts';
import { sysUserfaultfd, userfaultfdApi } from '../../kernel/mm/userfaultfd/userfaultfd.ts';
import { userfaultfdWake } from '../../kernel/mm/userfaultfd/wake.ts';
import { userfaultfdWriteprotect } from '../../kernel/mm/userfaultfd/write-protect.ts';
import { userfaultfdZeropage } from '../../kernel/mm/userfaultfd/zeropage.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Failure, type Outcome, success } from '../outcome.ts';
import { checkKeys, word } from '../units.ts';
import type {
  UffdCopyArguments,
  UffdEvent,
  UffdFeature,
  UffdFillArguments,
  UffdMoveArguments,
  UffdPoll,
  UffdRange,
  UffdRegisterArguments,
  UffdWriteProtectArguments,
  UserfaultfdArguments,
} from '../userfaultfd.ts';
import { booleanBits, booleanWords, listBits } from './flag-words.ts';
import { openFileOf } from './open-file.ts';
import {
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';

const FEATURES: Readonly<Record<UffdFeature, number>> = {
  PAGEFAULT_FLAG_WP: abi.UFFD_FEATURE_PAGEFAULT_FLAG_WP,
  EVENT_FORK: abi.UFFD_FEATURE_EVENT_FORK,
  EVENT_REMAP: abi.UFFD_FEATURE_EVENT_REMAP,
  EVENT_REMOVE: abi.UFFD_FEATURE_EVENT_REMOVE,
  MISSING_HUGETLBFS: abi.UFFD_FEATURE_MISSING_HUGETLBFS,
  MISSING_SHMEM: abi.UFFD_FEATURE_MISSING_SHMEM,
  EVENT_UNMAP: abi.UFFD_FEATURE_EVENT_UNMAP,
  SIGBUS: abi.UFFD_FEATURE_SIGBUS,
  THREAD_ID: abi.UFFD_FEATURE_THREAD_ID,
  MINOR_HUGETLBFS: abi.UFFD_FEATURE_MINOR_HUGETLBFS,
  MINOR_SHMEM: abi.UFFD_FEATURE_MINOR_SHMEM,
  EXACT_ADDRESS: abi.UFFD_FEATURE_EXACT_ADDRESS,
  WP_HUGETLBFS_SHMEM: abi.UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
  WP_UNPOPULATED: abi.UFFD_FEATURE_WP_UNPOPULATED,
  POISON: abi.UFFD_FEATURE_POISON,
  WP_ASYNC: abi.UFFD_FEATURE_WP_ASYNC,
  MOVE: abi.UFFD_FEATURE_MOVE,
};

const OPEN_FLAGS = {
  userModeOnly: abi.UFFD_USER_MODE_ONLY,
  nonblock: abi.O_NONBLOCK,
  cloexec: abi.O_CLOEXEC,
} as const;

/** An open userfaultfd of the process; its last descriptor unregisters everything. */
function install(task: TaskStruct, context: UserfaultfdContext, closeOnExec: boolean): number {
  const release = (current: TaskStruct): Task<void> => userfaultfdRelease(current, context);
  return task.files.install(new OpenFile(`file of ${context.name}`, context, release), closeOnExec);
}

export function* userfaultfd(context: ProcessContext, args: UserfaultfdArguments): Task<Outcome<number>> {
  checkKeys(args, ['features', ...Object.keys(OPEN_FLAGS)], 'userfaultfd');
  const { features = [] } = args;
  const flags = booleanBits(args, OPEN_FLAGS, 'userfaultfd');
  if (features !== null) listBits(features, FEATURES, 'UFFD_FEATURE_', 'userfaultfd: features');
  const { task } = context;
  const shown = [booleanWords(args, OPEN_FLAGS)];
  const opened = yield* systemCall(context, 'userfaultfd', shown, sysUserfaultfd(task, flags), (made) =>
    typeof made === 'number' ? errnoFailure(made) : success(install(task, made, args.cloexec === true)),
  );
  if (!opened.ok || features === null) return opened;
  const enabled = yield* api(context, opened.value, features);
  if (enabled.ok) return opened;
  yield* systemCall(context, 'close', [`${opened.value}`], task.files.close(task, opened.value), doneOrErrno);
  return enabled;
}

/** The userfaultfd that a descriptor of the process refers to. */
function contextOf(context: ProcessContext, descriptor: number): UserfaultfdContext | null {
  const value = openFileOf(context, descriptor)?.value;
  return value instanceof UserfaultfdContext ? value : null;
}

/** An ioctl of the descriptor; `badDescriptor` is what it answers where there is no such one. */
function ioctl<Raw, T>(
  context: ProcessContext,
  descriptor: number,
  shown: readonly [name: string, ...rest: string[]],
  call: (uffd: UserfaultfdContext) => Task<Raw>,
  toOutcome: (raw: Raw) => Outcome<T>,
): Task<Outcome<T>> {
  const [request, ...rest] = shown;
  const args = [`${descriptor}`, request, ...rest];
  const uffd = contextOf(context, descriptor);
  if (uffd !== null) return systemCall(context, 'ioctl', args, call(uffd), toOutcome);
  const bad = atomically(() => -EBADF);
  return systemCall(context, 'ioctl', args, bad, (error): Outcome<T> => errnoFailure(error));
}

export function api(
  context: ProcessContext,
  descriptor: number,
  features: readonly UffdFeature[],
): Task<Outcome<UffdFeature[]>> {
  const bits = listBits(features, FEATURES, 'UFFD_FEATURE_', 'userfaultfd: features');
  const shown = ['UFFDIO_API', features.join('|') || '0'] as const;
  return ioctl(
    context,
    descriptor,
    shown,
    (uffd) => userfaultfdApi(context.task, uffd, abi.UFFD_API, BigInt(bits)),
    (answer) =>
      answer.error !== 0
        ? errnoFailure(answer.error)
        : success(
            (Object.keys(FEATURES) as UffdFeature[]).filter(
              (name) => (Number(answer.features) & FEATURES[name]) !== 0,
            ),
          ),
  );
}

function range(args: UffdRange, what: string): readonly [start: bigint, length: bigint] {
  return [word(args.address, `${what}: address`), word(args.bytes, `${what}: bytes`)];
}

const RANGE_KEYS = ['address', 'bytes'] as const;
const shownRange = (start: bigint, length: bigint): readonly [string, string] => [
  hexAddress(start),
  hex(length),
];

const MODES = {
  missing: Number(abi.UFFDIO_REGISTER_MODE_MISSING),
  writeProtect: Number(abi.UFFDIO_REGISTER_MODE_WP),
  minor: Number(abi.UFFDIO_REGISTER_MODE_MINOR),
} as const;

export function register(
  context: ProcessContext,
  descriptor: number,
  args: UffdRegisterArguments,
): Task<Outcome<bigint>> {
  checkKeys(args, [...RANGE_KEYS, ...Object.keys(MODES)], 'uffd.register');
  const [start, length] = range(args, 'uffd.register');
  const mode = BigInt(booleanBits(args, MODES, 'uffd.register'));
  const shown = ['UFFDIO_REGISTER', ...shownRange(start, length), booleanWords(args, MODES)] as const;
  return ioctl(
    context,
    descriptor,
    shown,
    (uffd) => userfaultfdRegister(context.task, uffd, start, length, mode),
    ({ error, ioctls }) => (error === 0 ? success(ioctls) : errnoFailure(error)),
  );
}

export function unregister(
  context: ProcessContext,
  descriptor: number,
  args: UffdRange,
): Task<Outcome<void>> {
  checkKeys(args, RANGE_KEYS, 'uffd.unregister');
  const [start, length] = range(args, 'uffd.unregister');
  const shown = ['UFFDIO_UNREGISTER', ...shownRange(start, length)] as const;
  const call = (uffd: UserfaultfdContext): Task<number> =>
    userfaultfdUnregister(context.task, uffd, start, length);
  return ioctl(context, descriptor, shown, call, doneOrErrno);
}

export function wake(context: ProcessContext, descriptor: number, args: UffdRange): Task<Outcome<void>> {
  checkKeys(args, RANGE_KEYS, 'uffd.wake');
  const [start, length] = range(args, 'uffd.wake');
  const call = (uffd: UserfaultfdContext): Task<number> => userfaultfdWake(context.task, uffd, start, length);
  return ioctl(context, descriptor, ['UFFDIO_WAKE', ...shownRange(start, length)], call, doneOrErrno);
}

/** Bytes filled in; a failure tells how many were filled before it. */
function filled({ error, done }: FilledRange): Outcome<number> {
  if (error === 0) return success(done ?? 0);
  const failure = errnoFailure(error) as Failure & { readonly ok: false };
  return done !== null && done > 0 ? { ...failure, done } : failure;
}

const FILL_MODES = {
  dontWake: Number(abi.UFFDIO_MODE_DONTWAKE),
  writeProtect: Number(abi.UFFDIO_MODE_WP),
} as const;

export function copy(
  context: ProcessContext,
  descriptor: number,
  args: UffdCopyArguments,
): Task<Outcome<number>> {
  checkKeys(args, [...RANGE_KEYS, 'from', ...Object.keys(FILL_MODES)], 'uffd.copy');
  const [start, length] = range(args, 'uffd.copy');
  const source = args.from instanceof Uint8Array ? args.from : word(args.from, 'uffd.copy: from');
  if (typeof source !== 'bigint' && BigInt(source.length) < length) {
    throw new InputError('uffd.copy: from has fewer bytes than are to be copied', {
      expected: `${length}`,
      found: `${source.length}`,
    });
  }
  const mode = booleanBits(args, FILL_MODES, 'uffd.copy');
  const from = typeof source === 'bigint' ? hexAddress(source) : 'buffer';
  const shown = ['UFFDIO_COPY', ...shownRange(start, length), from, booleanWords(args, FILL_MODES)] as const;
  const call = (uffd: UserfaultfdContext): Task<FilledRange> =>
    userfaultfdCopy(context.task, uffd, start, source, length, BigInt(mode));
  return ioctl(context, descriptor, shown, call, filled);
}

type FillCall = typeof userfaultfdZeropage;

const FILLS: Readonly<Record<'zeropage' | 'continue' | 'poison', readonly [string, FillCall]>> = {
  zeropage: ['UFFDIO_ZEROPAGE', userfaultfdZeropage],
  continue: ['UFFDIO_CONTINUE', userfaultfdContinue],
  poison: ['UFFDIO_POISON', userfaultfdPoison],
};

export function fill(
  context: ProcessContext,
  descriptor: number,
  name: keyof typeof FILLS,
  args: UffdFillArguments,
): Task<Outcome<number>> {
  checkKeys(args, [...RANGE_KEYS, ...Object.keys(FILL_MODES)], `uffd.${name}`);
  const [start, length] = range(args, `uffd.${name}`);
  const mode = BigInt(booleanBits(args, FILL_MODES, `uffd.${name}`));
  const [request, run] = FILLS[name];
  const shown = [request, ...shownRange(start, length), booleanWords(args, FILL_MODES)] as const;
  const call = (uffd: UserfaultfdContext): Task<FilledRange> => run(context.task, uffd, start, length, mode);
  return ioctl(context, descriptor, shown, call, filled);
}

export function writeProtect(
  context: ProcessContext,
  descriptor: number,
  args: UffdWriteProtectArguments,
): Task<Outcome<void>> {
  checkKeys(args, [...RANGE_KEYS, 'protect', 'dontWake'], 'uffd.writeProtect');
  const [start, length] = range(args, 'uffd.writeProtect');
  const modes = {
    protect: Number(abi.UFFDIO_WRITEPROTECT_MODE_WP),
    dontWake: Number(abi.UFFDIO_WRITEPROTECT_MODE_DONTWAKE),
  };
  const mode = BigInt(booleanBits(args, modes, 'uffd.writeProtect'));
  const shown = ['UFFDIO_WRITEPROTECT', ...shownRange(start, length), booleanWords(args, modes)] as const;
  const call = (uffd: UserfaultfdContext): Task<number> =>
    userfaultfdWriteprotect(context.task, uffd, start, length, mode);
  return ioctl(context, descriptor, shown, call, doneOrErrno);
}

export function move(
  context: ProcessContext,
  descriptor: number,
  args: UffdMoveArguments,
): Task<Outcome<number>> {
  checkKeys(args, [...RANGE_KEYS, 'from', 'dontWake', 'allowHoles'], 'uffd.move');
  const [start, length] = range(args, 'uffd.move');
  const from = word(args.from, 'uffd.move: from');
  const modes = {
    dontWake: Number(abi.UFFDIO_MODE_DONTWAKE),
    allowHoles: Number(abi.UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES),
  };
  const mode = BigInt(booleanBits(args, modes, 'uffd.move'));
  const shown = [
    'UFFDIO_MOVE',
    ...shownRange(start, length),
    hexAddress(from),
    booleanWords(args, modes),
  ] as const;
  const call = (uffd: UserfaultfdContext): Task<FilledRange> =>
    userfaultfdMove(context.task, uffd, start, from, length, mode);
  return ioctl(context, descriptor, shown, call, filled);
}

/** A message as a program gets it; the child's userfaultfd of a fork becomes a descriptor of the reader. */
function eventOf(task: TaskStruct, message: UffdMessage): UffdEvent {
  switch (message.event) {
    case 'pagefault': {
      const { address, flags, threadId } = message;
      const minor = (flags & abi.UFFD_PAGEFAULT_FLAG_MINOR) !== 0;
      const protectedPage = (flags & abi.UFFD_PAGEFAULT_FLAG_WP) !== 0;
      const reason = minor ? 'minor' : protectedPage ? 'write-protect' : 'missing';
      const write = (flags & abi.UFFD_PAGEFAULT_FLAG_WRITE) !== 0;
      return { event: 'pagefault', address, reason, write, threadId };
    }
    case 'fork':
      return { event: 'fork', fd: install(task, message.child, false) };
    case 'remap':
      return { event: 'remap', from: message.from, to: message.to, bytes: message.length };
    default:
      return { event: message.event, address: message.start, bytes: message.end - message.start };
  }
}

export function read(context: ProcessContext, descriptor: number): Task<Outcome<UffdEvent>> {
  const { task } = context;
  const uffd = contextOf(context, descriptor);
  const shown = [`${descriptor}`, `${abi.UFFD_MSG_BYTES}`];
  if (uffd === null) {
    return systemCall(
      context,
      'read',
      shown,
      atomically(() => -EBADF),
      errnoFailure,
    );
  }
  const call = userfaultfdRead(task, uffd, abi.UFFD_MSG_BYTES);
  return systemCall(context, 'read', shown, call, ({ result, messages }): Outcome<UffdEvent> => {
    const [message] = messages;
    return message === undefined ? errnoFailure(result) : success(eventOf(task, message));
  });
}

/** @see Linux fs/select.c, `do_poll`: looks, and sleeps on what it has looked at. */
function* pollUntil(task: TaskStruct, uffd: UserfaultfdContext, waits: boolean): Task<number> {
  for (;;) {
    const mask = yield* userfaultfdPoll(uffd);
    if (mask !== 0 || !waits) return mask;
    const something = (): boolean => uffd.pending.length > 0 || uffd.events.length > 0;
    const error = yield* uffd.readers.waitEventInterruptible(task, something, () => task.signalPending());
    if (error !== 0) return error;
  }
}

export function poll(
  context: ProcessContext,
  descriptor: number,
  args: { readonly wait?: boolean },
): Task<Outcome<UffdPoll>> {
  checkKeys(args, ['wait'], 'uffd.poll');
  const waits = booleanBits(args, { wait: 1 }, 'uffd.poll') !== 0;
  const uffd = contextOf(context, descriptor);
  const call = uffd === null ? atomically(() => -EBADF) : pollUntil(context.task, uffd, waits);
  const shown = [`${descriptor}`, 'POLLIN', waits ? 'infinite' : '0'];
  return systemCall(context, 'poll', shown, call, (mask) => {
    const outcome = countOrErrno(mask);
    if (!outcome.ok) return outcome;
    return success({ in: (mask & EPOLLIN) !== 0, error: (mask & EPOLLERR) !== 0 });
  });
}
