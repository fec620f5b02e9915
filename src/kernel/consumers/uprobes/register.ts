/**
 * Putting a breakpoint into every mapping of a file, and taking it out: fork is kept out meanwhile, the mappings are
 * gathered by the file's rmap, and each is looked up anew under its mmap_lock, held for writing.
 * Left out: the wait for handlers that still run (`uprobe_unregister_sync`), which here are single steps.
 * @see Linux kernel/events/uprobes.c, `uprobe_register`, `uprobe_unregister_nosync`, `register_for_each_vma`
 */
import type { Task } from '../../../base/task.ts';
import { EINVAL, EIO } from '../../errno.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { mmapWriteLock, mmapWriteUnlock } from '../../lock/mmap-lock.ts';
import { firstMapping, nextMapping } from '../../mm/i-mmap.ts';
import { MMF_HAS_UPROBES, MMF_UNSTABLE, type MmStruct } from '../../mm/mm.ts';
import { mmgetNotZero, mmput } from '../../mm/mm-lifetime.ts';
import type { VmArea } from '../../mm/vma.ts';
import type { TaskStruct } from '../../task-struct.ts';
import { installBreakpoint, isProbeVma, removeBreakpoint } from './install.ts';
import { type Uprobes, uprobesOf } from './mappings.ts';
import {
  addressToOffset,
  consumerFilter,
  offsetToAddress,
  type Uprobe,
  type UprobeConsumer,
} from './uprobe.ts';

/** Where a mapping was when the rmap was walked: it may be another one by the time its lock is taken. */
interface MapInfo {
  readonly mm: MmStruct;
  readonly address: bigint;
}

/** Every mapping of the offset, the one found last first, with a reference to its mm. @see `build_map_info` */
function* buildMapInfo(current: TaskStruct, uprobe: Uprobe, isRegister: boolean): Task<MapInfo[]> {
  const { mapping, offset } = uprobe;
  const index = Math.floor(offset / 4096);
  const found: MapInfo[] = [];
  yield* mapping.iMmapRwsem.downRead(current);
  let vma = firstMapping(mapping, index, index);
  while (vma !== null) {
    const { mm } = vma;
    if (isProbeVma(vma, isRegister) && (yield* mmgetNotZero(mm))) {
      found.unshift({ mm, address: offsetToAddress(vma, offset) });
    }
    vma = nextMapping(mapping, vma, index, index);
  }
  yield* mapping.iMmapRwsem.upRead(current);
  return found;
}

/** The VMA that maps the offset at that address still, or null. */
function probedVma(uprobe: Uprobe, { mm, address }: MapInfo, isRegister: boolean): VmArea | null {
  if ((mm.flagBits & MMF_UNSTABLE) !== 0) return null;
  const vma = mm.vmas.lookup(Number(address >> 12n));
  if (vma === null || !isProbeVma(vma, isRegister) || vma.file?.mapping !== uprobe.mapping) return null;
  return addressToOffset(vma, address) === uprobe.offset ? vma : null;
}

/**
 * Sets the breakpoint for `consumer`, or with null takes it from where nobody wants it any more. Setting stops at the first
 * error; removing goes on, and its errors are put together.
 */
function* registerForEachVma(
  current: TaskStruct,
  uprobes: Uprobes,
  uprobe: Uprobe,
  consumer: UprobeConsumer | null,
): Task<number> {
  const { dupMmapSem } = current.kernel;
  yield* dupMmapSem.downWrite(current);
  let error = 0;
  for (const info of yield* buildMapInfo(current, uprobe, consumer !== null)) {
    const { mm } = info;
    if (error === 0 || consumer === null) {
      // For writing, so that no task can meet the breakpoint and not find its uprobe.
      yield* mmapWriteLock(current, mm);
      const vma = probedVma(uprobe, info, consumer !== null);
      if (vma !== null) error |= yield* changeOne(current, uprobes, uprobe, vma, info.address, consumer);
      yield* mmapWriteUnlock(current, mm);
    }
    yield* mmput(current, mm);
  }
  yield* dupMmapSem.upWrite(current);
  return error;
}

function* changeOne(
  current: TaskStruct,
  { tree }: Uprobes,
  uprobe: Uprobe,
  vma: VmArea,
  address: bigint,
  consumer: UprobeConsumer | null,
): Task<number> {
  const { mm } = vma;
  if (consumer !== null) {
    // Only the new consumer is asked: the others have theirs.
    if (!consumerFilter(consumer, mm)) return 0;
    return yield* installBreakpoint(current, tree, uprobe, vma, address);
  }
  if ((mm.flagBits & MMF_HAS_UPROBES) === 0 || (yield* uprobe.filterChain(current, mm))) return 0;
  return yield* removeBreakpoint(current, tree, uprobe, vma, address);
}

/**
 * Registers `consumer` for a place of a file, of which the caller keeps a reference. The uprobe, or -EINVAL (beyond the
 * file, not aligned, another reference counter there), -EIO (pages that no probe can be in), or the error of a mapping:
 * -ENOTSUPP (a breakpoint is the file's own), -ENOMEM, -EFAULT …
 * @param offset bytes into the file. @param refCtrOffset of the counter, 0: none
 */
export function* uprobeRegister(
  current: TaskStruct,
  mapping: AddressSpace,
  offset: number,
  refCtrOffset: number,
  consumer: UprobeConsumer,
): Task<Uprobe | number> {
  if (mapping.huge !== null || !mapping.shmem) return -EIO;
  if (offset > mapping.sizeBytes) return -EINVAL;
  if (offset % current.kernel.arch.probes.breakpoint.length !== 0 || refCtrOffset % 2 !== 0) return -EINVAL;
  const uprobes = uprobesOf(current.kernel);
  const uprobe = yield* uprobes.tree.alloc(mapping, offset, refCtrOffset);
  if (typeof uprobe === 'number') return uprobe;
  yield* uprobe.registerRwsem.downWrite(current);
  yield* uprobe.consumerRwsem.downWrite(current);
  uprobe.consumers.unshift(consumer);
  yield* uprobe.consumerRwsem.upWrite(current);
  const error = yield* registerForEachVma(current, uprobes, uprobe, consumer);
  yield* uprobe.registerRwsem.upWrite(current);
  if (error === 0) return uprobe;
  yield* uprobeUnregister(current, uprobe, consumer);
  return error;
}

/** Takes the consumer away, and the breakpoint where nobody else wants it. What cannot be removed stays for ever. */
export function* uprobeUnregister(current: TaskStruct, uprobe: Uprobe, consumer: UprobeConsumer): Task<void> {
  const uprobes = uprobesOf(current.kernel);
  yield* uprobe.registerRwsem.downWrite(current);
  yield* uprobe.consumerRwsem.downWrite(current);
  uprobe.consumers.splice(uprobe.consumers.indexOf(consumer), 1);
  yield* uprobe.consumerRwsem.upWrite(current);
  const error = yield* registerForEachVma(current, uprobes, uprobe, null);
  yield* uprobe.registerRwsem.upWrite(current);
  if (error === 0) yield* uprobes.tree.put(current, uprobe);
}
