/**
 * How a walk ends in a fault: what is kept of it, and what an observer is told. The walk itself is `walker.ts`, which
 * extends this.
 */
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { FaultKind, FaultSlot } from '../fault.ts';
import { EntrySource, type WalkObserver } from '../walk-observer.ts';
import type { AddressRange } from './address-range.ts';
import { Reason } from './fault-reasons.ts';
import type { PermissionMemo } from './permissions.ts';

/** Where the descriptor for an address is in its table of `level`, in bytes. */
export function entryOffset(hi: number, lo: number, level: number, range: AddressRange): number {
  const shift = range.granuleShift + (level - 1) * range.stride;
  const index = shift >= 32 ? hi >>> (shift - 32) : (lo >>> shift) | (hi << (32 - shift));
  const mask = level === range.topLevel ? range.topIndexMask : (1 << range.stride) - 1;
  return (index & mask) << 3;
}

export class WalkFaults {
  readonly memory: PhysicalMemory;
  readonly memo: PermissionMemo;
  readonly fault = new FaultSlot();
  protected observer: WalkObserver | null = null;
  /** The table that is being read, and the place in it of the descriptor read last, in bytes. */
  protected tableHi = 0;
  protected tableLo = 0;
  protected offset = 0;

  constructor(memory: PhysicalMemory, memo: PermissionMemo) {
    this.memory = memory;
    this.memo = memo;
  }

  /** Tells the observer of a descriptor that was read, and of what was changed in it. */
  protected tellEntry(level: number, entryHi: number, oldLo: number, newLo: number): void {
    const addressLo = this.tableLo | this.offset;
    this.observer?.entry(level, EntrySource.Memory, this.tableHi, addressLo, entryHi, oldLo);
    if (newLo !== oldLo) this.observer?.update(level, this.tableHi, addressLo, oldLo, newLo);
  }

  /** A descriptor at which the walk ends. */
  protected stop(
    kind: FaultKind,
    hi: number,
    lo: number,
    access: number,
    level: number,
    entryHi: number,
    entryLo: number,
    reasons = 0,
  ): FaultKind {
    if (this.observer !== null) this.tellEntry(level, entryHi, entryLo, entryLo);
    this.setFault(kind, hi, lo, access, reasons, level);
    const fault = this.fault;
    fault.entryAddressHi = this.tableHi;
    fault.entryAddressLo = this.tableLo | this.offset;
    fault.entryHi = entryHi;
    fault.entryLo = entryLo;
    return kind;
  }

  /** The table of `level` lies outside memory: an External abort on the walk. */
  protected bus(hi: number, lo: number, access: number, level: number): FaultKind {
    this.setFault(FaultKind.Bus, hi, lo, access, 0, level);
    this.fault.entryAddressHi = this.tableHi;
    this.fault.entryAddressLo = this.tableLo | this.offset;
    return FaultKind.Bus;
  }

  /**
   * Why a walk of this range cannot even begin: unprivileged accesses are turned away, or there are no walks.
   * @returns 0 when it can
   */
  refuse(hi: number, lo: number, access: number, range: AddressRange): FaultKind {
    const e0pd = (this.memo.reasons(access, range.rightsBase) & Reason.E0pd) !== 0;
    if (e0pd && range.walkReason !== Reason.RegionSize) {
      return this.setFault(FaultKind.NotPresent, hi, lo, access, Reason.E0pd);
    }
    if (range.walkFault === FaultKind.None) return FaultKind.None;
    return this.setFault(range.walkFault, hi, lo, access, range.walkReason);
  }

  /** Fills in the fault slot for a fault that no descriptor in memory decided. @param level 0 when none was read */
  setFault(kind: FaultKind, hi: number, lo: number, access: number, reasons: number, level = 0): FaultKind {
    const fault = this.fault;
    fault.kind = kind;
    fault.addressHi = hi;
    fault.addressLo = lo;
    fault.access = access;
    fault.reasons = reasons;
    fault.level = level;
    fault.entryAddressHi = 0;
    fault.entryAddressLo = 0;
    fault.entryHi = 0;
    fault.entryLo = 0;
    return kind;
  }
}
