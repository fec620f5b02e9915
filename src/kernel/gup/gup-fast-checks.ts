/**
 * What gup-fast asks of an entry and of a folio. It has no VMA to ask, so the entry must say everything, and whatever
 * is not plain is left to the slow path.
 * Left out: memory that other devices share (`FOLL_PCI_P2PDMA`), `arch_make_folio_accessible`.
 * @see Linux mm/gup.c, `gup_fast_pte_range`, `gup_fast_pmd_leaf`, `gup_fast_folio_allowed`; `pte_access_permitted`
 */
import { ENTRY_KEY_MASK, ENTRY_KEY_SHIFT, EntryFlag } from '../../arch/paging-format.ts';
import { AddressSpace } from '../frame/address-space.ts';
import { FrameFlag } from '../frame/frame-flags.ts';
import type { FrameTable } from '../frame/frame-table.ts';
import type { TaskStruct } from '../task-struct.ts';
import { FOLL_LONGTERM, FOLL_PIN, FOLL_REMOTE, FOLL_WRITE } from './foll-flags.ts';

const LASTING_WRITE = FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE;
/**
 * A hint of NUMA balancing or a mapping without access, a huge page that is being split, and what has no page that may
 * be counted: the zero pages and memory that is not the kernel's.
 */
const NEVER = EntryFlag.Protnone | EntryFlag.Invalid | EntryFlag.Special;

/**
 * May the page that an entry with these flags maps be taken? The thread's protection keys count for its own memory
 * only: FOLL_REMOTE says that it is another's.
 */
export function isEntryPermitted(current: TaskStruct, flags: number, gupFlags: number): boolean {
  const write = (gupFlags & FOLL_WRITE) !== 0;
  const needed = EntryFlag.Present | EntryFlag.User | (write ? EntryFlag.Write : 0);
  if ((flags & (needed | NEVER)) !== needed) return false;
  if ((gupFlags & FOLL_REMOTE) !== 0) return true;
  const key = (flags & ENTRY_KEY_MASK) >> ENTRY_KEY_SHIFT;
  return current.kernel.arch.protectionKeys.permits(current.cpu, key, write);
}

/**
 * May a folio that is held be given out? The data of a file that is written through a lasting pin would become dirty
 * without the file system knowing; only shared memory and huge pages do not mind. A small folio that belongs to nothing
 * any more was truncated.
 */
export function isFolioAllowed(frames: FrameTable, head: number, gupFlags: number): boolean {
  const rejectFiles = (gupFlags & LASTING_WRITE) === LASTING_WRITE;
  // Every small folio is looked at, as it could be secret memory.
  if (!rejectFiles && frames.isLarge(head)) return true;
  if (frames.hasFlag(head, FrameFlag.Hugetlb | FrameFlag.Anon)) return true;
  const mapping = frames.mapping(head);
  if (mapping === null) return false;
  const cache = mapping instanceof AddressSpace ? mapping : null;
  if (cache !== null && cache.secret !== null) return false;
  return !rejectFiles || cache?.shmem === true;
}
