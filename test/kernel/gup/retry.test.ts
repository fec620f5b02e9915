/**
 * The retry protocol of `__get_user_pages_locked`: who holds mmap_lock after a fault that had to let it go. The faults
 * that wait (userfaultfd, disk) come later, so the handler is wrapped: it answers what a script says, letting the lock
 * go where Linux's would.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EFAULT, EHWPOISON, EINTR, ENOMEM } from '../../../src/kernel/errno.ts';
import {
  FOLL_HWPOISON,
  FOLL_INTERRUPTIBLE,
  FOLL_NOWAIT,
  type MmapLocked,
} from '../../../src/kernel/gup/foll-flags.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_INTERRUPTIBLE,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_WRITE,
  VM_FAULT_COMPLETED,
  VM_FAULT_HWPOISON,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
} from '../../../src/kernel/mm/fault/fault-flags.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import type { VmArea } from '../../../src/kernel/mm/vma.ts';
import { SIGKILL, SIGTRAP } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE } from '../support/world.ts';

/** What the next faults answer; `real`, and all beyond the script: the real handler. And the flags of every fault. */
const script: (((current: TaskStruct) => number) | 'real')[] = [];
const seenFlags: number[] = [];

const HANDLER = '../../../src/kernel/mm/fault/handle-mm-fault.ts';
type Modules = typeof import('../../../src/kernel/gup/get-user-pages-remote.ts') &
  typeof import('../support/world.ts');
let modules: Modules;

/** Test files share one module graph: this one loads a graph of its own, around the wrapped handler. */
beforeAll(async () => {
  vi.resetModules();
  vi.doMock(HANDLER, async (original) => {
    const real = await original<typeof import('../../../src/kernel/mm/fault/handle-mm-fault.ts')>();
    function* handleMmFault(current: TaskStruct, vma: VmArea, page: number, flags: number): Task<number> {
      seenFlags.push(flags);
      const next = script.shift();
      if (next === undefined || next === 'real') return yield* real.handleMmFault(current, vma, page, flags);
      const answer = next(current);
      const lets = VM_FAULT_RETRY | VM_FAULT_COMPLETED;
      if ((answer & lets) !== 0 && (flags & FAULT_FLAG_RETRY_NOWAIT) === 0)
        yield* mmapReadUnlock(current, vma.mm);
      return answer;
    }
    return { ...real, handleMmFault };
  });
  const gup = await import('../../../src/kernel/gup/get-user-pages-remote.ts');
  modules = { ...gup, ...(await import('../support/world.ts')) };
});

afterAll(() => {
  vi.doUnmock(HANDLER);
  vi.resetModules();
});

const retry = () => VM_FAULT_RETRY;
const PAGE_NUMBER = Number(BASE / 0x1000n);

beforeEach(() => {
  script.length = 0;
  seenFlags.length = 0;
});

/** Pins `count` untouched pages of a target; gives result, lock state, pages, and whether the lock is really held. */
function pin(
  count: number,
  flags = 0,
  locked: MmapLocked | null = { held: true },
  call: 'getUserPagesRemote' | 'pinUserPagesRemote' = 'pinUserPagesRemote',
) {
  const world = new modules.World();
  const target = world.process('target');
  const caller = world.process('caller');
  world.map(target, 0, 4, PROT_READ | PROT_WRITE);
  seenFlags.length = 0;
  const mm = target.mm as MmStruct;
  const pages = new Array<number>(count).fill(-1);
  function* path(): Task<{ result: number; heldAfter: boolean }> {
    yield* mmapReadLock(caller, mm);
    const result = yield* modules[call](caller, mm, PAGE_NUMBER, count, flags, pages, locked);
    const heldAfter = mm.mmapLock.isReadBy(caller);
    if (heldAfter) yield* mmapReadUnlock(caller, mm);
    return { result, heldAfter };
  }
  const outcome = world.run(caller, path());
  return { ...outcome, locked: locked?.held, pages, faults: caller.minFlt + caller.majFlt, world, caller };
}

const COMMON = FAULT_FLAG_REMOTE | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;

