/**
 * From a page to the VMAs that may map it: through the anon_vma of an anonymous page, through the file of another. The
 * lock of the anon_vmas, or of the file's mappings, is held for reading all the time, so that neither the VMAs nor the
 * page tables behind them go away; whether a VMA really maps the page only its pte tells.
 * Left out: KSM, walks that only try the lock, the lock's contention hints.
 * @see Linux mm/rmap.c, `rmap_walk`, `rmap_walk_anon`, `rmap_walk_file`, `folio_lock_anon_vma_read`; mm/internal.h,
 * `vma_address`
 */
import type { Task } from '../../base/task.ts';
import { AddressSpace } from '../frame/address-space.ts';
import type { TaskStruct } from '../task-struct.ts';
import { AnonVma } from './anon-vma.ts';
import { firstMapping, nextMapping } from './i-mmap.ts';
import type { VmArea } from './vma.ts';

/**
 * Called for each VMA with the page of it at which the folio would be (or begins to be, where the VMA holds only a later
 * part of it). False ends the walk.
 */
export type RmapVisitor = (vma: VmArea, page: number) => Task<boolean>;

/**
 * Calls `visit` for every VMA that covers a page of the folio of `frame`. The caller has a reference, and a file's folio
 * locked; an anonymous one may be unlocked if it does not matter that it changes its anon_vma (`folio_referenced`).
 */
export function* rmapWalk(current: TaskStruct, frame: number, visit: RmapVisitor): Task<void> {
  const { frames } = current.kernel;
  const head = frames.head(frame);
  const first = frames.index(head);
  const last = first + 2 ** frames.order(head) - 1;
  const mapping = frames.mapping(head);
  if (mapping instanceof AnonVma) yield* walkAnon(current, head, mapping, first, last, visit);
  else if (mapping instanceof AddressSpace) yield* walkFile(current, mapping, first, last, visit);
}

/**
 * `rmapWalk` of a page, mapped or not, for who holds the lock of its anon_vmas or of its file's mappings.
 * @see `rmap_walk_locked`
 */
export function* rmapWalkLocked(current: TaskStruct, frame: number, visit: RmapVisitor): Task<void> {
  const { frames } = current.kernel;
  const head = frames.head(frame);
  const first = frames.index(head);
  const last = first + 2 ** frames.order(head) - 1;
  const mapping = frames.mapping(head);
  if (mapping instanceof AnonVma) yield* visitAll(mapping, first, last, visit);
  else if (mapping instanceof AddressSpace) yield* visitMappings(mapping, first, last, visit);
}

/** Which frames of a folio a VMA that is visited at `page` may map: the first of them, and how many. */
export function folioSpan(
  vma: VmArea,
  page: number,
  head: number,
): { readonly frame: number; readonly pages: number } {
  const { frames } = vma.mm.kernel;
  const offset = vma.indexOf(page) - frames.index(head);
  return { frame: head + offset, pages: Math.min(2 ** frames.order(head) - offset, vma.end - page) };
}

/** Where the VMA has the first of the pages [first, …] that it covers. */
function addressIn(vma: VmArea, first: number): number {
  return vma.start + Math.max(first - vma.pgoff, 0);
}

function* walkAnon(
  current: TaskStruct,
  head: number,
  anonVma: AnonVma,
  first: number,
  last: number,
  visit: RmapVisitor,
): Task<void> {
  const { frames } = current.kernel;
  yield* anonVma.rwsem.downRead(current);
  // Unmapped while we waited: it may have been the last that the anon_vma was for.
  if (frames.isMapped(head)) yield* visitAll(anonVma, first, last, visit);
  yield* anonVma.rwsem.upRead(current);
}

/** Parents before children, so that fork copies no pte behind a walk's back. */
function* visitAll(anonVma: AnonVma, first: number, last: number, visit: RmapVisitor): Task<void> {
  let chain = anonVma.chains.firstOverlap(first, last);
  while (chain !== null) {
    const { vma } = chain;
    if (!(yield* visit(vma, addressIn(vma, first)))) break;
    chain = anonVma.chains.nextOverlap(chain, first, last);
  }
}

function* walkFile(
  current: TaskStruct,
  mapping: AddressSpace,
  first: number,
  last: number,
  visit: RmapVisitor,
): Task<void> {
  yield* mapping.iMmapRwsem.downRead(current);
  yield* visitMappings(mapping, first, last, visit);
  yield* mapping.iMmapRwsem.upRead(current);
}

function* visitMappings(mapping: AddressSpace, first: number, last: number, visit: RmapVisitor): Task<void> {
  let vma = firstMapping(mapping, first, last);
  while (vma !== null) {
    if (!(yield* visit(vma, addressIn(vma, first)))) break;
    vma = nextMapping(mapping, vma, first, last);
  }
}
