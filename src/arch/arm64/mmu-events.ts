/**
 * Page walks, TLB fills, invalidations, faults and failed tag checks of one CPU as events. A translation that a TLB
 * answers makes none.
 * Left out: the second-level TLB's own fills (a walk fills both levels), what the walk caches keep.
 */
import { fromHalves, hex, hexAddress } from '../../base/u64.ts';
import type { MachineEvent } from '../../hardware/event-sink.ts';
import { FaultKind } from '../fault.ts';
import type { MmuEventOptions } from '../mmu-events.ts';
import { type CacheName, EntrySource, type WalkObserver } from '../walk-observer.ts';
import { Cached } from './cached-translation.ts';
import { type DescriptorContext, layoutOfDescriptor, pageLayout } from './entries.ts';
import { ExceptionClass, faultEsr, faultFar, faultStatus } from './fault-code.ts';
import { flushEventName } from './invalidation.ts';
import {
  DATA_ABORT_CLASSES,
  ESR_EL1,
  ESR_EL1_DATA_ABORT,
  EXCEPTION_CLASSES,
  faultStatusName,
  INSTRUCTION_ABORT_CLASSES,
} from './registers.ts';
import { tableShape } from './table-shape.ts';
import { TLBI_OPERATIONS, type TlbiOperation } from './tlbi.ts';
import type { Translation } from './translation.ts';

type FlushScope = Extract<MachineEvent, { readonly kind: 'tlb-flush' }>['scope'];

/** Levels of the seam count from 1, the last one; those of the architecture from 3 down. */
const levelName = (level: number): string => `level ${4 - level}`;

export class Arm64MmuEvents implements WalkObserver {
  readonly #mmu: Translation;
  readonly #cpu: number;
  readonly #options: MmuEventOptions;
  #address = 0n;
  #levels: string[] = [];
  #walked = false;
  #filled = false;

  constructor(mmu: Translation, cpu: number, options: MmuEventOptions) {
    this.#mmu = mmu;
    this.#cpu = cpu;
    this.#options = options;
  }

  begin(hi: number, lo: number, _access: number): void {
    this.#address = fromHalves(hi, lo);
    this.#levels = [];
    this.#walked = false;
    this.#filled = false;
  }

  entry(level: number, source: EntrySource, atHi: number, atLo: number, hi: number, lo: number): void {
    this.#walked = true;
    if (source === EntrySource.Cache) {
      this.#levels.push(`${levelName(level)} from the walk cache`);
      return;
    }
    const value = fromHalves(hi, lo);
    const fields = layoutOfDescriptor(value, this.#context(level)).format(value);
    this.#levels.push(
      `${levelName(level)} at ${hex(fromHalves(atHi, atLo))} = ${hex(value)} ${fields}`.trimEnd(),
    );
  }

  update(level: number, _atHi: number, _atLo: number, oldLo: number, newLo: number): void {
    const changes: string[] = [];
    if ((newLo & ~oldLo & ACCESS_FLAG) !== 0) changes.push('sets AF');
    if ((oldLo & ~newLo & READ_ONLY) !== 0) changes.push('clears bit 7: dirty');
    this.#levels.push(`${levelName(level)} ${changes.join(' and ')}`);
  }

  hit(_cache: CacheName, _hi: number, _lo: number): void {}

  rewalk(_cache: CacheName, _hi: number, _lo: number): void {
    this.#levels.push('the TLB has a translation that does not allow this; walked again');
  }

  fill(_cache: CacheName, _level: number, _hi: number, _lo: number): void {
    this.#filled = true;
  }

  flush(scope: number, context: number, hi: number, lo: number, _dropped: number, pages = 0): void {
    const { events } = this.#options;
    if (!events.enabled) return;
    const operation = TLBI_OPERATIONS[scope];
    const kind = operation === undefined ? 'all' : scopeOf(operation);
    const addressed = kind === 'page' || kind === 'range';
    events.emit({
      kind: 'tlb-flush',
      ...this.#place(),
      scope: kind,
      reason: flushEventName(scope),
      ...(addressed ? { address: fromHalves(hi, lo) } : {}),
      ...(kind === 'range' ? { pages } : {}),
      ...(kind === 'all' || context < 0 ? {} : { asid: context }),
    });
  }

