/** The swap area on its own: slots, their counts and the swap cache, against a plain model. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_SLOT, SwapArea } from '../../../src/kernel/frame/swap-area.ts';

const SLOTS = 4;

interface Model {
  readonly counts: Map<number, number>;
  readonly frames: Map<number, number>;
}

const inUse = ({ counts, frames }: Model): Set<number> => new Set([...counts.keys(), ...frames.keys()]);

type Act = (area: SwapArea, model: Model, slot: number, frame: number) => void;

/** Each does something that makes sense, or tries what must throw, or nothing. */
const ACTS = {
  allocate: (area, model, _slot, frame) => {
    const got = area.allocate(frame);
    expect(got === NO_SLOT).toBe(inUse(model).size === SLOTS);
    if (got === NO_SLOT) return;
    expect(inUse(model).has(got)).toBe(false);
    model.frames.set(got, frame);
  },
  duplicate: (area, model, slot) => {
    if (!inUse(model).has(slot)) {
      expect(() => area.duplicate(slot)).toThrow('not in use');
      return;
    }
    area.duplicate(slot);
    model.counts.set(slot, (model.counts.get(slot) ?? 0) + 1);
  },
  free: (area, model, slot) => {
    const count = model.counts.get(slot) ?? 0;
    if (count === 0) return;
    area.free(slot);
    if (count === 1) model.counts.delete(slot);
    else model.counts.set(slot, count - 1);
  },
  uncache: (area, model, slot) => {
    const cached = model.frames.get(slot);
    if (cached === undefined) return;
    area.removeFromCache(cached);
    model.frames.delete(slot);
  },
  cache: (area, model, slot, frame) => {
    if (!model.counts.has(slot) || model.frames.has(slot)) return;
    area.addToCache(slot, frame);
    model.frames.set(slot, frame);
  },
} satisfies Record<string, Act>;

type Step = readonly [act: keyof typeof ACTS, slot: number];

describe('the swap area', () => {
  it('hands every slot out once, and again only when nobody refers to it and nothing caches it', () => {
    const step: fc.Arbitrary<Step> = fc.tuple(
      fc.constantFrom(...(Object.keys(ACTS) as (keyof typeof ACTS)[])),
      fc.integer({ min: 1, max: SLOTS }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const area = new SwapArea(SLOTS);
        const model: Model = { counts: new Map(), frames: new Map() };
        steps.forEach(([act, slot], index) => {
          ACTS[act](area, model, slot, 1000 + index);
          expect(area.freeSlots).toBe(SLOTS - inUse(model).size);
          expect(area.cachedFrames).toBe(model.frames.size);
          for (let at = 1; at <= SLOTS; at++) {
            const frame = model.frames.get(at) ?? -1;
            expect(area.count(at)).toBe(model.counts.get(at) ?? 0);
            expect(area.frameOf(at)).toBe(frame);
            if (frame !== -1) expect(area.slotOf(frame)).toBe(at);
          }
        });
      }),
      { numRuns: 100 },
    );
  });

  it('never gives slot 0, and forgets what a slot held when it is free', () => {
    const area = new SwapArea(1);
    const slot = area.allocate(7);
    expect(slot).toBe(1);
    area.store(slot, Uint8Array.of(1), Uint8Array.of(2));
    expect(area.tagsOf(slot)).toEqual(Uint8Array.of(2));
    area.duplicate(slot);
    area.removeFromCache(7);
    expect(area.contents(slot).bytes).toEqual(Uint8Array.of(1));
    area.free(slot);
    expect(area.freeSlots).toBe(1);
    expect(area.tagsOf(slot)).toBeNull();
    expect(() => area.contents(slot)).toThrow('never written');
    expect(() => area.free(slot)).toThrow('once too often');
  });
});
