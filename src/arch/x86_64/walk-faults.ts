/**
 * How a walk ends in a fault: what is kept of it, and what an observer is told. The walk itself is `walker.ts`, which
 * extends this.
 */
import type { PhysicalMemory } from '../../hardware/physical-memory.ts';
import { Access } from '../access.ts';
import { FaultKind, FaultSlot } from '../fault.ts';
import { EntrySource, type WalkObserver } from '../walk-observer.ts';
import { Entry } from './entries.ts';
import {
  checkAccess,
  fetchIsReported,
  type PermissionControls,
  type PermissionMemo,
  Reason,
  reasonsAgainst,
} from './permissions.ts';

const { P } = Entry;

/** Where the entry for an address is in its table of `level`, in bytes: nine bits of the address times 8. */
export function entryOffset(hi: number, lo: number, level: number): number {
  if (level <= 2) return (lo >>> (level === 1 ? 9 : 18)) & 0xff8;
  if (level === 3) return ((hi << 5) | (lo >>> 27)) & 0xff8;
  return (hi >>> (level === 4 ? 4 : 13)) & 0xff8;
}

export class WalkFaults {
  readonly memory: PhysicalMemory;
  readonly memo: PermissionMemo;
  readonly fault = new FaultSlot();
  protected readonly controls: PermissionControls;
  protected observer: WalkObserver | null = null;
  /** The table that is being read. */
  protected tableHi = 0;
  protected tableLo = 0;

  constructor(memory: PhysicalMemory, memo: PermissionMemo, controls: PermissionControls) {
    this.memory = memory;
    this.memo = memo;
    this.controls = controls;
  }

  /** Tells the observer of an entry that was read, and of the flags set in it. */
  protected tellEntry(level: number, index: number, entryHi: number, oldLo: number, newLo: number): void {
    const entryAddressHi = this.tableHi;
    const entryAddressLo = this.tableLo | ((index << 2) & 0xfff);
    this.observer?.entry(level, EntrySource.Memory, entryAddressHi, entryAddressLo, entryHi, oldLo);
    if (newLo !== oldLo) this.observer?.update(level, entryAddressHi, entryAddressLo, oldLo, newLo);
  }

  /** An entry that is not present or has a reserved bit set. Reserved bits are not looked at where P = 0. */
  protected stop(
    hi: number,
    lo: number,
    access: number,
    level: number,
    index: number,
    entryHi: number,
    entryLo: number,
  ): FaultKind {
    if (this.observer !== null) this.tellEntry(level, index, entryHi, entryLo, entryLo);
    const kind = (entryLo & P) === 0 ? FaultKind.NotPresent : FaultKind.Reserved;
    return this.fail(
      kind,
      hi,
      lo,
      access,
      level,
      this.tableHi,
      this.tableLo | ((index << 2) & 0xfff),
      entryHi,
      entryLo,
      0,
    );
  }

  protected deny(
    hi: number,
    lo: number,
    access: number,
    level: number,
    index: number,
    entryHi: number,
    entryLo: number,
    rights: number,
  ): number {
    if (this.observer !== null) this.tellEntry(level, index, entryHi, entryLo, entryLo);
    const entryAddressLo = this.tableLo | ((index << 2) & 0xfff);
    const reasons = this.reasons(rights, access);
    this.fail(
      FaultKind.Permission,
      hi,
      lo,
      access,
      level,
      this.tableHi,
      entryAddressLo,
      entryHi,
      entryLo,
      reasons,
    );
    return -1;
  }

  /** The table of `level` lies outside memory. */
  protected bus(hi: number, lo: number, access: number, level: number): FaultKind {
    const entryAddressLo = this.tableLo | entryOffset(hi, lo, level);
    return this.fail(FaultKind.Bus, hi, lo, access, level, this.tableHi, entryAddressLo, 0, 0, 0);
  }

  /** Every `Reason` against an access, as things stand. */
  reasons(rights: number, access: number): number {
    return reasonsAgainst(rights, access, this.memo.alignmentCheckBit !== 0, this.controls);
  }

  protected fail(
    kind: FaultKind,
    hi: number,
    lo: number,
    access: number,
    level: number,
    entryAddressHi: number,
    entryAddressLo: number,
    entryHi: number,
    entryLo: number,
    reasons: number,
  ): FaultKind {
    this.setFault(kind, hi, lo, access, reasons);
    const fault = this.fault;
    fault.level = level;
    fault.entryAddressHi = entryAddressHi;
    fault.entryAddressLo = entryAddressLo;
    fault.entryHi = entryHi;
    fault.entryLo = entryLo;
    return kind;
  }

  /** Fills in the fault slot for a fault that no entry decided. */
  setFault(kind: FaultKind, hi: number, lo: number, access: number, reasons: number): void {
    checkAccess(access, this.controls);
    const fault = this.fault;
    fault.kind = kind;
    fault.addressHi = hi;
    fault.addressLo = lo;
    fault.access = access;
    const reported = (access & Access.Fetch) !== 0 && fetchIsReported(this.controls);
    fault.reasons = reported ? reasons | Reason.FetchIsReported : reasons;
    fault.level = 0;
    fault.entryAddressHi = 0;
    fault.entryAddressLo = 0;
    fault.entryHi = 0;
    fault.entryLo = 0;
  }
}
