/**
 * What an instruction of a program does to memory: every byte translated by the CPU's MMU with user rights, faults
 * handed to the kernel and the instruction started anew, until it is through or a signal ends it.
 * An instruction is one step: nothing else happens between its first and last byte, as on hardware that holds the line;
 * one that crosses into a second page translates both before it moves anything.
 */
import { Access } from '../../arch/access.ts';
import type { FaultSlot } from '../../arch/fault.ts';
import type { Mmu } from '../../arch/mmu.ts';
import { EntryFlag } from '../../arch/paging-format.ts';
import type { Task } from '../../base/task.ts';
import { fromHalves, hex, highHalf, lowHalf } from '../../base/u64.ts';
import { frameDataKey } from '../../hardware/footprint-keys.ts';
import { rootTable } from '../../kernel/mm/page-table-alloc.ts';
import { noteAccess } from '../../kernel/mm/translation-footprint.ts';
import { handleUserFault } from '../../kernel/mm/user-access.ts';
import type { SignalInfo } from '../../kernel/signal.ts';
import type { TaskStruct } from '../../kernel/task-struct.ts';

import { signalCodeName, signalName } from './signal-names.ts';

const PAGE_SIZE = 4096n;

/** The MMU of the CPU that `task` runs on. */
function mmuOf(task: TaskStruct): Mmu {
  return task.kernel.arch.mmus[task.cpu] as Mmu;
}

/** Bytes of [address, address + length) up to the end of the first page. */
function firstPart(address: bigint, length: number): number {
  const left = Number(PAGE_SIZE - (address % PAGE_SIZE));
  return length < left ? length : left;
}

/**
 * Loads at most 8 bytes at any alignment into `target`.
 * @returns null, or the signal that ended it
 */
export function* userLoad(task: TaskStruct, address: bigint, target: Uint8Array): Task<SignalInfo | null> {
  const mmu = mmuOf(task);
  const access = Access.Read | Access.User;
  const signal = yield* translateBoth(task, address, target.length, access);
  if (signal !== null) return signal;
  const split = firstPart(address, target.length);
  mmu.readBytes(highHalf(address), lowHalf(address), access, target.subarray(0, split));
  if (split < target.length) {
    const second = BigInt.asUintN(64, address + BigInt(split));
    mmu.readBytes(highHalf(second), lowHalf(second), access, target.subarray(split));
  }
  return null;
}

/** Stores at most 8 bytes at any alignment: all of them, or none and the signal that ended it. */
export function* userStore(task: TaskStruct, address: bigint, source: Uint8Array): Task<SignalInfo | null> {
  const mmu = mmuOf(task);
  const access = Access.Write | Access.User;
  const signal = yield* translateBoth(task, address, source.length, access);
  if (signal !== null) return signal;
  const split = firstPart(address, source.length);
  mmu.writeBytes(highHalf(address), lowHalf(address), access, source.subarray(0, split));
  if (split < source.length) {
    const second = BigInt.asUintN(64, address + BigInt(split));
    mmu.writeBytes(highHalf(second), lowHalf(second), access, source.subarray(split));
  }
  return null;
}

/** Fetches an instruction of one byte. */
export function* userFetch(task: TaskStruct, address: bigint): Task<SignalInfo | null> {
  return yield* translateBoth(task, address, 1, Access.Fetch | Access.User);
}

/**
 * One atomic read-modify-write of 8 bytes: needs the right to write, and sets dirty, also where `update` leaves the value
 * (null).
 */
export function* userAtomic(
  task: TaskStruct,
  address: bigint,
  update: (old: bigint) => bigint | null,
): Task<SignalInfo | null> {
  const mmu = mmuOf(task);
  const access = Access.Write | Access.Atomic | Access.User;
  const [hi, lo] = [highHalf(address), lowHalf(address)];
  noteAccess(task, address, true);
  while (mmu.read64(hi, lo, access) !== 0) {
    const signal = yield* faultSignal(task, mmu);
    if (signal !== null) return signal;
    noteAccess(task, address, true);
  }
  const { footprint } = task.kernel.machine;
  if (footprint.enabled) footprint.read(frameDataKey(mmu.paHi * 0x10_0000 + (mmu.paLo >>> 12)));
  const value = update(fromHalves(mmu.valueHi, mmu.valueLo));
  if (value !== null) mmu.write64(hi, lo, access, highHalf(value), lowHalf(value));
  return null;
}

/** The fault that `fault` names goes to the kernel: null to make the access again, or the signal that ends it. */
export function* faultSignal(
  task: TaskStruct,
  { fault }: { readonly fault: FaultSlot },
): Task<SignalInfo | null> {
  const at = fromHalves(fault.addressHi, fault.addressLo);
  const signal = yield* handleUserFault(task);
  if (task.kernel.events.enabled) emitFaultDone(task, at, signal);
  return signal;
}

/** Until every byte can be translated at the same moment; faults go to the kernel. */
function* translateBoth(
  task: TaskStruct,
  address: bigint,
  length: number,
  access: number,
): Task<SignalInfo | null> {
  const split = firstPart(address, length);
  const mmu = mmuOf(task);
  while (faults(task, mmu, address, length, split, access)) {
    const signal = yield* faultSignal(task, mmu);
    if (signal !== null) return signal;
  }
  return null;
}

function faults(
  task: TaskStruct,
  mmu: Mmu,
  address: bigint,
  length: number,
  split: number,
  access: number,
): boolean {
  const write = (access & Access.Write) !== 0;
  noteAccess(task, address, write);
  if (split >= length) return mmu.translateBytes(highHalf(address), lowHalf(address), access, split) !== 0;
  const second = BigInt.asUintN(64, address + BigInt(split));
  noteAccess(task, second, write);
  // Both pages are translated before the tags of the first one are looked at.
  if (mmu.translate(highHalf(address), lowHalf(address), access) !== 0) return true;
  if (mmu.translate(highHalf(second), lowHalf(second), access) !== 0) return true;
  if (mmu.translateBytes(highHalf(address), lowHalf(address), access, split) !== 0) return true;
  return mmu.translateBytes(highHalf(second), lowHalf(second), access, length - split) !== 0;
}

/** How the kernel answered a fault: the signal, or what the page table maps now. */
function emitFaultDone(task: TaskStruct, address: bigint, signal: SignalInfo | null): void {
  const { events, machine } = task.kernel;
  const result =
    signal === null
      ? describePage(task, Number(task.kernel.arch.untaggedAddress(task.cpu, address) >> 12n))
      : `${signalName(signal.signal)} ${signalCodeName(signal.signal, signal.code)}`;
  const { time } = machine.cpu(task.cpu);
  events.emit({ kind: 'fault-done', time, cpu: task.cpu, task: task.name, address, result });
}

function describePage({ mm, kernel }: TaskStruct, page: number): string {
  const { pageTables, frames } = kernel;
  const level = mm === null ? -1 : pageTables.lookupLeaf(rootTable(mm), page);
  const flags = level === -1 ? 0 : pageTables.flags(level);
  if ((flags & EntryFlag.Present) === 0) return 'nothing is mapped yet, tried again';
  const frame = pageTables.frameInLeaf(page, level);
  if (frames.isZeroFrame(frame)) return 'the zero page';
  const rights = (flags & EntryFlag.Write) !== 0 ? 'writable' : 'read-only';
  if ((flags & EntryFlag.Special) !== 0) return `frame ${hex(frame)} of a device, ${rights}`;
  const mapped = frames.mapcount(frame);
  return `frame ${hex(frame)}, ${rights}${mapped > 1 ? `, mapped ${mapped} times` : ''}`;
}
