import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { levelShift, PTE } from '../../../src/arch/x86_64/entries.ts';
import { AMD_ZEN4, INTEL_COMPLETE } from '../../../src/arch/x86_64/features.ts';
import {
  applyFlush,
  FlushEvent,
  flushForCr3,
  invlpg,
  invpcid,
} from '../../../src/arch/x86_64/invalidation.ts';
import type { X86Mmu } from '../../../src/arch/x86_64/mmu.ts';
import { EFER } from '../../../src/arch/x86_64/registers.ts';
import { highHalf, lowHalf } from '../../../src/base/u64.ts';
import { Paging, ROOT, USER_PAGE } from './paging.ts';

/** What is cached at the start: in PCID 1 and PCID 2 the same pages, one of them global, one of 2 MiB. */
const PAGE = 0x7fff_0000_0000n;
const OTHER = 0x7fff_0000_1000n;
const GLOBAL = 0x7fff_0000_2000n;
const LARGE = 0x7fff_4000_0000n;
const PAGES = { PAGE, OTHER, GLOBAL, LARGE } as const;
type PageName = keyof typeof PAGES;

const STALE = 0x4000_0000n;

/** Two address spaces of one table; page by page, which of them still has the old translation cached. */
class Cached {
  readonly paging: Paging;
  readonly #leaves: readonly (readonly [PageName, bigint])[];

  constructor(retention: 'profile' | 'adversarial') {
    this.paging = new Paging({ retention, cr4: ['PCIDE', 'PGE'] });
    const { paging } = this;
    this.#leaves = (Object.keys(PAGES) as PageName[]).map((name) => {
      const flags = name === 'GLOBAL' ? USER_PAGE | PTE.mask('G') : USER_PAGE;
      return [name, paging.map(PAGES[name], STALE, flags, name === 'LARGE' ? 2 : 1)] as const;
    });
    for (const pcid of [2, 1]) {
      this.load(pcid, true);
      for (const name of Object.keys(PAGES) as PageName[]) paging.access(PAGES[name]);
    }
  }

  load(pcid: number, keep: boolean): void {
    this.paging.mmu.state.cr3Lo = Number(ROOT) | pcid;
    this.paging.mmu.updateControls();
    flushForCr3(this.paging.mmu, keep);
  }

  /** Rewrites every leaf and lists what is still translated the old way: "1:PAGE" for PAGE in PCID 1. */
  stale(): string[] {
    for (const [, address] of this.#leaves) {
      const entry = this.paging.memory.readWord(address) as bigint;
      this.paging.memory.writeWord(address, entry ^ 0x4000_0000n ^ 0x8000_0000n);
    }
    const stale: string[] = [];
    // The other PCID's global page would be filled anew: a global entry answers both, so it is asked for once.
    for (const pcid of [1, 2]) {
      this.load(pcid, true);
      for (const name of Object.keys(PAGES) as PageName[]) {
        if (name === 'GLOBAL' && pcid === 2) continue;
        if (this.paging.access(PAGES[name], Access.User) === STALE) stale.push(`${pcid}:${name}`);
      }
    }
    return stale.sort();
  }
}

const all = ['1:GLOBAL', '1:LARGE', '1:OTHER', '1:PAGE', '2:LARGE', '2:OTHER', '2:PAGE'];
const without = (...names: readonly string[]): string[] => all.filter((name) => !names.includes(name));
const ofPcid1 = all.filter((name) => name.startsWith('1:'));

const at = (va: bigint): readonly [number, number] => [highHalf(va), lowHalf(va)];

