/**
 * The retry protocol of `__get_user_pages_locked`: who holds mmap_lock after a fault that had to let it go. The faults are
 * those of a file whose handler answers what a script says, letting the lock go where one that waits would.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { EFAULT, EHWPOISON, EINTR, ENOMEM } from '../../../src/kernel/errno.ts';
import {
  FOLL_HWPOISON,
  FOLL_INTERRUPTIBLE,
  FOLL_NOWAIT,
  type MmapLocked,
} from '../../../src/kernel/gup/foll-flags.ts';
import { getUserPagesRemote, pinUserPagesRemote } from '../../../src/kernel/gup/get-user-pages-remote.ts';
import { mmapReadLock, mmapReadUnlock } from '../../../src/kernel/lock/mmap-lock.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_INTERRUPTIBLE,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_ORIG_PTE_VALID,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_WRITE,
  VM_FAULT_COMPLETED,
  VM_FAULT_HWPOISON,
  VM_FAULT_LOCKED,
  VM_FAULT_NOPAGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
} from '../../../src/kernel/mm/fault/fault-flags.ts';
import type { VmFault } from '../../../src/kernel/mm/fault/vm-fault.ts';
import { memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { MAP_FIXED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { Sgp, shmemGetFolio } from '../../../src/kernel/mm/shmem-get-folio.ts';
import type { VmArea, VmOperations } from '../../../src/kernel/mm/vma.ts';
import { SIGKILL, SIGTRAP } from '../../../src/kernel/signal.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { BASE, MAP_PRIVATE, PAGE, World } from '../support/world.ts';

/** What the next faults answer; `real`, and all beyond the script: the page of the file. And the flags of every fault. */
const script: (((current: TaskStruct) => number) | 'real')[] = [];
const seenFlags: number[] = [];

function* answerFault(fault: VmFault): Task<number> {
  const { current, vma } = fault;
  seenFlags.push(fault.flags & ~FAULT_FLAG_ORIG_PTE_VALID);
  const next = script.shift();
  if (next === undefined || next === 'real') {
    const { mapping } = vma.file as NonNullable<VmArea['file']>;
    fault.frame = yield* shmemGetFolio(current, mapping, fault.pgoff, Sgp.Cache, fault);
    return VM_FAULT_LOCKED;
  }
  const answer = next(current);
  const lets = VM_FAULT_RETRY | VM_FAULT_COMPLETED;
  if ((answer & lets) !== 0 && !fault.has(FAULT_FLAG_RETRY_NOWAIT)) yield* mmapReadUnlock(current, vma.mm);
  return answer;
}
const scripted: VmOperations = {
  name: 'scripted',
  hasClose: false,
  hasMapPages: false,
  fault: answerFault,
};

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
  call = pinUserPagesRemote,
) {
  const world = new World();
  const target = world.process('target');
  const caller = world.process('caller');
  const file = memfdCreate(world.kernel, 'scripted');
  file.mapping.sizeBytes = 4 * 4096;
  const prot = PROT_READ | PROT_WRITE;
  expect(world.run(target, sysMmap(target, BASE, 4n * PAGE, prot, MAP_PRIVATE | MAP_FIXED, file, 0n))).toBe(
    BASE,
  );
  const mm = target.mm as MmStruct;
  (mm.vmas.lookup(PAGE_NUMBER) as VmArea).ops = scripted;
  seenFlags.length = 0;
  const pages = new Array<number>(count).fill(-1);
  function* path(): Task<{ result: number; heldAfter: boolean }> {
    yield* mmapReadLock(caller, mm);
    const result = yield* call(caller, mm, PAGE_NUMBER, count, flags, pages, locked);
    const heldAfter = mm.mmapLock.isReadBy(caller);
    if (heldAfter) yield* mmapReadUnlock(caller, mm);
    return { result, heldAfter };
  }
  const outcome = world.run(caller, path());
  const mapped = pages.map((_, page) => world.frameAt(target, BASE + BigInt(page) * PAGE));
  return { ...outcome, locked: locked?.held, pages, faults: caller.minFlt + caller.majFlt, mapped, caller };
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
    // It says that the page is mapped, and none is: the page is faulted once more, with TRIED.
    script.push(() => VM_FAULT_COMPLETED | VM_FAULT_NOPAGE);
    expect(pin(2)).toMatchObject({ result: 2, locked: false, heldAfter: false });
  });

  it('keeps the pages before a retry in the middle and fills the slots behind them', () => {
    script.push('real', retry);
    const { pages, result, mapped } = pin(4);
    expect(result).toBe(4);
    expect(pages).toEqual(mapped);
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
    expect(pin(2, 0, null, getUserPagesRemote)).toMatchObject({ result: 2, heldAfter: true });
    expect(seenFlags).toEqual([FAULT_FLAG_REMOTE, FAULT_FLAG_REMOTE]);
    expect(seenFlags.every((flags) => (flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_WRITE)) === 0)).toBe(
      true,
    );
  });
});
