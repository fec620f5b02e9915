/**
 * Breakpoints that belong to an offset of a file and stand in every mapping of it: what is known of one, and of all.
 * Left out: return probes, the grace periods before one is freed, the lockless lookup's own sequence count.
 * @see Linux kernel/events/uprobes.c, `struct uprobe`, `alloc_uprobe`, `put_uprobe`
 */
import { PointKind, SchedPoint, SharedObject, StepCost, type Task } from '../../../base/task.ts';
import { EINVAL } from '../../errno.ts';
import type { AddressSpace } from '../../frame/address-space.ts';
import { RwSemaphore } from '../../lock/rwsem.ts';
import type { MmStruct } from '../../mm/mm.ts';
import type { VmArea } from '../../mm/vma.ts';
import type { TaskStruct } from '../../task-struct.ts';

/** What a handler gives that does not want the breakpoint in this address space any more (`UPROBE_HANDLER_REMOVE`). */
export const UPROBE_HANDLER_REMOVE = 1;

/** Somebody who is told of hits. */
export interface UprobeConsumer {
  /** A hit, in the task that made it. 0 or UPROBE_HANDLER_REMOVE. */
  handler(current: TaskStruct, uprobe: Uprobe): number;
  /** Is the breakpoint wanted in this address space? Absent: in all. */
  readonly filter?: (mm: MmStruct) => boolean;
}

export class Uprobe extends SharedObject {
  readonly mapping: AddressSpace;
  /** Bytes into the file. */
  readonly offset: number;
  /** Bytes into the file of a 16-bit count of those who listen; 0: none. */
  readonly refCtrOffset: number;
  refcount = 1;
  /** One registration or removal at a time. */
  readonly registerRwsem: RwSemaphore;
  /** Of `consumers`, and of finding the instruction out. */
  readonly consumerRwsem: RwSemaphore;
  /** The newest first. */
  readonly consumers: UprobeConsumer[] = [];
  /** The bytes of the file there; null until the first breakpoint is to be set (`UPROBE_COPY_INSN`). */
  instruction: Uint8Array | null = null;

  constructor(mapping: AddressSpace, offset: number, refCtrOffset: number) {
    super(`uprobe ${mapping.name}+${offset}`);
    this.mapping = mapping;
    this.offset = offset;
    this.refCtrOffset = refCtrOffset;
    this.registerRwsem = new RwSemaphore(`register_rwsem ${this.name}`);
    this.consumerRwsem = new RwSemaphore(`consumer_rwsem ${this.name}`);
  }

  /** Does anybody want it in `mm`? @see `filter_chain` */
  *filterChain(current: TaskStruct, mm: MmStruct): Task<boolean> {
    yield* this.consumerRwsem.downRead(current);
    const wanted = this.consumers.some((consumer) => consumerFilter(consumer, mm));
    yield* this.consumerRwsem.upRead(current);
    return wanted;
  }
}

export const consumerFilter = ({ filter }: UprobeConsumer, mm: MmStruct): boolean => filter?.(mm) ?? true;

/** A reference counter that an address space does not map yet. @see `struct delayed_uprobe` */
interface DelayedUprobe {
  readonly uprobe: Uprobe;
  readonly mm: MmStruct;
}

/** All uprobes of a kernel. */
export class UprobeTree extends SharedObject {
  readonly #byFile = new Map<AddressSpace, Map<number, Uprobe>>();
  /** One VMA of a file gets its breakpoints at a time (`uprobes_mmap_mutex`, a hash of which Linux has 13). */
  readonly #mmapMutexes = new Map<AddressSpace, RwSemaphore>();
  readonly delayed: DelayedUprobe[] = [];
  readonly delayedMutex = new RwSemaphore('delayed_uprobe_lock');
  /** Just before one is added or taken out (`uprobes_treelock`). */
  readonly change: SchedPoint;
  /** Just before one is looked for. */
  readonly look: SchedPoint;

  constructor() {
    super('uprobes_tree');
    this.change = new SchedPoint(PointKind.Write, this, 'uprobes_treelock', StepCost.AtomicUpdate);
    this.look = new SchedPoint(PointKind.Read, this, 'find_uprobe_rcu', StepCost.SharedLoad);
  }

  get empty(): boolean {
    return this.#byFile.size === 0;
  }

  mmapMutex(mapping: AddressSpace): RwSemaphore {
    const known = this.#mmapMutexes.get(mapping);
    if (known !== undefined) return known;
    const made = new RwSemaphore(`uprobes_mmap_mutex ${mapping.name}`);
    this.#mmapMutexes.set(mapping, made);
    return made;
  }

  /** One step. */
  find(mapping: AddressSpace, offset: number): Uprobe | null {
    return this.#byFile.get(mapping)?.get(offset) ?? null;
  }

  /** In ascending order of offsets. Bytes, `end` exclusive. One step. */
  inRange(mapping: AddressSpace, first: number, end: number): Uprobe[] {
    const found = [...(this.#byFile.get(mapping)?.values() ?? [])];
    return found
      .filter(({ offset }) => offset >= first && offset < end)
      .sort((one, other) => one.offset - other.offset);
  }

  /** The one at this place with one reference more, or a new one; -EINVAL: it has another counter. @see `alloc_uprobe` */
  *alloc(mapping: AddressSpace, offset: number, refCtrOffset: number): Task<Uprobe | number> {
    yield this.change;
    const known = this.find(mapping, offset);
    if (known !== null) {
      if (known.refCtrOffset !== refCtrOffset) return -EINVAL;
      known.refcount++;
      return known;
    }
    const made = new Uprobe(mapping, offset, refCtrOffset);
    const ofFile = this.#byFile.get(mapping) ?? new Map<number, Uprobe>();
    ofFile.set(offset, made);
    this.#byFile.set(mapping, ofFile);
    return made;
  }

  /** The last reference takes it out of the tree. @see `put_uprobe`, `uprobe_free_deferred` */
  *put(current: TaskStruct, uprobe: Uprobe): Task<void> {
    yield this.change;
    uprobe.refcount--;
    if (uprobe.refcount > 0) return;
    const ofFile = this.#byFile.get(uprobe.mapping);
    ofFile?.delete(uprobe.offset);
    if (ofFile?.size === 0) this.#byFile.delete(uprobe.mapping);
    // A program that unmapped its code took the breakpoint away, but not what is put off.
    yield* this.forgetDelayed(current, (delayed) => delayed.uprobe === uprobe);
  }

  *forgetDelayed(current: TaskStruct, which: (delayed: DelayedUprobe) => boolean): Task<void> {
    yield* this.delayedMutex.downWrite(current);
    for (let at = this.delayed.length - 1; at >= 0; at--) {
      if (which(this.delayed[at] as DelayedUprobe)) this.delayed.splice(at, 1);
    }
    yield* this.delayedMutex.upWrite(current);
  }
}

/** The byte address of a file offset in a VMA of the file. */
export function offsetToAddress(vma: VmArea, offset: number): bigint {
  return (BigInt(vma.start - vma.pgoff) << 12n) + BigInt(offset);
}

/** The file offset of a byte address in a VMA. */
export function addressToOffset(vma: VmArea, address: bigint): number {
  return Number(address - (BigInt(vma.start) << 12n)) + vma.pgoff * 4096;
}
