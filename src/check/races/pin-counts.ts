/** Pins of each folio, counted from what is taken and given back: a small folio has no count of its own. */
export class PinCounts {
  readonly #pins = new Map<number, number>();

  begin(): void {
    if (this.#pins.size > 0) this.#pins.clear();
  }

  /** By the folio's first frame. */
  pins(head: number): number {
    return this.#pins.size === 0 ? 0 : (this.#pins.get(head) ?? 0);
  }

  counted(head: number, _references: number, pins: number): void {
    if (pins === 0) return;
    const left = this.pins(head) + pins;
    if (left === 0) this.#pins.delete(head);
    else this.#pins.set(head, left);
  }

  /** What was wrong is told once. */
  forget(head: number): void {
    this.#pins.delete(head);
  }
}
