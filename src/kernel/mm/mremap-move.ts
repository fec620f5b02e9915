/**
 * The part of mremap that moves a mapping: a copy of the VMA at the new place, the page-table entries moved to it, the
 * old range unmapped (or left empty, with MREMAP_DONTUNMAP). Without memory for tables everything is moved back.
 * Left out: breaking up KSM pages.
 * @see Linux mm/mremap.c, `move_vma`, `copy_vma_and_data`, `unmap_source_vma`, `dontunmap_complete`, `mremap_to`
 */
import type { Task } from '../../base/task.ts';
import { EFAULT, ENOMEM } from '../errno.ts';
import { unlinkAnonVmas } from './anon-vma.ts';
import { type CopiedVma, copyVma } from './copy-vma.ts';
import { getUnmappedArea } from './get-unmapped-area.ts';
import { clearVmaResvHugePages, hstateOfVma, isHugetlbVma } from './hugetlb/hugetlb-vma.ts';
import { mayExpandVm } from './limits.ts';
import { MAP_FIXED, MAP_SHARED } from './mman.ts';
import { movePageTables } from './move-page-tables.ts';
import { accountMremap, chargeMremap } from './mremap-accounting.ts';
import { type MremapOperation, MremapType } from './mremap-operation.ts';
import { shrinkVma } from './mremap-resize.ts';
import { vmUnacctMemory } from './overcommit.ts';
import { mremapUserfaultfdPrep } from './userfaultfd/events.ts';
import type { VmArea } from './vma.ts';
import { VM_ACCOUNT, VM_LOCKED_MASK, VM_MAYSHARE } from './vma-flags.ts';
import { vmaStartWrite } from './vma-lock.ts';

/**
 * Where the mapping goes: FIXED as asked for, DONTUNMAP alone takes the address as a hint, else anywhere. A page or a
 * negative errno.
 * @see `vrm_set_new_addr`
 */
export function findNewPlace(operation: MremapOperation): number {
  const { current, mm, mapped, newPages } = operation;
  const shared = (mapped.flags & VM_MAYSHARE) !== 0;
  return getUnmappedArea(current, {
    mm,
    address: operation.impliesNewAddress ? BigInt(operation.newPage) << 12n : 0n,
    pages: newPages,
    flags: (operation.fixed ? MAP_FIXED : 0) | (shared ? MAP_SHARED : 0),
    alignForHugePages: mapped.file === null && !shared,
    pgoff: mapped.indexOf(operation.page),
    hugetlbPages: isHugetlbVma(mapped) ? hstateOfVma(mapped).pages : 0,
  });
}

/** 0 or a negative errno. @see `prep_move_vma` */
function prepareMove({ mm, mapped, page, oldPages }: MremapOperation): number {
  // Cutting the source in three must not fail once its pages have moved.
  if (mm.mapCount >= mm.kernel.config.maxMapCount - 3) return -ENOMEM;
  const maySplit = mapped.ops?.maySplit;
  if (maySplit === undefined) return 0;
  const error = mapped.start === page ? 0 : maySplit(mapped, page);
  if (error !== 0) return error;
  return mapped.end === page + oldPages ? 0 : maySplit(mapped, page + oldPages);
}

/**
 * Copies the VMA and moves its pages. 0; or -ENOMEM with the pages back where they were and `operation` set so that
 * unmapping "the source" takes the copy away.
 * @see `copy_vma_and_data`
 */
function* copyVmaAndData(operation: MremapOperation, copied: CopiedVma): Task<number> {
  const { current, page, newPage, oldPages } = operation;
  const { source, copy, needRmapLocks } = copied;
  operation.vma = source;
  const forth = { old: source, new: copy, oldPage: page, newPage, pages: oldPages };
  const moved = yield* movePageTables(current, { ...forth, needRmapLocks, forStack: false });
  if (moved >= oldPages) {
    operation.userfaultfd = yield* mremapUserfaultfdPrep(current, copy);
    if (isHugetlbVma(source)) clearVmaResvHugePages(source);
    return 0;
  }
  // The tables of the old place are still there: this cannot fail.
  const back = { old: copy, new: source, oldPage: newPage, newPage: page, pages: moved };
  yield* movePageTables(current, { ...back, needRmapLocks: true, forStack: false });
  if (isHugetlbVma(copy)) clearVmaResvHugePages(copy);
  operation.vma = copy;
  operation.oldPages = operation.newPages;
  operation.page = newPage;
  return -ENOMEM;
}

