/**
 * The lists in whose order reclaim looks at pages: of anonymous and of file pages, those not used lately (inactive) and
 * those in use (active); and the pages that must stay. New pages come to the head, reclaim takes from the tail. A folio
 * is on a list exactly while its flag Lru is set; whoever takes it off ("isolates") keeps it, with a reference of his own.
 * Left out: lists per node and memory cgroup, the CPUs' batches of folios on their way to a list, multi-generation LRU.
 * @see Linux include/linux/mmzone.h, `enum lru_list`; include/linux/mm_inline.h, `lruvec_add_folio`
 */

/** Indexes of the lists. "File" is what need not go to swap: files with a place of their own, and lazily freed pages. */
export const LruList = {
  InactiveAnon: 0,
  ActiveAnon: 1,
  InactiveFile: 2,
  ActiveFile: 3,
  /** Locked into memory (mlock). */
  Unevictable: 4,
} as const;
export type LruList = (typeof LruList)[keyof typeof LruList];

const LISTS = 5;
const NOWHERE = -1;
const INITIAL_CAPACITY = 256;

export class LruLists {
  readonly #firstFrame: number;
  /** Per list: index of the folio that came last, and of the one that came first. */
  readonly #heads = new Int32Array(LISTS).fill(NOWHERE);
  readonly #tails = new Int32Array(LISTS).fill(NOWHERE);
  /** Pages on each list. */
  readonly #pages = new Int32Array(LISTS);
  /** By index of a folio's first frame. Towards the tail, and towards the head. */
  #next = new Int32Array(INITIAL_CAPACITY);
  #previous = new Int32Array(INITIAL_CAPACITY);
  #list = new Int8Array(INITIAL_CAPACITY).fill(NOWHERE);

  constructor(firstFrame: number) {
    this.#firstFrame = firstFrame;
  }

  /** As it was made: every list is empty. */
  renew(): void {
    this.#heads.fill(NOWHERE);
    this.#tails.fill(NOWHERE);
    this.#pages.fill(0);
    this.#list.fill(NOWHERE);
  }

  /** Pages on a list (`lruvec_lru_size`). */
  pages(list: LruList): number {
    return this.#pages[list] as number;
  }

  /** The folio that has been on the list for longest, -1 when there is none. */
  tail(list: LruList): number {
    const index = this.#tails[list] as number;
    return index === NOWHERE ? -1 : index + this.#firstFrame;
  }

  /** The list that the folio is on, -1 for none. */
  listOf(frame: number): LruList | -1 {
    const index = frame - this.#firstFrame;
    return index < this.#list.length ? (this.#list[index] as LruList | -1) : -1;
  }

  /** Puts a folio of `pages` pages at the head of a list. */
  add(frame: number, list: LruList, pages: number): void {
    const index = frame - this.#firstFrame;
    if (index >= this.#list.length) this.#grow(index + 1);
    if (this.#list[index] !== NOWHERE) throw new Error(`frame 0x${frame.toString(16)} is on a list already`);
    const head = this.#heads[list] as number;
    this.#list[index] = list;
    this.#previous[index] = NOWHERE;
    this.#next[index] = head;
    if (head === NOWHERE) this.#tails[list] = index;
    else this.#previous[head] = index;
    this.#heads[list] = index;
    this.#pages[list] = (this.#pages[list] as number) + pages;
  }

  /** Takes a folio of `pages` pages off its list. */
  remove(frame: number, pages: number): void {
    const index = frame - this.#firstFrame;
    const list = this.listOf(frame);
    if (list === -1) throw new Error(`frame 0x${frame.toString(16)} is on no list`);
    const next = this.#next[index] as number;
    const previous = this.#previous[index] as number;
    if (previous === NOWHERE) this.#heads[list] = next;
    else this.#next[previous] = next;
    if (next === NOWHERE) this.#tails[list] = previous;
    else this.#previous[next] = previous;
    this.#list[index] = NOWHERE;
    this.#pages[list] = (this.#pages[list] as number) - pages;
  }

  /** A folio of `pages` pages has become as many folios: each later one comes just before the first. @see `lru_add_split_folio` */
  split(frame: number, pages: number): void {
    const list = this.listOf(frame);
    if (list === -1) throw new Error(`frame 0x${frame.toString(16)} is on no list`);
    const first = frame - this.#firstFrame;
    if (first + pages > this.#list.length) this.#grow(first + pages);
    for (let index = first + 1; index < first + pages; index++) {
      const previous = this.#previous[first] as number;
      this.#list[index] = list;
      this.#next[index] = first;
      this.#previous[index] = previous;
      this.#previous[first] = index;
      if (previous === NOWHERE) this.#heads[list] = index;
      else this.#next[previous] = index;
    }
  }

  /** The folios of a list, from the one that reclaim would take first. */
  folios(list: LruList): number[] {
    const found: number[] = [];
    for (let index = this.#tails[list] as number; index !== NOWHERE; index = this.#previous[index] as number)
      found.push(index + this.#firstFrame);
    return found;
  }

  #grow(needed: number): void {
    let capacity = this.#list.length;
    while (capacity < needed) capacity *= 2;
    const next = new Int32Array(capacity);
    next.set(this.#next);
    this.#next = next;
    const previous = new Int32Array(capacity);
    previous.set(this.#previous);
    this.#previous = previous;
    const list = new Int8Array(capacity).fill(NOWHERE);
    list.set(this.#list);
    this.#list = list;
  }
}
