/**
 * Parts of a board that are dear to make (memory, translation caches, tables of the kernel's), kept for the next board of
 * the same make. A part is renewed when it is taken: whoever gets it cannot tell it from a new one. Whoever makes thousands
 * of boards, one after the other, gives them all the same store; a board of its own has one that nothing is ever put back in.
 */

interface Shelf {
  readonly parts: object[];
  /** The first so many belong to the board that is in use. */
  taken: number;
}

export class SpareParts {
  readonly #shelves = new Map<string, Shelf>();

  /**
   * A part: one that an earlier board had, renewed, or a new one. The n-th of its kind is the n-th again for the next board.
   * @param kind names parts that are alike: a store serves boards of one configuration
   * @param renew brings it into the state that `make` gives
   */
  take<Part extends object>(kind: string, make: () => Part, renew: (part: Part) => void): Part {
    let shelf = this.#shelves.get(kind);
    if (shelf === undefined) {
      shelf = { parts: [], taken: 0 };
      this.#shelves.set(kind, shelf);
    }
    const spare = shelf.parts[shelf.taken++] as Part | undefined;
    if (spare !== undefined) {
      renew(spare);
      return spare;
    }
    const made = make();
    shelf.parts.push(made);
    return made;
  }

  /** The board in use is used no more, nor anything that refers to its parts. */
  putBack(): void {
    for (const shelf of this.#shelves.values()) shelf.taken = 0;
  }
}
