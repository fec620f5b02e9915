import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PagingStructureCaches } from '../../src/hardware/paging-structure-cache.ts';
import { GOLDEN_COVE, NO_CACHE } from '../../src/hardware/retention.ts';
import { Tlb, TlbTag } from '../../src/hardware/tlb.ts';

const tag = (page: number, context = 1): readonly [number, number] => [
  page,
  TlbTag.VALID | (context << TlbTag.CONTEXT_SHIFT),
];

const has = (tlb: Tlb, page: number, context = 1): boolean => tlb.find(...tag(page, context), page) >= 0;

function use(tlb: Tlb, page: number): boolean {
  const at = tlb.find(...tag(page), page);
  if (at >= 0) tlb.touch(at);
  else tlb.insert(...tag(page), page * 4096, 0, page);
  return at >= 0;
}

describe('Tlb', () => {
  it.each([
    ['4-way', 4, 4],
    ['6-way, not a power of two', 16, 6],
    ['12-way', 2, 12],
    ['fully associative', 1, 72],
    ['direct mapped', 8, 1],
  ])('evicts the least recently used page of a set: %s', (_, sets, ways) => {
    fc.assert(
      fc.property(fc.array(fc.nat(sets * ways * 2), { minLength: 1, maxLength: 300 }), (pages) => {
        const tlb = new Tlb({ sets, ways });
        const model = Array.from({ length: sets }, () => [] as number[]);
        for (const page of pages) {
          const recent = model[page % sets] as number[];
          const known = recent.indexOf(page);
          expect(use(tlb, page)).toBe(known >= 0);
          if (known >= 0) recent.splice(known, 1);
          recent.push(page);
          if (recent.length > ways) recent.shift();
        }
      }),
    );
  });

  it('keeps the order of use when the stamps start again', () => {
    const tlb = new Tlb({ sets: 1, ways: 4 });
    for (const page of [1, 2, 3, 4, 2]) use(tlb, page);
    tlb.stamp = 0x7fff_fffc;
    use(tlb, 1);
    expect(tlb.stamp).toBeLessThan(1000);
    use(tlb, 5);
    expect([1, 2, 3, 4, 5].filter((page) => has(tlb, page))).toEqual([1, 2, 4, 5]);
    use(tlb, 6);
    expect([1, 2, 4, 5, 6].filter((page) => has(tlb, page))).toEqual([1, 2, 5, 6]);
  });

  it('fills a dropped place before it evicts', () => {
    const tlb = new Tlb({ sets: 1, ways: 3 });
    for (const page of [1, 2, 3]) use(tlb, page);
    expect(tlb.drop(...tag(3), 3)).toBe(1);
    expect(tlb.drop(...tag(3), 3)).toBe(0);
    use(tlb, 4);
    expect([1, 2, 4].every((page) => has(tlb, page))).toBe(true);
  });
});

describe('the entries of a Tlb', () => {
  it('replaces an entry of the same tag in place', () => {
    const tlb = new Tlb({ sets: 1, ways: 2 });
    tlb.insert(...tag(7), 0x1000, 0, 7);
    tlb.insert(...tag(7), 0x2000, 0, 7);
    expect(tlb.count()).toBe(1);
    expect(tlb.entries[tlb.find(...tag(7), 7) + 2]).toBe(0x2000);
  });

  it('tells the same page of two address spaces apart and drops one of them', () => {
    const tlb = new Tlb({ sets: 4, ways: 2 });
    tlb.insert(...tag(7, 1), 0x1000, 0, 7);
    tlb.insert(...tag(7, 2), 0x2000, 0, 7);
    expect(tlb.dropWhere(TlbTag.CONTEXT_MASK, 1 << TlbTag.CONTEXT_SHIFT)).toBe(1);
    expect([has(tlb, 7, 1), has(tlb, 7, 2)]).toEqual([false, true]);
  });

  it('finds an entry by either of two tags', () => {
    const tlb = new Tlb({ sets: 4, ways: 2 });
    const global = TlbTag.VALID | TlbTag.GLOBAL;
    tlb.insert(7, global, 0x1000, 0, 7);
    expect(tlb.findEither(7, tag(7)[1], global, 7)).toBeGreaterThanOrEqual(0);
    expect(tlb.find(...tag(7), 7)).toBe(-1);
  });

  it('drops everything at once', () => {
    const tlb = new Tlb({ sets: 2, ways: 2 });
    for (const page of [1, 2, 3]) use(tlb, page);
    expect(tlb.dropAll()).toBe(3);
    expect(tlb.count()).toBe(0);
    expect(tlb.dropAll()).toBe(0);
  });

  it('never evicts when it grows', () => {
    const tlb = new Tlb({ sets: 2, ways: 1 }, true);
    for (let page = 0; page < 500; page++) use(tlb, page);
    for (let page = 0; page < 500; page++) expect(has(tlb, page)).toBe(true);
    tlb.forEach((tagLo, _, dataLo) => {
      expect(dataLo).toBe(tagLo * 4096);
    });
  });

  it('keeps nothing when it has no ways', () => {
    const tlb = new Tlb(NO_CACHE);
    use(tlb, 1);
    expect(has(tlb, 1)).toBe(false);
    expect(tlb.count()).toBe(0);
  });

  it('refuses a number of sets that is not a power of two', () => {
    expect(() => new Tlb({ sets: 3, ways: 4 })).toThrow(RangeError);
  });
});

describe('PagingStructureCaches', () => {
  it.each([
    ['profile', 32],
    ['adversarial', 100],
    ['none', 0],
  ] as const)('%s retention keeps %i of 100 page-directory entries', (retention, kept) => {
    const caches = new PagingStructureCaches(GOLDEN_COVE, retention);
    for (let i = 0; i < 100; i++) caches.levels[2]?.insert(...tag(i << 9), 0, 0, i);
    expect(caches.count()).toBe(kept);
    expect(caches.dropAll()).toBe(kept);
  });

  it('drops one address space at every level', () => {
    const caches = new PagingStructureCaches(GOLDEN_COVE, 'profile');
    for (const level of [2, 3, 4]) {
      caches.levels[level]?.insert(...tag(0, 1), 0, 0, 0);
      caches.levels[level]?.insert(...tag(0, 2), 0, 0, 0);
    }
    expect(caches.dropWhere(TlbTag.CONTEXT_MASK, 2 << TlbTag.CONTEXT_SHIFT)).toBe(3);
    expect(caches.count()).toBe(3);
  });
});