  end(kind: number, paHi: number, paLo: number, _reasons: number): void {
    const { events } = this.#options;
    if (!events.enabled) return;
    const physical = fromHalves(paHi, paLo);
    const faulted = kind !== FaultKind.None;
    const address = this.#address;
    if (this.#walked) {
      const result = faulted ? this.#cause() : hex(physical);
      events.emit({ kind: 'walk', ...this.#place(), address, levels: this.#levels, result });
    }
    if (this.#filled && !faulted) this.#emitFill(physical);
    if (faulted) this.#emitFault();
  }

  raised(): void {
    if (this.#options.events.enabled) this.#emitFault();
  }

  tagCheckNoted(hi: number, lo: number, user: boolean): void {
    const { events } = this.#options;
    if (!events.enabled) return;
    const upper = ((hi >>> 23) & 1) === 1;
    const flag = `${user ? 'TFSRE0_EL1' : 'TFSR_EL1'}.${upper ? 'TF1' : 'TF0'}`;
    const address = fromHalves(hi, lo);
    events.emit({ kind: 'tag-check', ...this.#place(), task: this.#task(), address, flag });
  }

  /** With FAR_EL1, where the exception sets it. */
  #emitFault(): void {
    const { fault } = this.#mmu;
    const esr = faultEsr(fault);
    const far = faultFar(fault);
    const setsFar = !WITHOUT_FAR.includes(Number(ESR_EL1.get(esr, 'EC')));
    const registers = `ESR_EL1 ${hex(esr)}${setsFar ? `, FAR_EL1 ${hexAddress(far)}` : ''}`;
    this.#options.events.emit({
      kind: 'fault',
      ...this.#place(),
      task: this.#task(),
      address: far,
      syndrome: `${this.#cause()} (${registers})`,
    });
  }

  #emitFill(physical: bigint): void {
    const { pageShift, dataHi, asid } = this.#mmu;
    const inside = (1n << BigInt(pageShift)) - 1n;
    this.#options.events.emit({
      kind: 'tlb-fill',
      ...this.#place(),
      // Without its tag: the top byte is as bit 55.
      address: BigInt.asUintN(64, BigInt.asIntN(56, this.#address)) & ~inside,
      frame: Number((physical & ~inside) >> 12n),
      pageBytes: 2 ** pageShift,
      asid: (dataHi & Cached.GLOBAL) !== 0 ? -1 : asid,
    });
  }

  /** `Data Abort from a lower Exception level, Permission fault, level 3, WnR`. */
  #cause(): string {
    const { fault } = this.#mmu;
    const esr = faultEsr(fault);
    const exceptionClass = Number(ESR_EL1.get(esr, 'EC'));
    const parts = [EXCEPTION_CLASSES[exceptionClass] ?? `exception class ${exceptionClass}`];
    const data = DATA_ABORT_CLASSES.includes(exceptionClass);
    if (data || INSTRUCTION_ABORT_CLASSES.includes(exceptionClass)) {
      parts.push(faultStatusName(faultStatus(fault)));
    }
    if (data) {
      for (const name of ['WnR', 'DirtyBit', 'Overlay'] as const) {
        if (ESR_EL1_DATA_ABORT.has(esr, name)) parts.push(name);
      }
    }
    return parts.join(', ');
  }

  #context(level: number): DescriptorContext {
    const upper = ((this.#address >> 55n) & 1n) === 1n;
    const { granule, lpa } = tableShape(this.#mmu.state, this.#mmu.features, upper);
    return { granule, lpa, level: 4 - level };
  }

  #place(): { readonly time: number; readonly cpu: number } {
    return { time: this.#options.machine.cpu(this.#cpu).time, cpu: this.#cpu };
  }

  #task(): string {
    return this.#options.taskOn(this.#cpu);
  }
}

/** Classes of exceptions that leave FAR_EL1 UNKNOWN. @see Arm ARM (DDI 0487), "FAR_EL1" */
const WITHOUT_FAR: readonly number[] = [
  ExceptionClass.Unknown,
  ExceptionClass.TrappedSystemInstruction,
  ExceptionClass.SpAlignment,
];

const PAGE = pageLayout({ granule: 12, level: 3, lpa: false });
const ACCESS_FLAG = PAGE.half('AF').lo;
/** AP[2], the upper bit of the field; nDirty with permission indirection. */
const READ_ONLY = 1 << PAGE.field('AP').high;

function scopeOf({ type, range }: TlbiOperation): FlushScope {
  if (type === 'VMALL') return 'all';
  if (type === 'ASID') return 'asid';
  return range ? 'range' : 'page';
}
