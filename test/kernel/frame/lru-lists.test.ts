/** The lists of reclaim against a plain model: an array per list. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LruList, LruLists } from '../../../src/kernel/frame/lru-lists.ts';

const FIRST = 0x100;
const LISTS = Object.values(LruList);

type Step = readonly [add: boolean, frame: number, list: LruList];

/** Newest first, as `add` puts them. */
class Model {
  readonly lists = new Map<LruList, number[]>(LISTS.map((list) => [list, []]));

  listOf(frame: number): LruList | -1 {
    return LISTS.find((list) => this.lists.get(list)?.includes(frame)) ?? -1;
  }

  add(frame: number, list: LruList): void {
    this.lists.get(list)?.unshift(frame);
  }

  remove(frame: number): void {
    for (const frames of this.lists.values()) {
      if (frames.includes(frame)) frames.splice(frames.indexOf(frame), 1);
    }
  }
}

function apply(lru: LruLists, model: Model, [add, frame, list]: Step): void {
  const listed = model.listOf(frame) !== -1;
  if (add) {
    if (listed) {
      expect(() => lru.add(frame, list, 1)).toThrow('on a list already');
      return;
    }
    lru.add(frame, list, 1);
    model.add(frame, list);
  } else if (listed) {
    lru.remove(frame, 1);
    model.remove(frame);
  } else {
    expect(() => lru.remove(frame, 1)).toThrow('on no list');
  }
}

describe('the lists of reclaim', () => {
  it('hold what was put on them, in the order of its coming', () => {
    const step: fc.Arbitrary<Step> = fc.tuple(
      fc.boolean(),
      fc.integer({ min: FIRST, max: FIRST + 20 }),
      fc.constantFrom(...LISTS),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const lru = new LruLists(FIRST);
        const model = new Model();
        for (const one of steps) {
          apply(lru, model, one);
          for (const list of LISTS) {
            const frames = model.lists.get(list) ?? [];
            expect(lru.folios(list)).toEqual([...frames].reverse());
            expect(lru.pages(list)).toBe(frames.length);
            expect(lru.tail(list)).toBe(frames.at(-1) ?? -1);
          }
          expect(lru.listOf(one[1])).toBe(model.listOf(one[1]));
        }
      }),
      { numRuns: 60 },
    );
  });

  it('grow with the highest frame, and count the pages of large folios', () => {
    const lru = new LruLists(FIRST);
    lru.add(FIRST + 5000, LruList.ActiveAnon, 512);
    lru.add(FIRST, LruList.ActiveAnon, 1);
    expect(lru.pages(LruList.ActiveAnon)).toBe(513);
    expect(lru.listOf(FIRST + 100_000)).toBe(-1);
    lru.remove(FIRST + 5000, 512);
    expect(lru.folios(LruList.ActiveAnon)).toEqual([FIRST]);
  });
});
