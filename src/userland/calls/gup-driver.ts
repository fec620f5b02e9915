/** The calls of `User` that use GUP as drivers do. What they mean is said there. */
import { InputError } from '../../base/input-error.ts';
import { atomically, type Task } from '../../base/task.ts';
import { hexAddress } from '../../base/u64.ts';
import {
  DriverPages,
  GUP_ENTRIES,
  type GupEntry,
  type GupRequest,
  gupDriverCopy,
  gupDriverRelease,
  gupDriverTake,
  gupDriverTakeFolios,
} from '../../kernel/consumers/gup-driver.ts';
import { EBADF, ESRCH } from '../../kernel/errno.ts';
import {
  faultInSafeWriteable,
  faultInSubpageWriteable,
  faultInWriteable,
} from '../../kernel/gup/fault-in.ts';
import { fixupUserFault } from '../../kernel/gup/fixup-user-fault.ts';
import * as foll from '../../kernel/gup/foll-flags.ts';
import { mmapReadLock, mmapReadUnlock } from '../../kernel/lock/mmap-lock.ts';
import { FAULT_FLAG_REMOTE, FAULT_FLAG_WRITE } from '../../kernel/mm/fault/fault-flags.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { mmput } from '../../kernel/mm/mm-lifetime.ts';
import { faultInReadable } from '../../kernel/mm/user-access.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import { findTaskByPid, getTaskMm } from '../../kernel/process/task-mm.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, word } from '../units.ts';
import type {
  FaultInKind,
  FixupFaultArguments,
  FolioPinArguments,
  FolioPinResult,
  GupArguments,
  GupResult,
} from '../user-gup.ts';
import { mappedFileOf } from './files.ts';
import { type FlagTable, listBits, wordNumber } from './flag-words.ts';
import { openFileOf } from './open-file.ts';
import {
  countOrErrno,
  doneOrErrno,
  errnoFailure,
  type ProcessContext,
  systemCall,
} from './process-context.ts';

const PAGE_BYTES = 4096;

/** Words of `flags`: what callers may ask for, and what only GUP itself may. */
const FOLL_WORDS: FlagTable = Object.fromEntries(
  Object.entries(foll).flatMap(([name, bit]) =>
    name.startsWith('FOLL_') && typeof bit === 'number' ? [[name.slice(5), bit]] : [],
  ),
);
const ENTRY_WORDS: FlagTable = Object.fromEntries(GUP_ENTRIES.map((name, at) => [name, at]));
const GUP_KEYS = ['entry', 'address', 'pages', 'flags', 'pid', 'locked', 'noPages'] as const;

/** Runs `body` on the memory of `pid`, or the caller's own, which it keeps for so long. -ESRCH when there is none. */
function* onMemory({ task }: ProcessContext, pid: number | undefined, body: (mm: MmStruct) => Task<number>) {
  const target: TaskStruct | null = pid === undefined ? task : findTaskByPid(task, pid);
  const mm = target === null ? null : yield* getTaskMm(task, target);
  if (mm === null) return -ESRCH;
  const result = yield* body(mm);
  yield* mmput(task, mm);
  return result;
}

/** The descriptor that keeps what was taken; -1 when nothing was. */
function install({ task }: ProcessContext, kept: DriverPages): number {
  if (kept.frames.length === 0) return -1;
  const release = (current: TaskStruct): Task<void> => gupDriverRelease(current, kept, false);
  return task.files.install(new OpenFile('pages of a driver', kept, release));
}

export function gup(context: ProcessContext, args: GupArguments): Task<Outcome<GupResult>> {
  checkKeys(args, GUP_KEYS, 'gup');
  const entry = GUP_ENTRIES[wordNumber(args.entry, ENTRY_WORDS, '', 'gup: entry')] as GupEntry;
  const remote = entry.endsWith('remote');
  if (!remote && (args.pid !== undefined || args.locked !== undefined)) {
    throw new InputError(`gup: ${entry} has no pid and no locked`, { expected: 'a remote entry for those' });
  }
  const address = word(args.address, 'gup: address');
  const locked = args.locked === undefined ? null : { held: args.locked === 'held' };
  const request: GupRequest = {
    entry,
    startPage: Number(address >> 12n),
    count: byteCount(args.pages, 'gup: pages'),
    gupFlags: listBits(args.flags ?? [], FOLL_WORDS, 'FOLL_', 'gup: flags'),
    wantsPages: args.noPages !== true,
    locked,
  };
  const kept = new DriverPages(entry.startsWith('pin') ? 'pin' : 'get');
  const call = onMemory(context, args.pid, (mm) => gupDriverTake(context.task, mm, request, kept));
  const shown = [hexAddress(address), `${request.count}`, (args.flags ?? []).join('|') || '0'];
  return systemCall(context, entry, shown, call, (got) => {
    if (got < 0) return errnoFailure(got);
    const frames = [...kept.frames];
    return success({ fd: install(context, kept), pages: got, frames, locked: locked?.held ?? null });
  });
}