describe.each(['profile', 'adversarial'] as const)('what stays cached, %s retention', (retention) => {
  // SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches". Current PCID: 1.
  it.each<readonly [string, (mmu: X86Mmu, cached: Cached) => void, string[]]>([
    ['nothing happened', () => {}, all],
    ['INVLPG', (mmu) => invlpg(mmu, ...at(PAGE)), without('1:PAGE')],
    ['INVLPG of a global page', (mmu) => invlpg(mmu, ...at(GLOBAL)), without('1:GLOBAL')],
    [
      'INVLPG anywhere in a 2-MByte page',
      (mmu) => invlpg(mmu, ...at(LARGE + 0x1f_f000n)),
      without('1:LARGE'),
    ],
    ['INVLPG of a non-canonical address', (mmu) => invlpg(mmu, ...at(PAGE | (1n << 62n))), all],
    ['INVPCID 0 of PCID 2', (mmu) => invpcid(mmu, 0, 2, ...at(PAGE)), without('2:PAGE')],
    ['INVPCID 0 of PCID 1', (mmu) => invpcid(mmu, 0, 1, ...at(PAGE)), without('1:PAGE')],
    ['INVPCID 0 of a global page: may keep it', (mmu) => invpcid(mmu, 0, 1, ...at(GLOBAL)), all],
    ['INVPCID 1 of PCID 2', (mmu) => invpcid(mmu, 1, 2, 0, 0), all.filter((n) => n.startsWith('1:'))],
    ['INVPCID 2', (mmu) => invpcid(mmu, 2, 0, 0, 0), []],
    ['INVPCID 3', (mmu) => invpcid(mmu, 3, 0, 0, 0), ['1:GLOBAL']],
    ['MOV to CR3 of PCID 2', (_, cached) => cached.load(2, false), ofPcid1],
    ['MOV to CR3 of PCID 2, bit 63', (_, cached) => cached.load(2, true), all],
    [
      'MOV to CR3 of PCID 1',
      (_, cached) => cached.load(1, false),
      ['1:GLOBAL', ...all.filter((n) => n.startsWith('2:'))],
    ],
    ['CR4.PGE toggled', (mmu) => applyFlush(mmu, FlushEvent.Cr4, { kind: 'everything' }), []],
    [
      'CR4.SMEP set',
      (mmu) => applyFlush(mmu, FlushEvent.Cr4, { kind: 'pcid-and-global', pcid: 1 }),
      all.filter((n) => n.startsWith('2:')),
    ],
    ['a change that drops nothing', (mmu) => applyFlush(mmu, FlushEvent.Cr4, { kind: 'none' }), all],
  ])('after %s', (_, flush, stale) => {
    const cached = new Cached(retention);
    flush(cached.paging.mmu, cached);
    expect(cached.stale()).toEqual(stale);
  });
});

describe.each(['profile', 'adversarial'] as const)('global entries, %s retention', (retention) => {
  it('a global entry answers every PCID', () => {
    const { paging } = new Cached(retention);
    paging.mmu.state.cr3Lo = Number(ROOT) | 9;
    paging.mmu.updateControls();
    const { walks } = paging.mmu.walker;
    expect(paging.access(GLOBAL)).toBe(STALE);
    expect(paging.mmu.walker.walks).toBe(walks);
  });

  it('G counts only if CR4.PGE is 1 when the entry is cached', () => {
    const paging = new Paging({ retention, cr4: ['PCIDE'] });
    paging.map(PAGE, STALE, USER_PAGE | PTE.mask('G'));
    paging.access(PAGE);
    flushForCr3(paging.mmu, false);
    const { walks } = paging.mmu.walker;
    paging.access(PAGE);
    expect(paging.mmu.walker.walks).toBe(walks + 1);
  });
});

describe.each(['profile', 'adversarial'] as const)('paging-structure caches, %s retention', (retention) => {
  it('a table that was replaced is used until INVLPG of any address of the PCID', () => {
    const paging = new Paging({ retention });
    paging.map(PAGE, STALE);
    paging.access(PAGE);
    const above = paging.entryAddress(PAGE, 2);
    const old = paging.memory.readWord(above) as bigint;
    paging.memory.writeWord(above, 0n);
    paging.map(PAGE, 0x8000_0000n);
    expect(paging.memory.readWord(above)).not.toBe(old);
    const table = PTE.get(old, 'PAGE');
    paging.memory.writeWord(table + 8n, STALE | USER_PAGE);
    paging.memory.writeWord(table + 16n, STALE | USER_PAGE);
    expect(paging.access(PAGE + 0x1000n), 'through the old page table').toBe(STALE);
    invlpg(paging.mmu, ...at(0x1000n));
    expect(paging.access(PAGE + 0x2000n), 'through the new page table').toBe('#PF 4');
  });

  // AMD APM vol. 2, "Extended Feature Enable Register (EFER)", TCE: without it INVPCID drops all upper-level entries.
  // SDM vol. 2A, "INVPCID": type 0 is for the linear address.
  it.each([
    ['Intel', INTEL_COMPLETE, 0, 1],
    ['AMD, TCE = 0', AMD_ZEN4, 0, 0],
    ['AMD, TCE = 1', AMD_ZEN4, EFER.half('TCE').lo, 1],
  ] as const)(
    'INVPCID 0 and the paging-structure entries of other addresses: %s',
    (_, features, tce, left) => {
      const paging = new Paging({ retention, features });
      paging.mmu.state.efer |= tce;
      paging.map(PAGE, STALE);
      paging.map(LARGE, STALE);
      paging.access(PAGE);
      paging.access(LARGE);
      expect(paging.mmu.pagingStructure.count()).toBe(5);
      invpcid(paging.mmu, 0, 1, ...at(PAGE));
      expect(paging.mmu.pagingStructure.count(), 'another PCID').toBe(5);
      invpcid(paging.mmu, 0, 0, ...at(PAGE));
      expect(paging.mmu.pagingStructure.count()).toBe(2 * left);
    },
  );
});

