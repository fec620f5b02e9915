/**
 * Reclaiming one page: unmap it everywhere, write it out if its data is nowhere else, take it out of its cache; or find
 * that it must stay.
 * Left out: pages that others are writing back (a write to the swap area is over when it returns), demotion, swapping a
 * large folio out, or dropping a lazily freed one, as a whole: it is split first (as without CONFIG_THP_SWAP), an
 * anonymous one before it is unmapped, one of shared memory when it is to be written.
 * @see Linux mm/vmscan.c, `shrink_folio_list`, `pageout`, `__remove_mapping`
 */
import type { Task } from '../../../base/task.ts';
import { AddressSpace } from '../../frame/address-space.ts';
import { FrameFlag } from '../../frame/frame-flags.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { folioTrylock, folioUnlock } from '../fault/folio-lock.ts';
import { shmemWriteout } from '../shmem-swap.ts';
import { folioAllocSwap, folioFreeSwap, removeFromSwapCache, swapAreaOf } from '../swap-cache.ts';
import { swapWriteout } from '../swap-io.ts';
import { splitFolio } from '../thp/split-folio.ts';
import { cacheReferences, canSplitFolio } from '../thp/split-parts.ts';
import { folioPutbackLru } from './lru.ts';
import { FolioVerdict, folioCheckReferences } from './referenced.ts';
import type { ScanControl } from './scan-control.ts';
import { tryToUnmap } from './try-to-unmap.ts';

const { Active, Anon, Dirty, SwapBacked, SwapCache, Unevictable, Writeback } = FrameFlag;

/** How it ended for a folio. */
const Fate = {
  /** Nobody has it any more but us; it is unlocked. */
  Freed: 0,
  /** It stays where it was; still locked. */
  Keep: 1,
  /** It is in use, or no candidate; still locked. */
  Activate: 2,
  /** It stays, and was unlocked on the way. */
  Unlocked: 3,
} as const;
type Fate = (typeof Fate)[keyof typeof Fate];

/**
 * Reclaims a folio that the caller has isolated, or puts it back to its list; the caller's reference goes. It is freed
 * when the scan is finished.
 */
export function* shrinkFolio(current: TaskStruct, folio: number, scan: ScanControl): Task<void> {
  const { frames } = current.kernel;
  if (!(yield* folioTrylock(current, folio))) {
    scan.contended = true;
    folioPutbackLru(frames, folio);
    return;
  }
  const split: number[] = [];
  const fate = yield* decide(current, folio, scan, split);
  yield* settle(current, folio, fate, scan);
  // What was split off is looked at by itself.
  for (const page of split) yield* shrinkFolio(current, page, scan);
}

/** The end for one folio, which is locked unless `fate` says otherwise. */
function* settle(current: TaskStruct, folio: number, fate: Fate, scan: ScanControl): Task<void> {
  const { frames } = current.kernel;
  if (fate === Fate.Freed) {
    scan.release(folio);
    return;
  }
  if (fate === Fate.Activate) yield* activate(current, folio);
  if (fate !== Fate.Unlocked) yield* folioUnlock(current, folio);
  else scan.contended = true;
  folioPutbackLru(frames, folio);
}

/** A page in use has no need of its slot when slots are short. */
function* activate(current: TaskStruct, folio: number): Task<void> {
  const { frames, swap } = current.kernel;
  const unevictable = frames.hasFlag(folio, Unevictable);
  if (swap?.full === true || unevictable) yield* folioFreeSwap(current, folio);
  if (!unevictable) frames.setFlags(folio, Active);
}

/** With the folio locked. @param split gets the other pages of a large one */
function* decide(current: TaskStruct, folio: number, scan: ScanControl, split: number[]): Task<Fate> {
  const { frames } = current.kernel;
  if (frames.hasFlag(folio, Unevictable)) return Fate.Activate;
  if (frames.hasFlag(folio, Writeback)) return Fate.Keep;
  let verdict: FolioVerdict = FolioVerdict.Reclaim;
  if (!scan.ignoreReferences) verdict = yield* folioCheckReferences(current, folio);
  if (verdict === FolioVerdict.Activate) return Fate.Activate;
  if (verdict === FolioVerdict.Keep) return Fate.Keep;
  const prepared = yield* prepareAnon(current, folio, split);
  if (prepared !== Fate.Freed) return prepared;
  if (frames.isMapped(folio)) {
    yield* tryToUnmap(current, folio, scan.batch);
    if (frames.isMapped(folio)) return Fate.Activate;
  }
  // Unmapped, so nobody can pin it any more who has not.
  if (frames.maybeDmaPinned(folio)) return Fate.Activate;
  if (!frames.hasFlag(folio, Dirty)) return yield* removeMapping(current, folio);
  if (verdict === FolioVerdict.ReclaimClean) return Fate.Keep;
  yield* scan.batch.flushDirty(current);
  const small = yield* splitForWriteout(current, folio, split);
  return small === Fate.Freed ? yield* pageout(current, folio) : small;
}