describe('with locked, the lock may be dropped', () => {
  it('keeps the lock when no fault asks for a retry', () => {
    expect(pin(3)).toMatchObject({ result: 3, locked: true, heldAfter: true, faults: 3 });
    expect(seenFlags).toEqual([COMMON, COMMON, COMMON]);
  });

  it('tries the page alone again, with TRIED, then goes on in bulk without it; the lock is not held at the end', () => {
    script.push(retry);
    expect(pin(3)).toMatchObject({ result: 3, locked: false, heldAfter: false });
    expect(seenFlags).toEqual([COMMON, COMMON | FAULT_FLAG_TRIED, COMMON, COMMON]);
  });

  it('tries as often as it takes', () => {
    script.push(retry, retry, retry);
    expect(pin(1)).toMatchObject({ result: 1, locked: false, heldAfter: false });
    expect(seenFlags.slice(1)).toEqual([COMMON, COMMON, COMMON].map((flags) => flags | FAULT_FLAG_TRIED));
  });

  it('counts a fault that was tried before as a major one (mm_account_fault)', () => {
    script.push(retry);
    const { caller } = pin(1);
    expect([caller.minFlt, caller.majFlt]).toEqual([0, 1]);
  });

  it('takes COMPLETED as done and the lock as gone', () => {
    // Nothing was mapped by the scripted answer, so the page is faulted once more, with TRIED.
    script.push(() => VM_FAULT_COMPLETED);
    expect(pin(2)).toMatchObject({ result: 2, locked: false, heldAfter: false });
  });

  it('keeps the pages before a retry in the middle and fills the slots behind them', () => {
    script.push('real', retry);
    const { pages, result, world } = pin(4);
    expect(result).toBe(4);
    expect(pages.every((frame) => world.kernel.frames.isZeroFrame(frame))).toBe(true);
    const tried = seenFlags.map((flags) => (flags & FAULT_FLAG_TRIED) !== 0);
    expect(tried).toEqual([false, false, true, false, false]);
  });

  it.each([
    ['SIGKILL during the wait', SIGKILL, 0, -EINTR],
    ['another signal, with FOLL_INTERRUPTIBLE', SIGTRAP, FOLL_INTERRUPTIBLE, -EINTR],
    ['another signal, without: it goes on', SIGTRAP, 0, 1],
  ])('%s', (_name, signal, flags, result) => {
    script.push((current) => {
      current.sendSignal({ signal, code: 0, address: 0n });
      return VM_FAULT_RETRY;
    });
    expect(pin(1, flags)).toMatchObject({ result, locked: false, heldAfter: false });
    const interruptible = flags === 0 ? 0 : FAULT_FLAG_INTERRUPTIBLE;
    expect(seenFlags[0]).toBe(COMMON | interruptible);
  });

  it('hides an error behind the pages before it, also after a drop', () => {
    script.push('real', () => VM_FAULT_SIGBUS);
    expect(pin(3)).toMatchObject({ result: 1, locked: true, heldAfter: true });
    script.push(retry, 'real', () => VM_FAULT_SIGBUS);
    // The bulk call that fails holds the lock it took again, and lets it go: the caller was told that it is gone.
    expect(pin(3)).toMatchObject({ result: 1, locked: false, heldAfter: false });
  });
});

describe('what a failed fault becomes', () => {
  it.each([
    ['out of memory', VM_FAULT_OOM, 0, -ENOMEM],
    ['beyond the end of a file', VM_FAULT_SIGBUS, 0, -EFAULT],
    ['broken memory', VM_FAULT_HWPOISON, 0, -EFAULT],
    ['broken memory, with FOLL_HWPOISON', VM_FAULT_HWPOISON, FOLL_HWPOISON, -EHWPOISON],
  ])('%s', (_name, answer, flags, result) => {
    script.push(() => answer);
    expect(pin(1, flags)).toMatchObject({ result, locked: true, heldAfter: true });
  });
});

describe('FOLL_NOWAIT', () => {
  it('gives 0 pages and keeps the lock when the fault would have to wait', () => {
    script.push(retry);
    expect(pin(2, FOLL_NOWAIT)).toMatchObject({ result: 0, locked: true, heldAfter: true });
    expect(seenFlags).toEqual([COMMON | FAULT_FLAG_RETRY_NOWAIT]);
  });
});

describe('without locked', () => {
  it('does not even offer the fault a retry', () => {
    expect(pin(2, 0, null, 'getUserPagesRemote')).toMatchObject({ result: 2, heldAfter: true });
    expect(seenFlags).toEqual([FAULT_FLAG_REMOTE, FAULT_FLAG_REMOTE]);
    expect(seenFlags.every((flags) => (flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_WRITE)) === 0)).toBe(
      true,
    );
  });
});
