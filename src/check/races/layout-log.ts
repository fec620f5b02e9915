/**
 * Which mapping every page of an address space belonged to, at every step since somebody began to look: the versions of the
 * tree of VMAs, and the ranges that were unmapped. A mapping of a page begins when the page comes to be covered, or when
 * what was there is replaced, and ends with unmapping; splits, merges and changes of rights do not end it. Cheap: a version
 * of the tree is one pointer.
 */

import type { MmStruct } from '../../kernel/mm/mm.ts';
import type { VmaTreeView } from '../../kernel/mm/vma-tree.ts';

interface Version {
  /** The tree before the changes of this step. */
  readonly before: VmaTreeView;
  readonly step: number;
  /** What the step unmapped: starts and ends of ranges, in pages. */
  readonly unmapped: number[];
}

/** From the first step at which the page belonged to the mapping to the first at which it did not. */
export interface MappingTime {
  readonly from: number;
  readonly to: number;
}

export class LayoutLog {
  readonly mm: MmStruct;
  readonly #versions: Version[] = [];

  constructor(mm: MmStruct) {
    this.mm = mm;
  }

  /** There has been one layout all the time. */
  get unchanged(): boolean {
    return this.#versions.length === 0;
  }

  /** The tree is about to change in this step. */
  changes(step: number): void {
    this.#versionOf(step);
  }

  /** [start, end) is about to be unmapped in this step. */
  unmaps(step: number, start: number, end: number): void {
    this.#versionOf(step).unmapped.push(start, end);
  }

  #versionOf(step: number): Version {
    const last = this.#versions.at(-1);
    if (last !== undefined && last.step === step) return last;
    const version = { before: this.mm.vmas.snapshot(), step, unmapped: [] };
    this.#versions.push(version);
    return version;
  }

  /** The time of the mapping that `page` belonged to at `step`; null when it belonged to none. */
  mappingAt(page: number, step: number): MappingTime | null {
    let at = this.#versions.findIndex((version) => version.step > step);
    if (at < 0) at = this.#versions.length;
    if (!this.#covers(at, page)) return null;
    let from = at;
    while (from > 0 && !this.#ends(from - 1, page) && this.#covers(from - 1, page)) from--;
    let to = at;
    while (to < this.#versions.length && !this.#ends(to, page) && this.#covers(to + 1, page)) to++;
    return {
      from: from === 0 ? Number.NEGATIVE_INFINITY : (this.#versions[from - 1] as Version).step,
      to: this.#versions[to]?.step ?? Number.POSITIVE_INFINITY,
    };
  }

  /** Does the tree that was there before change `at`, or is there now, cover the page? */
  #covers(at: number, page: number): boolean {
    return (this.#versions[at]?.before ?? this.mm.vmas).lookup(page) !== null;
  }

  /** Does change `at` unmap the page? */
  #ends(at: number, page: number): boolean {
    const { unmapped } = this.#versions[at] as Version;
    for (let i = 0; i < unmapped.length; i += 2) {
      if (page >= (unmapped[i] as number) && page < (unmapped[i + 1] as number)) return true;
    }
    return false;
  }
}