describe.each(['profile', 'adversarial'] as const)(
  'INVPCID 0 and paging-structure caches, %s retention',
  (retention) => {
    it.each([2, 3, 4, 5])('INVPCID 0 drops the entry of level %i that the address uses', (level) => {
      // An address that shares this entry and none below it: only what is cached of this level leads to it.
      const sibling = PAGE + (1n << BigInt(levelShift(level - 1)));
      for (const dropped of [false, true]) {
        const paging = new Paging({ retention, cr4: ['LA57'] });
        paging.map(PAGE, STALE);
        paging.map(sibling, STALE);
        paging.access(PAGE);
        paging.memory.writeWord(paging.entryAddress(PAGE, level), 0n);
        paging.map(sibling, 0x8000_0000n);
        if (dropped) invpcid(paging.mmu, 0, 0, ...at(PAGE));
        expect(paging.access(sibling)).toBe(dropped ? 0x8000_0000n : STALE);
      }
    });

    it('with AMD’s EFER.TCE, INVLPG keeps the paging-structure entries of other addresses', () => {
      const paging = new Paging({ retention });
      paging.mmu.state.efer |= EFER.half('TCE').lo;
      paging.map(PAGE, STALE);
      paging.map(LARGE, STALE);
      paging.access(PAGE);
      paging.access(LARGE);
      const before = paging.mmu.pagingStructure.count();
      invlpg(paging.mmu, ...at(PAGE));
      expect(paging.mmu.pagingStructure.count()).toBe(before - 3);
    });
  },
);

describe('a translation that got less strict in memory', () => {
  const readOnly = PTE.mask('P', 'US');
  it.each([
    ['profile', STALE],
    ['adversarial', '#PF 7'],
    ['none', STALE],
  ] as const)('%s retention: the first write gives %s, the next one succeeds', (retention, first) => {
    const paging = new Paging({ retention });
    const leaf = paging.map(PAGE, STALE, readOnly);
    paging.access(PAGE);
    paging.memory.writeWord(leaf, STALE | USER_PAGE);
    expect(paging.access(PAGE, Access.User | Access.Write)).toBe(first);
    expect(paging.access(PAGE, Access.User | Access.Write), 'a page fault drops the entry').toBe(STALE);
  });

  it('a not-present result is never cached', () => {
    for (const retention of ['profile', 'adversarial', 'none'] as const) {
      const paging = new Paging({ retention });
      paging.entryAddress(PAGE, 1);
      expect(paging.access(PAGE)).toBe('#PF 4');
      paging.map(PAGE, STALE);
      expect(paging.access(PAGE)).toBe(STALE);
    }
  });
});

describe('retention', () => {
  it.each([
    ['profile', false],
    ['adversarial', true],
    ['none', false],
  ] as const)('%s: a page used once is still cached after 10,000 others: %s', (retention, cached) => {
    const paging = new Paging({ retention });
    const leaf = paging.map(PAGE, STALE);
    paging.access(PAGE);
    for (let i = 1n; i <= 10_000n; i++) {
      const va = PAGE + i * 0x1000n;
      paging.map(va, STALE);
      paging.access(va);
    }
    paging.memory.writeWord(leaf, 0n);
    expect(paging.access(PAGE)).toBe(cached ? STALE : '#PF 4');
  });

  it('adversarial: a speculative fill is used later, though the entry has changed', () => {
    const paging = new Paging({ retention: 'adversarial' });
    const leaf = paging.map(PAGE, STALE);
    expect(paging.mmu.speculativeFill(...at(PAGE))).toBe(true);
    paging.memory.writeWord(leaf, 0n);
    expect(paging.access(PAGE)).toBe(STALE);
    expect(paging.mmu.speculativeFill(...at(OTHER))).toBe(false);
  });

  it('profile: an L2 hit refills L1 and is counted', () => {
    const paging = new Paging();
    for (let i = 0n; i < 200n; i++) {
      paging.map(PAGE + i * 0x1000n, STALE);
      paging.access(PAGE + i * 0x1000n);
    }
    const { walks } = paging.mmu.walker;
    for (let i = 0n; i < 200n; i++) expect(paging.access(PAGE + i * 0x1000n)).toBe(STALE);
    expect(paging.mmu.walker.walks).toBe(walks);
    expect(paging.mmu.secondLevelHits).toBe(200);
  });

  it('none: every access walks', () => {
    const paging = new Paging({ retention: 'none' });
    paging.map(PAGE, STALE);
    for (let i = 0; i < 5; i++) paging.access(PAGE);
    expect(paging.mmu.walker.walks).toBe(5);
  });
});
