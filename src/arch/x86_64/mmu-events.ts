/**
 * Page walks, TLB fills, flushes and faults of one CPU as events. A translation that a TLB answers makes none.
 * Left out: the L2 TLB's own fills (a walk fills both levels), what the paging-structure caches keep.
 */
import { fromHalves, hex } from '../../base/u64.ts';
import type { MachineEvent } from '../../hardware/event-sink.ts';
import { FaultKind } from '../fault.ts';
import type { MmuEventOptions } from '../mmu-events.ts';
import { type CacheName, EntrySource, type WalkObserver } from '../walk-observer.ts';
import { Entry, entryLayout, LEVEL_NAMES, mapsPage } from './entries.ts';
import { faultErrorCode, faultVector, Vector } from './fault-code.ts';
import { FLUSH_EVENT_NAMES, FlushEvent } from './invalidation.ts';
import type { X86Mmu } from './mmu.ts';
import { PAGE_FAULT_ERROR } from './registers.ts';

type FlushScope = Extract<MachineEvent, { readonly kind: 'tlb-flush' }>['scope'];

const SCOPES: Readonly<Record<number, FlushScope>> = {
  [FlushEvent.Invlpg]: 'page',
  [FlushEvent.InvpcidAddress]: 'page',
  [FlushEvent.InvpcidContext]: 'asid',
  [FlushEvent.InvpcidAllGlobal]: 'all',
  [FlushEvent.InvpcidAll]: 'all-but-global',
  [FlushEvent.Cr3]: 'asid',
  [FlushEvent.Cr0]: 'all',
  [FlushEvent.Cr4]: 'all',
  [FlushEvent.PageFault]: 'page',
};

const VECTOR_NAMES: Readonly<Record<number, string>> = {
  [Vector.StackFault]: '#SS',
  [Vector.GeneralProtection]: '#GP',
  [Vector.PageFault]: '#PF',
  [Vector.MachineCheck]: '#MC',
};

export class X86MmuEvents implements WalkObserver {
  readonly #mmu: X86Mmu;
  readonly #cpu: number;
  readonly #options: MmuEventOptions;
  #address = 0n;
  #levels: string[] = [];
  #walked = false;
  #filledLevel = 0;

  constructor(mmu: X86Mmu, cpu: number, options: MmuEventOptions) {
    this.#mmu = mmu;
    this.#cpu = cpu;
    this.#options = options;
  }

  begin(hi: number, lo: number, _access: number): void {
    this.#address = fromHalves(hi, lo);
    this.#levels = [];
    this.#walked = false;
    this.#filledLevel = 0;
  }

  entry(level: number, source: EntrySource, atHi: number, atLo: number, hi: number, lo: number): void {
    this.#walked = true;
    const name = (LEVEL_NAMES[level] ?? `level ${level}`).padEnd(5);
    if (source === EntrySource.Cache) {
      this.#levels.push(`${name} from the paging-structure cache`);
      return;
    }
    const leaf = level === 1 || ((lo & Entry.P) !== 0 && mapsPage(level, lo));
    const value = fromHalves(hi, lo);
    const fields = entryLayout(level, leaf).format(value);
    this.#levels.push(`${name} at ${hex(fromHalves(atHi, atLo))} = ${hex(value)} ${fields}`.trimEnd());
  }

  update(level: number, _atHi: number, _atLo: number, oldLo: number, newLo: number): void {
    const set = newLo & ~oldLo;
    const flags = [(set & Entry.A) !== 0 ? 'A' : '', (set & Entry.D) !== 0 ? 'D' : ''].filter(
      (flag) => flag !== '',
    );
    this.#levels.push(`${(LEVEL_NAMES[level] ?? '').padEnd(5)} sets ${flags.join(' and ')}`);
  }

  hit(_cache: CacheName, _hi: number, _lo: number): void {}

  rewalk(_cache: CacheName, _hi: number, _lo: number): void {
    this.#levels.push('the TLB has a translation that does not allow this; walked again');
  }

  fill(_cache: CacheName, level: number, _hi: number, _lo: number): void {
    this.#filledLevel = level;
  }

  flush(scope: number, context: number, hi: number, lo: number, dropped: number): void {
    const { events } = this.#options;
    const silent = scope === FlushEvent.PageFault || scope === FlushEvent.Cr3;
    if (!events.enabled || (silent && dropped === 0)) return;
    const kind = SCOPES[scope] ?? 'all';
    events.emit({
      kind: 'tlb-flush',
      ...this.#place(),
      scope: kind,
      reason: FLUSH_EVENT_NAMES[scope] ?? `flush ${scope}`,
      ...(kind === 'page' ? { address: fromHalves(hi, lo) } : {}),
      ...(kind === 'page' || kind === 'asid' ? { asid: context } : {}),
    });
  }

  end(kind: number, paHi: number, paLo: number, _reasons: number): void {
    const { events } = this.#options;
    if (!events.enabled) return;
    const physical = fromHalves(paHi, paLo);
    const faulted = kind !== FaultKind.None;
    const syndrome = faulted ? this.#syndrome() : '';
    const address = this.#address;
    if (this.#walked) {
      const result = faulted ? syndrome : hex(physical);
      events.emit({ kind: 'walk', ...this.#place(), address, levels: this.#levels, result });
    }
    if (this.#filledLevel > 0 && !faulted) this.#emitFill(physical);
    if (faulted) events.emit({ kind: 'fault', ...this.#place(), task: this.#task(), address, syndrome });
  }

  #emitFill(physical: bigint): void {
    const pageBytes = 2 ** (12 + 9 * (this.#filledLevel - 1));
    this.#options.events.emit({
      kind: 'tlb-fill',
      ...this.#place(),
      address: this.#address - (this.#address % BigInt(pageBytes)),
      frame: Number((physical - (physical % BigInt(pageBytes))) >> 12n),
      pageBytes,
      asid: this.#mmu.pcid,
    });
  }

  /** `#PF WR US`, as the processor reports it. */
  #syndrome(): string {
    const { fault } = this.#mmu;
    const vector = faultVector(fault);
    const name = VECTOR_NAMES[vector] ?? `vector ${vector}`;
    if (vector !== Vector.PageFault) return name;
    return `${name} ${PAGE_FAULT_ERROR.format(BigInt(faultErrorCode(fault)))}`.trimEnd();
  }

  #place(): { readonly time: number; readonly cpu: number } {
    return { time: this.#options.machine.cpu(this.#cpu).time, cpu: this.#cpu };
  }

  #task(): string {
    return this.#options.taskOn(this.#cpu);
  }
}