/** What an anonymous folio needs before it is unmapped: to be small, and a slot. `Freed`: go on. */
function* prepareAnon(current: TaskStruct, folio: number, split: number[]): Task<Fate> {
  const { frames } = current.kernel;
  if (!frames.hasFlag(folio, Anon)) return Fate.Freed;
  const small = frames.isLarge(folio) ? yield* splitForReclaim(current, folio, split) : Fate.Freed;
  return small === Fate.Freed ? yield* addToSwap(current, folio) : small;
}

/** A huge page of shared memory, unmapped: without swap there is no point in it. `Freed`: go on. @see `shmem_writeout` */
function* splitForWriteout(current: TaskStruct, folio: number, split: number[]): Task<Fate> {
  const { frames, swap } = current.kernel;
  if (!frames.isLarge(folio)) return Fate.Freed;
  if (frames.refcount(folio) !== 1 + cacheReferences(frames, folio)) return Fate.Keep;
  if (swap === null) return Fate.Activate;
  return (yield* splitFolio(current, folio, split)) === 0 ? Fate.Freed : Fate.Activate;
}

/** `Freed`: go on. Only where something can go: by way of swap, or lazily freed, or as nobody maps it any more. */
function* splitForReclaim(current: TaskStruct, folio: number, split: number[]): Task<Fate> {
  const { frames, swap } = current.kernel;
  if (frames.maybeDmaPinned(folio)) return Fate.Keep;
  const useful = swap !== null || !frames.hasFlag(folio, SwapBacked) || frames.deferredSplit.has(folio);
  if (!useful || !canSplitFolio(frames, folio, 1)) return Fate.Activate;
  return (yield* splitFolio(current, folio, split)) === 0 ? Fate.Freed : Fate.Activate;
}

/** An anonymous page needs a slot before it is unmapped. `Freed`: go on. */
function* addToSwap(current: TaskStruct, folio: number): Task<Fate> {
  const { frames } = current.kernel;
  if ((frames.flags(folio) & (Anon | SwapBacked | SwapCache)) !== (Anon | SwapBacked)) return Fate.Freed;
  if (frames.maybeDmaPinned(folio)) return Fate.Keep;
  if (!(yield* folioAllocSwap(current, folio))) return Fate.Activate;
  // MADV_FREE may have cleaned its pte without making it lazily freed.
  frames.setFlags(folio, Dirty);
  return Fate.Freed;
}

/** Is the page neither in a cache nor of one? Then our reference and the cache's are all there should be. */
const OURS_AND_CACHE = 2;

/** Writes a dirty page out. @see `pageout` */
function* pageout(current: TaskStruct, folio: number): Task<Fate> {
  const { frames } = current.kernel;
  const lazyfree = frames.hasFlag(folio, Anon) && !frames.hasFlag(folio, SwapBacked);
  if (lazyfree) return yield* removeMapping(current, folio);
  if (frames.refcount(folio) !== OURS_AND_CACHE) return Fate.Keep;
  const mapping = frames.hasFlag(folio, SwapCache) ? null : frames.mapping(folio);
  // Files that are written back are nobody's here; there is no flusher to wait for.
  if (mapping instanceof AddressSpace && !mapping.shmem) return Fate.Activate;
  if (mapping === null && !frames.hasFlag(folio, SwapCache)) return Fate.Keep;
  frames.clearFlags(folio, Dirty);
  if (mapping === null) yield* swapWriteout(current, folio);
  else if (!(yield* shmemWriteout(current, folio))) return Fate.Activate;
  if (!(yield* folioTrylock(current, folio))) return Fate.Unlocked;
  if (frames.hasFlag(folio, Dirty | Writeback)) return Fate.Keep;
  return yield* removeMapping(current, folio);
}

/** Takes a clean page that nobody maps out of its cache, unless somebody else has a reference. */
function* removeMapping(current: TaskStruct, folio: number): Task<Fate> {
  const { kernel } = current;
  const { frames } = kernel;
  if (frames.hasFlag(folio, Anon) && !frames.hasFlag(folio, SwapBacked)) {
    yield frames.refPoint(folio);
    if (frames.refcount(folio) !== 1) return Fate.Keep;
  } else if (frames.hasFlag(folio, SwapCache)) {
    yield swapAreaOf(kernel).change;
    if (!onlyOurs(current, folio)) return Fate.Keep;
    removeFromSwapCache(kernel, folio);
    frames.put(folio);
  } else {
    const mapping = frames.mapping(folio);
    if (!(mapping instanceof AddressSpace)) return Fate.Keep;
    yield mapping.change;
    if (!onlyOurs(current, folio)) return Fate.Keep;
    mapping.remove(frames, frames.index(folio));
  }
  yield* folioUnlock(current, folio);
  return Fate.Freed;
}

/** No reference but ours and the cache's, and not written to. Both in one step: nobody can come by a new one after. */
function onlyOurs({ kernel: { frames } }: TaskStruct, folio: number): boolean {
  const expected = frames.isLarge(folio) ? 1 + cacheReferences(frames, folio) : OURS_AND_CACHE;
  return frames.refcount(folio) === expected && !frames.hasFlag(folio, Dirty);
}
