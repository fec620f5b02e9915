/**
 * Records what the walker tells of one translation as plain data: the raw material of an explained walk. Nothing is
 * interpreted here but the form of an entry. One recorder serves one translation at a time.
 */
import { fromHalves } from '../../base/u64.ts';
import { CACHE_NAMES, type CacheName, EntrySource, type WalkObserver } from '../walk-observer.ts';
import { Entry } from './entries.ts';

/** One thing that happened, in order. Levels are 1 (PTE) to 5 (PML5E). */
export type WalkStep =
  | {
      readonly kind: 'entry';
      readonly level: number;
      readonly source: 'memory' | 'paging-structure cache';
      /** Physical address of the entry; null when a cache gave it. */
      readonly address: bigint | null;
      /** From a cache: table address, and R/W, U/S and XD combined over the levels so far. */
      readonly value: bigint;
    }
  | {
      readonly kind: 'update';
      readonly level: number;
      readonly address: bigint;
      readonly setAccessed: boolean;
      readonly setDirty: boolean;
    }
  | { readonly kind: 'hit' | 'rewalk'; readonly cache: string; readonly data: bigint }
  | { readonly kind: 'fill'; readonly cache: string; readonly level: number; readonly data: bigint }
  | {
      readonly kind: 'flush';
      readonly scope: number;
      readonly context: number;
      readonly address: bigint;
      readonly dropped: number;
    };

/** How the translation ended. */
export interface WalkEnd {
  /** `FaultKind`; 0 is success. */
  readonly kind: number;
  readonly physicalAddress: bigint;
  /** `Reason` bits. */
  readonly reasons: number;
}

export class WalkRecorder implements WalkObserver {
  steps: WalkStep[] = [];
  address = 0n;
  access = 0;
  finished: WalkEnd | null = null;

  begin(hi: number, lo: number, access: number): void {
    this.steps = [];
    this.address = fromHalves(hi, lo);
    this.access = access;
    this.finished = null;
  }

  entry(level: number, source: EntrySource, atHi: number, atLo: number, hi: number, lo: number): void {
    const inMemory = source === EntrySource.Memory;
    this.steps.push({
      kind: 'entry',
      level,
      source: inMemory ? 'memory' : 'paging-structure cache',
      address: inMemory ? fromHalves(atHi, atLo) : null,
      value: fromHalves(hi, lo),
    });
  }

  update(level: number, atHi: number, atLo: number, oldLo: number, newLo: number): void {
    const set = newLo & ~oldLo;
    this.steps.push({
      kind: 'update',
      level,
      address: fromHalves(atHi, atLo),
      setAccessed: (set & Entry.A) !== 0,
      setDirty: (set & Entry.D) !== 0,
    });
  }

  hit(cache: CacheName, hi: number, lo: number): void {
    this.steps.push({ kind: 'hit', cache: CACHE_NAMES[cache], data: fromHalves(hi, lo) });
  }

  rewalk(cache: CacheName, hi: number, lo: number): void {
    this.steps.push({ kind: 'rewalk', cache: CACHE_NAMES[cache], data: fromHalves(hi, lo) });
  }

  fill(cache: CacheName, level: number, hi: number, lo: number): void {
    this.steps.push({ kind: 'fill', cache: CACHE_NAMES[cache], level, data: fromHalves(hi, lo) });
  }

  flush(scope: number, context: number, hi: number, lo: number, dropped: number): void {
    this.steps.push({ kind: 'flush', scope, context, address: fromHalves(hi, lo), dropped });
  }

  end(kind: number, paHi: number, paLo: number, reasons: number): void {
    this.finished = { kind, physicalAddress: fromHalves(paHi, paLo), reasons };
  }
}