export function memfdPinFolios(
  context: ProcessContext,
  descriptor: number,
  args: FolioPinArguments,
): Task<Outcome<FolioPinResult>> {
  checkKeys(args, ['start', 'end', 'most'], 'memfdPinFolios');
  const kept = new DriverPages('folio pin');
  const offset = { value: 0 };
  const start = byteCount(args.start, 'memfdPinFolios: start');
  const end = byteCount(args.end, 'memfdPinFolios: end');
  const most = byteCount(args.most ?? 512, 'memfdPinFolios: most');
  const file = mappedFileOf(context, descriptor);
  const call = gupDriverTakeFolios(context.task, file, start, end, most, offset, kept);
  return systemCall(context, 'memfd_pin_folios', [`${descriptor}`, `${start}`, `${end}`], call, (got) => {
    if (got < 0) return errnoFailure(got);
    const frames = [...kept.frames];
    return success({ fd: install(context, kept), folios: got, frames, offset: offset.value });
  });
}

/** Runs `body` on the pages behind a descriptor; -EBADF when there are none, or not so many. */
function* onPages(
  context: ProcessContext,
  fd: number,
  slot: number,
  body: (kept: DriverPages, frame: number) => Task<void>,
): Task<number> {
  const value = openFileOf(context, fd)?.value;
  const frame = value instanceof DriverPages ? value.frames[slot] : undefined;
  if (!(value instanceof DriverPages) || frame === undefined) return yield* atomically(() => -EBADF);
  yield* body(value, frame);
  return 0;
}

export function gupRead(
  context: ProcessContext,
  fd: number,
  slot: number,
  offset: number,
  bytes: number,
): Task<Outcome<Uint8Array>> {
  const data = new Uint8Array(inPage('gupRead', offset, bytes));
  const call = onPages(context, fd, slot, (_kept, frame) =>
    gupDriverCopy(context.task, frame, offset, data, false),
  );
  return systemCall(context, 'device reads', [`${fd}`, `${slot}`, `${offset}`, `${bytes}`], call, (error) =>
    error < 0 ? errnoFailure(error) : success(data),
  );
}

export function gupWrite(
  context: ProcessContext,
  fd: number,
  slot: number,
  offset: number,
  data: Uint8Array,
): Task<Outcome<void>> {
  inPage('gupWrite', offset, data.length);
  const call = onPages(context, fd, slot, (_kept, frame) =>
    gupDriverCopy(context.task, frame, offset, data, true),
  );
  const shown = [`${fd}`, `${slot}`, `${offset}`, `${data.length}`];
  return systemCall(context, 'device writes', shown, call, doneOrErrno);
}

/** How many bytes, all in one page. @throws InputError */
function inPage(what: string, offset: number, bytes: number): number {
  if (offset >= 0 && bytes >= 0 && offset + bytes <= PAGE_BYTES) return bytes;
  throw new InputError(`${what}: not in one page`, {
    expected: `up to ${PAGE_BYTES}`,
    found: `${offset + bytes}`,
  });
}

export function gupRelease(
  context: ProcessContext,
  fd: number,
  options: { readonly dirty?: boolean },
): Task<Outcome<void>> {
  checkKeys(options, ['dirty'], 'gupRelease');
  const dirty = options.dirty === true;
  const call = onPages(context, fd, 0, (kept) => gupDriverRelease(context.task, kept, dirty));
  return systemCall(
    context,
    dirty ? 'unpin_user_pages_dirty_lock' : 'unpin_user_pages',
    [`${fd}`],
    call,
    doneOrErrno,
  );
}

const FAULT_IN = {
  readable: faultInReadable,
  writeable: faultInWriteable,
  safe_writeable: faultInSafeWriteable,
  subpage_writeable: faultInSubpageWriteable,
} as const;
const FAULT_IN_NAMES = Object.keys(FAULT_IN) as FaultInKind[];
const FAULT_IN_WORDS: FlagTable = Object.fromEntries(FAULT_IN_NAMES.map((name, at) => [name, at]));

export function faultIn(
  context: ProcessContext,
  kind: FaultInKind,
  address: bigint,
  bytes: number,
): Task<Outcome<number>> {
  const name = FAULT_IN_NAMES[wordNumber(kind, FAULT_IN_WORDS, 'fault_in_', 'faultIn')] as FaultInKind;
  const at = word(address, 'faultIn: address');
  const length = byteCount(bytes, 'faultIn: bytes');
  const call = FAULT_IN[name](context.task, at, length);
  return systemCall(context, `fault_in_${name}`, [hexAddress(at), `${length}`], call, countOrErrno);
}

export function fixupFault(
  context: ProcessContext,
  args: FixupFaultArguments,
): Task<Outcome<{ readonly unlocked: boolean }>> {
  checkKeys(args, ['address', 'write', 'pid', 'mayUnlock'], 'fixupUserFault');
  const { task } = context;
  const at = word(args.address, 'fixupUserFault: address');
  const unlocked = { happened: false };
  const flags =
    (args.write === true ? FAULT_FLAG_WRITE : 0) | (args.pid === undefined ? 0 : FAULT_FLAG_REMOTE);
  const pass = args.mayUnlock === false ? null : unlocked;
  const call = onMemory(context, args.pid, function* (mm) {
    yield* mmapReadLock(task, mm);
    const error = yield* fixupUserFault(task, mm, Number(at >> 12n), flags, pass);
    yield* mmapReadUnlock(task, mm);
    return error;
  });
  return systemCall(context, 'fixup_user_fault', [hexAddress(at)], call, (error) =>
    error < 0 ? errnoFailure(error) : success({ unlocked: unlocked.happened }),
  );
}