/**
 * Unmaps the range that was moved from. What is charged for it goes over to the copy, so the flag that would give it
 * back is off meanwhile, also on the parts that stay mapped beside the range.
 * @see `unmap_source_vma`
 */
function* unmapSource(operation: MremapOperation): Task<void> {
  const { current, mm, page, oldPages, mapped: vma } = operation;
  const { start, end } = vma;
  const keepsCharge = (vma.flags & VM_ACCOUNT) !== 0 && !operation.dontUnmap;
  if (keepsCharge) {
    yield* vmaStartWrite(current, mm, vma);
    vma.flags &= ~VM_ACCOUNT;
  }
  const error = yield* operation.unmap(page, page + oldPages, false);
  operation.vma = null;
  if (error !== 0) {
    mm.kernel.committedPages += oldPages;
    return;
  }
  if (!keepsCharge) return;
  if (start < page) yield* markAccounted(operation, mm.vmas.findPrevious(page));
  if (end > page + oldPages) yield* markAccounted(operation, mm.vmas.find(page + oldPages));
}

function* markAccounted({ current, mm }: MremapOperation, vma: VmArea | null): Task<void> {
  if (vma === null) throw new Error('a part of the VMA that mremap left behind is gone');
  yield* vmaStartWrite(current, mm, vma);
  vma.flags |= VM_ACCOUNT;
}

/** The old VMA stays, empty and not locked. @see `dontunmap_complete` */
function* completeDontUnmap(operation: MremapOperation, copy: VmArea): Task<void> {
  const { current, mm, page, oldPages, mapped: vma } = operation;
  yield* vmaStartWrite(current, mm, vma);
  // `locked_vm` keeps counting it.
  vma.flags &= ~VM_LOCKED_MASK;
  const whole = page === vma.start && page + oldPages === vma.end;
  if (vma !== copy && whole) yield* unlinkAnonVmas(current, vma);
}

/**
 * Moves `operation.oldPages` pages to `operation.newPage`, where nothing is mapped, `operation.newPages` long. The new
 * page or a negative errno.
 * @see `move_vma`
 */
export function* moveVma(operation: MremapOperation): Task<number> {
  const { current, mm, newPage, newPages } = operation;
  const vma = operation.mapped;
  const refused = prepareMove(operation);
  if (refused !== 0) return refused;
  if (!chargeMremap(operation)) return -ENOMEM;
  // Faults must not put pages into what is being moved.
  yield* vmaStartWrite(current, mm, vma);
  const copied = yield* copyVma(current, vma, newPage, newPages, vma.indexOf(operation.page));
  const error = yield* copyVmaAndData(operation, copied);
  // The copy is unmapped below, which gives back what it was charged only if it is not a move.
  if (error !== 0 && !operation.dontUnmap) vmUnacctMemory(mm.kernel, operation.charged);
  accountMremap(operation, newPages);
  if (error === 0 && operation.dontUnmap) yield* completeDontUnmap(operation, copied.copy);
  else yield* unmapSource(operation);
  return error === 0 ? newPage : error;
}

/** To a given place, or with DONTUNMAP: makes room, shrinks if asked to, moves. @see `mremap_to` */
export function* mremapTo(operation: MremapOperation): Task<number> {
  const { current, mm, newPage, newPages } = operation;
  if (operation.fixed) {
    const error = yield* operation.unmap(newPage, newPage + newPages, false);
    operation.unmapsEarly.push(...current.userfaultfdUnmaps.splice(0));
    operation.vma = null;
    if (error !== 0) return error;
    operation.vma = mm.vmas.lookup(operation.page);
    if (operation.vma === null) return -EFAULT;
  }
  if (operation.type === MremapType.Shrink) {
    const error = yield* shrinkVma(operation, false);
    if (error !== 0) return error;
    operation.oldPages = newPages;
  }
  if (operation.dontUnmap && !mayExpandVm(current, mm, operation.mapped.flags, operation.oldPages)) {
    return -ENOMEM;
  }
  const place = findNewPlace(operation);
  if (place < 0) return place;
  operation.newPage = place;
  return yield* moveVma(operation);
}
