/**
 * Records what a walker tells of the translations of one access as plain data: the raw material of an explained walk.
 * Nothing is interpreted here. One recorder serves one access.
 */
import { fromHalves } from '../base/u64.ts';
import { CACHE_NAMES, type CacheName, EntrySource, type WalkObserver } from './walk-observer.ts';

/** One thing that happened, in order. Levels count from 1, the last-level table. */
export type WalkStep =
  /** A translation begins; an access that crosses pages has two. */
  | { readonly kind: 'begin'; readonly address: bigint; readonly access: number }
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
      /** Bits 31:0 of the entry before and after. */
      readonly oldLow: number;
      readonly newLow: number;
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

export class WalkRecorder implements WalkObserver {
  readonly steps: WalkStep[] = [];

  begin(hi: number, lo: number, access: number): void {
    this.steps.push({ kind: 'begin', address: fromHalves(hi, lo), access });
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

  update(level: number, atHi: number, atLo: number, oldLow: number, newLow: number): void {
    this.steps.push({ kind: 'update', level, address: fromHalves(atHi, atLo), oldLow, newLow });
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

  end(): void {}
}
