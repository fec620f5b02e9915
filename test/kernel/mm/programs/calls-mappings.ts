/** Calls about the caller's own mappings, and its accesses to them. */
import {
  PR_MTE_TAG_SHIFT,
  PR_MTE_TCF_SYNC,
  PR_TAGGED_ADDR_ENABLE,
  PROT_MTE,
} from '../../../../src/arch/user-abi.ts';
import type { Task } from '../../../../src/base/task.ts';
import { sysBrk } from '../../../../src/kernel/mm/brk.ts';
import * as advice from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { sysMincore } from '../../../../src/kernel/mm/mincore.ts';
import { MLOCK_ONFAULT, sysMlock, sysMlock2, sysMunlock } from '../../../../src/kernel/mm/mlock.ts';
import { sysMlockall, sysMunlockall } from '../../../../src/kernel/mm/mlockall.ts';
import * as mman from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { sysMprotect, sysPkeyMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { MREMAP_DONTUNMAP } from '../../../../src/kernel/mm/mremap-operation.ts';
import { sysMseal } from '../../../../src/kernel/mm/mseal.ts';
import { MS_ASYNC, MS_INVALIDATE, MS_SYNC, sysMsync } from '../../../../src/kernel/mm/msync.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { pkeyAlloc, pkeyFree } from '../../../../src/kernel/mm/pkey.ts';
import { tryToFreePages } from '../../../../src/kernel/mm/reclaim/direct.ts';
import { sysRemapFilePages } from '../../../../src/kernel/mm/remap-file-pages.ts';
import { sysPrctlSetTaggedAddrCtrl } from '../../../../src/kernel/process/tagged-address.ts';
import { userAtomic, userFetch, userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { tagInstructionsOf, userTagAccess } from '../../../../src/userland/calls/tag-access.ts';
import { addressOf } from '../process-world.ts';
import { type Call, pick } from './step.ts';

const { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE } =
  mman;
const RW = PROT_READ | PROT_WRITE;
const PROTECTIONS = [
  RW,
  PROT_READ,
  PROT_NONE,
  RW | PROT_EXEC,
  PROT_READ | PROT_EXEC,
  RW | PROT_MTE,
  PROT_WRITE,
];

const ANON = MAP_ANONYMOUS | MAP_FIXED;
/** Where there is no memory, a fault in such memory is tried again for ever, as in Linux. */
const DROPPABLE = ANON | mman.MAP_DROPPABLE;
/** Which file, counted from 1, and flags. */
const MAPPINGS: readonly (readonly [file: number, flags: number])[] = [
  [0, ANON | MAP_PRIVATE],
  [0, ANON | MAP_SHARED],
  [1, MAP_FIXED | MAP_SHARED],
  [1, MAP_FIXED | MAP_PRIVATE],
  [0, ANON | MAP_PRIVATE],
  [0, ANON | MAP_PRIVATE | mman.MAP_POPULATE],
  [0, ANON | MAP_PRIVATE | mman.MAP_LOCKED],
  [0, ANON | MAP_PRIVATE | mman.MAP_NORESERVE],
  [0, ANON | MAP_PRIVATE | mman.MAP_GROWSDOWN],
  [0, DROPPABLE],
  [2, MAP_FIXED | MAP_SHARED | mman.MAP_POPULATE],
  [2, MAP_FIXED | MAP_PRIVATE | mman.MAP_POPULATE],
  [0, MAP_ANONYMOUS | MAP_PRIVATE | mman.MAP_FIXED_NOREPLACE],
  [0, MAP_ANONYMOUS | MAP_PRIVATE],
  [1, MAP_SHARED],
  [0, ANON | MAP_PRIVATE | mman.MAP_HUGETLB],
  [0, ANON | MAP_SHARED | mman.MAP_HUGETLB],
  [3, MAP_FIXED | MAP_SHARED],
  [3, MAP_FIXED | MAP_PRIVATE],
  [0, ANON | MAP_PRIVATE | mman.MAP_HUGETLB | mman.MAP_NORESERVE],
];

const MOVES = [1, 3, 0, 5, 7, 4];

/** All but those that break memory for ever and those that are not for programs without huge memory. */
const ADVICES = [
  advice.MADV_DONTNEED,
  advice.MADV_FREE,
  advice.MADV_PAGEOUT,
  advice.MADV_COLD,
  advice.MADV_WILLNEED,
  advice.MADV_POPULATE_READ,
  advice.MADV_POPULATE_WRITE,
  advice.MADV_HUGEPAGE,
  advice.MADV_NOHUGEPAGE,
  advice.MADV_GUARD_INSTALL,
  advice.MADV_GUARD_REMOVE,
  advice.MADV_REMOVE,
  advice.MADV_WIPEONFORK,
  advice.MADV_KEEPONFORK,
  advice.MADV_DONTFORK,
  advice.MADV_DOFORK,
  advice.MADV_DONTNEED_LOCKED,
  advice.MADV_SEQUENTIAL,
  advice.MADV_RANDOM,
  advice.MADV_NORMAL,
  advice.MADV_DONTDUMP,
  advice.MADV_DODUMP,
  advice.MADV_MERGEABLE,
  advice.MADV_UNMERGEABLE,
];

const bytes = (pages: number): bigint => BigInt(pages) << 12n;
/** Protection keys that a process may have. */
const KEYS = 4;

export const mappingCalls = {
  mmap(world, task, [, , page, pages, other, choice]) {
    const [file, wanted] = pick(MAPPINGS, choice);
    const flags = wanted === DROPPABLE && world.mayRunOut ? ANON | MAP_PRIVATE : wanted;
    const prot = pick(PROTECTIONS, Math.floor(choice / MAPPINGS.length));
    if ((flags & mman.MAP_GROWSDOWN) !== 0) world.committedMayExceed = true;
    const hint = (flags & MAP_FIXED) === 0 && other % 2 === 0 ? 0n : addressOf(page);
    const offset = file === 3 ? (other % 4) * 512 : other % 12;
    return sysMmap(task, hint, bytes(pages), prot, flags, world.file(file), file === 0 ? 0n : bytes(offset));
  },
  munmap: (_world, task, [, , page, pages]) => sysMunmap(task, addressOf(page), bytes(pages)),
  mprotect: (_world, task, [, , page, pages, , choice]) =>
    sysMprotect(task, addressOf(page), bytes(pages), pick(PROTECTIONS, choice)),
  mremap(world, task, [, , page, pages, other, choice]) {
    const flags = pick(MOVES, choice);
    if ((flags & MREMAP_DONTUNMAP) !== 0) world.lockedVmMayExceed = true;
    const grow = [0, 1, 2, -1, 512][Math.floor(choice / MOVES.length) % 5] as number;
    const length = Math.max(0, (flags & MREMAP_DONTUNMAP) !== 0 ? pages : pages + grow);
    // Some go where huge pages may be, on the boundary or beside it.
    const target = other > 32 ? page + 512 * (other - 33) : other;
    return sysMremap(task, addressOf(page), bytes(pages), bytes(length), flags, addressOf(target));
  },
  madvise: (_world, task, [, , page, pages, , choice]) =>
    sysMadvise(task, addressOf(page), bytes(pages), pick(ADVICES, choice)),
  collapse: (_world, task, [, , page, pages]) =>
    sysMadvise(task, addressOf(page), bytes(pages), advice.MADV_COLLAPSE),
  /** Broken memory, which nobody gets back. */
  breakMemory: (_world, task, [, , page, pages]) =>
    sysMadvise(task, addressOf(page), bytes(Math.min(pages, 1)), advice.MADV_HWPOISON),
  mlock: (_world, task, [, , page, pages, , choice]) =>
    choice % 2 === 0
      ? sysMlock(task, addressOf(page), bytes(pages))
      : sysMlock2(task, addressOf(page), bytes(pages), MLOCK_ONFAULT),
  munlock: (_world, task, [, , page, pages]) => sysMunlock(task, addressOf(page), bytes(pages)),
  mlockall: (_world, task, [, , , , , choice]) =>
    choice % 3 === 0 ? sysMunlockall(task) : sysMlockall(task, 1 + (choice % 7)),
  munlockall: (_world, task) => sysMunlockall(task),
  msync: (_world, task, [, , page, pages, , choice]) =>
    sysMsync(task, addressOf(page), bytes(pages), pick([MS_SYNC, MS_ASYNC, MS_INVALIDATE], choice)),
  mincore: (_world, task, [, , page, pages]) =>
    sysMincore(task, addressOf(page), bytes(pages), new Uint8Array(pages)),
  mseal: (_world, task, [, , page]) => sysMseal(task, addressOf(page), bytes(1), 0n),
  brk: (_world, task, [, , , , other]) => sysBrk(task, (task.mm?.startBrk ?? 0n) + bytes(other % 9)),
  remapFilePages: (_world, task, [, , page, pages, other]) =>
    sysRemapFilePages(task, addressOf(page), bytes(pages), 0n, BigInt(other % 12), 0),
  pkeyAlloc: (_world, task) => pkeyAlloc(task, 0n, 0n),
  pkeyFree: (_world, task, [, , , , , choice]) => pkeyFree(task, 1 + (choice % KEYS)),
  pkeyMprotect: (_world, task, [, , page, pages, , choice]) => {
    const prot = pick(PROTECTIONS, Math.floor(choice / KEYS));
    return sysPkeyMprotect(task, addressOf(page), bytes(pages), prot, (choice % KEYS) - 1);
  },
  load: (_world, task, [, , page]) => userLoad(task, addressOf(page), new Uint8Array(1)),
  store: (_world, task, [, , page, , , choice]) => userStore(task, addressOf(page), Uint8Array.of(choice)),
  storeAcross: (_world, task, [, , page]) => userStore(task, addressOf(page, 4092), new Uint8Array(8)),
  fetch: (_world, task, [, , page]) => userFetch(task, addressOf(page)),
  atomic: (_world, task, [, , page]) =>
    userAtomic(task, addressOf(page), (old) => BigInt.asUintN(64, old + 1n)),
  tag: (_world, task, [, , page, , , choice]) => tagGranule(task, addressOf(page), choice % 16),
  tagControl: (_world, task, [, , , , , choice]) =>
    sysPrctlSetTaggedAddrCtrl(
      task,
      BigInt(PR_TAGGED_ADDR_ENABLE | (choice % 2 === 0 ? PR_MTE_TCF_SYNC : 0) | (0xffff << PR_MTE_TAG_SHIFT)),
    ),
  /** What another process' need of memory does. */
  reclaim: (_world, task, [, , , pages]) => tryToFreePages(task, pages),
} satisfies Record<string, Call>;

function* tagGranule(task: Parameters<Call>[1], address: bigint, tag: number): Task<unknown> {
  if (tagInstructionsOf(task) === null) return null;
  return yield* userTagAccess(task, address, (tags, hi, lo, access) => tags.stg(hi, lo, access, tag));
}
