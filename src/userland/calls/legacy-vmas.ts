/** The calls of `User` for the GUP of before Linux 6.5, which gave VMAs. What they mean is said there. */
import { atomically, type Task } from '../../base/task.ts';
import { hexAddress } from '../../base/u64.ts';
import {
  type LegacyPinRequest,
  LegacyPins,
  legacyDriverLookAgain,
  legacyDriverPin,
  legacyDriverRelease,
  pageVmaContent,
} from '../../kernel/consumers/legacy-vmas-driver.ts';
import { EBADF, ESRCH } from '../../kernel/errno.ts';
import type { VmaContent, VmaUse } from '../../kernel/gup/legacy-vmas.ts';
import type { MmStruct } from '../../kernel/mm/mm.ts';
import { mmput } from '../../kernel/mm/mm-lifetime.ts';
import { OpenFile } from '../../kernel/process/descriptors.ts';
import { findTaskByPid, getTaskMm } from '../../kernel/process/task-mm.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';
import { type Outcome, success } from '../outcome.ts';
import { byteCount, checkKeys, word } from '../units.ts';
import type {
  LegacyPinArguments,
  LegacyPinResult,
  PageVmaArguments,
  VmaContentView,
  VmaUseView,
} from '../user-pins.ts';
import { openFileOf } from './open-file.ts';
import { errnoFailure, type ProcessContext, systemCall } from './process-context.ts';

const PIN_KEYS = ['pid', 'address', 'pages', 'write', 'get', 'mayUnlock', 'guard'] as const;
const VMA_KEYS = ['pid', 'address', 'write', 'force'] as const;

/** Runs `body` on the memory of `pid`, or of the caller, which it keeps for so long. -ESRCH when there is none. */
function* onMemory<T>(
  { task }: ProcessContext,
  pid: number | undefined,
  body: (mm: MmStruct) => Task<T>,
): Task<T | number> {
  const target: TaskStruct | null = pid === undefined ? task : findTaskByPid(task, pid);
  const mm = target === null ? null : yield* getTaskMm(task, target);
  if (mm === null) return -ESRCH;
  const result = yield* body(mm);
  yield* mmput(task, mm);
  return result;
}

export function legacyPinUserPages(
  context: ProcessContext,
  args: LegacyPinArguments,
): Task<Outcome<LegacyPinResult>> {
  checkKeys(args, PIN_KEYS, 'legacyPinUserPages');
  const { task } = context;
  const address = word(args.address, 'legacyPinUserPages: address');
  const request: LegacyPinRequest = {
    startPage: Number(address >> 12n),
    count: byteCount(args.pages, 'legacyPinUserPages: pages'),
    write: args.write === true,
    pin: args.get !== true,
    mayUnlock: args.mayUnlock === true,
    guard: args.guard !== false,
  };
  const pins = new LegacyPins(request.pin);
  const call = onMemory(context, args.pid, (mm) => legacyDriverPin(task, mm, request, pins));
  const name = `${request.pin ? 'pin' : 'get'}_user_pages_remote with vmas`;
  return systemCall(context, name, [hexAddress(address), `${request.count}`], call, (got) => {
    if (got < 0) return errnoFailure(got);
    const release = (current: TaskStruct): Task<void> => legacyDriverRelease(current, pins);
    const fd = task.files.install(new OpenFile('legacy pins', pins, release));
    return success({ fd, pages: got, vmas: pins.seen.map(useView) });
  });
}

export function legacyVma(context: ProcessContext, fd: number, slot: number): Task<Outcome<VmaUseView>> {
  const { task } = context;
  const value = openFileOf(context, fd)?.value;
  const call: Task<VmaUse | number> =
    value instanceof LegacyPins && slot >= 0 && slot < value.vmas.filled
      ? value.vmas.use(task, slot)
      : atomically(() => -EBADF);
  return systemCall(context, 'vmas[i]', [`${fd}`, `${slot}`], call, (use) =>
    typeof use === 'number' ? errnoFailure(use) : success(useView(use)),
  );
}

export function legacyVmaAgain(
  context: ProcessContext,
  fd: number,
  slot: number,
): Task<Outcome<VmaContentView>> {
  const { task } = context;
  const pins = openFileOf(context, fd)?.value;
  const call: Task<VmaContent | number> =
    pins instanceof LegacyPins && slot >= 0 && slot < pins.vmas.filled
      ? onMemory(context, undefined, (mm) => legacyDriverLookAgain(task, mm, pins, slot))
      : atomically(() => -EBADF);
  return systemCall(context, 'the VMA of a page again', [`${fd}`, `${slot}`], call, (content) =>
    typeof content === 'number' ? errnoFailure(content) : success(contentView(content)),
  );
}

export function getUserPageVma(
  context: ProcessContext,
  args: PageVmaArguments,
): Task<Outcome<VmaContentView>> {
  checkKeys(args, VMA_KEYS, 'getUserPageVma');
  const { task } = context;
  const address = word(args.address, 'getUserPageVma: address');
  const page = Number(address >> 12n);
  const call = onMemory(context, args.pid, (mm) =>
    pageVmaContent(task, mm, page, args.write === true, args.force === true),
  );
  return systemCall(context, 'get_user_page_vma_remote', [hexAddress(address)], call, (content) =>
    typeof content === 'number' ? errnoFailure(content) : success(contentView(content)),
  );
}

function useView({ slot, page, afterUnlock, fate, filled, read }: VmaUse): VmaUseView {
  return {
    slot,
    address: BigInt(page) << 12n,
    afterUnlock,
    fate,
    was: contentView(filled),
    reads: contentView(read),
  };
}

const bytesOf = (page: number): bigint | null => (Number.isNaN(page) ? null : BigInt(page) << 12n);

function contentView({ name, mm, start, end, flags }: VmaContent): VmaContentView {
  return { name, mm, start: bytesOf(start), end: bytesOf(end), flags };
}
