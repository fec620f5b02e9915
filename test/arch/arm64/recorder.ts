/** An observer that writes down what it is told of a walk. */
import type { EntrySource, WalkObserver } from '../../../src/arch/walk-observer.ts';

export class Recorder implements WalkObserver {
  readonly entries: { readonly level: number; readonly source: EntrySource }[] = [];
  readonly updates: { readonly level: number; readonly oldLo: number; readonly newLo: number }[] = [];
  readonly ends: { readonly kind: number; readonly paHi: number; readonly paLo: number }[] = [];
  hits = 0;
  rewalks = 0;
  fills = 0;

  begin(): void {}
  entry(level: number, source: EntrySource): void {
    this.entries.push({ level, source });
  }
  update(level: number, _hi: number, _lo: number, oldLo: number, newLo: number): void {
    this.updates.push({ level, oldLo, newLo });
  }
  hit(): void {
    this.hits++;
  }
  rewalk(): void {
    this.rewalks++;
  }
  fill(): void {
    this.fills++;
  }
  flush(): void {}
  end(kind: number, paHi: number, paLo: number): void {
    this.ends.push({ kind, paHi, paLo });
  }
}
