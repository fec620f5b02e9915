import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/arch/access.ts';
import { entryLayout, PDE, PDE_2M, PDPTE_1G, PML4E, PTE } from '../../../src/arch/x86_64/entries.ts';
import { faultCr2, faultErrorCode } from '../../../src/arch/x86_64/fault-code.ts';
import { AMD_ZEN4, INTEL_COMPLETE } from '../../../src/arch/x86_64/features.ts';
import type { X86Mmu } from '../../../src/arch/x86_64/mmu.ts';
import { CR0, CR3 } from '../../../src/arch/x86_64/registers.ts';
import { highHalf, lowHalf } from '../../../src/base/u64.ts';
import { Paging, ROOT, TABLE, USER_PAGE } from './paging.ts';

const VA = 0x7fff_1234_5000n;
const { User, Write, Fetch, ShadowStack, StackSegment, Implicit } = Access;

describe('the walk', () => {
  it.each([
    ['4 KiB', 1, 0x1_2345_6000n, 0x1_2345_6abcn],
    ['2 MiB', 2, 0x1_2340_0000n, 0x1_2354_5abcn],
    ['1 GiB', 3, 0x1_4000_0000n, 0x1_5234_5abcn],
  ])('forms the address of a %s page', (_, level, page, pa) => {
    for (const cr4 of [[], ['LA57']] as const) {
      const paging = new Paging({ cr4 });
      paging.map(VA, page, USER_PAGE, level);
      expect(paging.access(VA + 0xabcn)).toBe(pa);
      expect(paging.access(VA + 0xabcn), 'from the TLB').toBe(pa);
      expect(paging.mmu.walker.walks).toBe(1);
      expect(paging.mmu.pageShift).toBe(3 + 9 * level);
      expect(paging.mmu.walkUncached(highHalf(VA), lowHalf(VA), User)).toBe(0);
    }
  });

  it.each([
    // SDM vol. 3A, "Page-Fault Exceptions": reserved bits of each format
    ['PS in a PML4E', 4, PML4E.mask('PS'), INTEL_COMPLETE, true],
    [
      'PS in a PDPTE without 1-GByte pages',
      3,
      PDPTE_1G.mask('PS'),
      { ...INTEL_COMPLETE, page1g: false },
      true,
    ],
    ['bit 13 of a 1-GByte page', 3, PDPTE_1G.mask('PS') | (1n << 13n), INTEL_COMPLETE, true],
    ['bit 29 of a 1-GByte page', 3, PDPTE_1G.mask('PS') | (1n << 29n), INTEL_COMPLETE, true],
    ['bit 13 of a 2-MByte page', 2, PDE_2M.mask('PS') | (1n << 13n), INTEL_COMPLETE, true],
    ['bit 20 of a 2-MByte page', 2, PDE_2M.mask('PS') | (1n << 20n), INTEL_COMPLETE, true],
    ['PAT (bit 12) of a 2-MByte page', 2, PDE_2M.mask('PS', 'PAT'), INTEL_COMPLETE, false],
    ['PAT (bit 7) of a PTE', 1, PTE.mask('PAT'), INTEL_COMPLETE, false],
    ['bit 40 with MAXPHYADDR 40', 1, 1n << 40n, { ...INTEL_COMPLETE, maxPhysAddr: 40 }, true],
    ['bit 51 with MAXPHYADDR 40, in a PDE', 2, 1n << 51n, { ...INTEL_COMPLETE, maxPhysAddr: 40 }, true],
    ['bit 52, ignored', 1, 1n << 52n, { ...INTEL_COMPLETE, maxPhysAddr: 40 }, false],
    ['bit 8 of a PML4E on Intel', 4, 1n << 8n, INTEL_COMPLETE, false],
    // AMD APM vol. 2, "4-Kbyte Page Translation": PML4E bit 8 is MBZ, PDPE bit 8 is not
    ['bit 8 of a PML4E on AMD', 4, 1n << 8n, AMD_ZEN4, true],
    ['bit 8 of a PDPTE on AMD', 3, 1n << 8n, AMD_ZEN4, false],
    ['D (bit 6) of a table entry', 3, 1n << 6n, INTEL_COMPLETE, false],
  ])('%s is reserved or not', (_, level, bits, features, reserved) => {
    const paging = new Paging({ features });
    paging.map(VA, 0x4000_0000n, USER_PAGE);
    const address = paging.entryAddress(VA, level);
    // A page of its own at address 0, so that only the bits of the row can be reserved.
    const mapsPage = level > 1 && (bits & PDE_2M.mask('PS')) !== 0n;
    const entry = mapsPage ? USER_PAGE : (paging.memory.readWord(address) as bigint);
    paging.memory.writeWord(address, entry | bits);
    const outcome = paging.access(VA);
    if (reserved) expect(outcome).toBe('#PF d');
    else expect(outcome).toBeTypeOf('bigint');
    expect(paging.mmu.fault.level).toBe(reserved ? level : 0);
  });
});

describe('reserved bits and memory errors', () => {
  it('with LA57, PS and on AMD bit 8 are reserved in a PML5E', () => {
    for (const [bits, features, outcome] of [
      [1n << 7n, INTEL_COMPLETE, '#PF d'],
      [1n << 8n, INTEL_COMPLETE, 0x4000_0000n],
      [1n << 8n, AMD_ZEN4, '#PF d'],
    ] as const) {
      const paging = new Paging({ cr4: ['LA57'], features });
      paging.map(VA, 0x4000_0000n);
      paging.memory.writeWord(ROOT, (paging.memory.readWord(ROOT) as bigint) | bits);
      expect(paging.access(VA)).toBe(outcome);
    }
  });

  it('XD is reserved at every level while EFER.NXE = 0', () => {
    for (const level of [1, 2, 3, 4]) {
      const paging = new Paging();
      paging.map(VA, 0x4000_0000n);
      const address = paging.entryAddress(VA, level);
      paging.memory.writeWord(address, (paging.memory.readWord(address) as bigint) | PTE.mask('XD'));
      expect(paging.access(VA)).toBe(0x4000_0000n);
      expect(paging.access(VA, User | Fetch)).toBe('#PF 15');
      paging.mmu.state.efer = 0;
      paging.mmu.updateControls();
      paging.mmu.dropAll();
      expect(paging.access(VA)).toBe('#PF d');
    }
  });

  it('a table outside memory is a bus error and changes nothing', () => {
    const paging = new Paging();
    paging.memory.writeWord(paging.entryAddress(VA, 3), (1n << 40n) | TABLE);
    expect(paging.access(VA)).toBe('#MC 0');
    expect(paging.mmu.fault.level).toBe(2);
  });
});

describe('the memory-type index', () => {
  // SDM vol. 3A, "Paging and Memory Typing": PAT is bit 7 of a PTE, bit 12 of an entry that maps a larger page.
  const BIT_12 = 1n << 12n;
  it.each([
    ['PTE, nothing set', 1, 0n, 0],
    ['PTE, PAT in bit 7', 1, PTE.mask('PAT'), 4],
    ['PTE, bit 12 is address', 1, BIT_12, 0],
    ['PTE, PCD and PWT', 1, PTE.mask('PCD', 'PWT'), 3],
    ['2 MiB: bit 7 is PS', 2, 0n, 0],
    ['2 MiB, PAT in bit 12', 2, BIT_12, 4],
    ['2 MiB, PAT, PCD and PWT', 2, BIT_12 | PTE.mask('PCD', 'PWT'), 7],
    ['1 GiB: bit 7 is PS', 3, 0n, 0],
    ['1 GiB, PAT in bit 12', 3, BIT_12, 4],
    ['1 GiB, PWT', 3, PTE.mask('PWT'), 1],
  ])('%s', (_, level, bits, index) => {
    for (const cr4 of [[], ['LA57']] as const) {
      const paging = new Paging({ cr4 });
      const { mmu } = paging;
      paging.map(VA, 0x4000_0000n, USER_PAGE | bits, level);
      for (const how of ['walked', 'from the TLB']) {
        expect(typeof paging.access(VA)).toBe('bigint');
        expect(mmu.memoryTypeIndex, how).toBe(index);
      }
      expect(mmu.walkUncached(highHalf(VA), lowHalf(VA), User)).toBe(0);
      expect(mmu.memoryTypeIndex, 'uncached').toBe(index);
    }
  });
});

describe('the dirty-bit rule', () => {
  const { A, D } = { A: PTE.mask('A'), D: PTE.mask('D') };

  it.each([1, 2, 3])(
    'accessed and dirty of a leaf of level %i are set by successful accesses only',
    (level) => {
      const paging = new Paging();
      const leaf = paging.map(VA, 0x4000_0000n, USER_PAGE, level);
      const flags = (): bigint => (paging.memory.readWord(leaf) as bigint) & (A | D);
      paging.mmu.speculativeFill(highHalf(VA), lowHalf(VA));
      expect(flags(), 'ahead of any access').toBe(A);
      paging.mmu.dropAll();
      paging.memory.writeWord(leaf, (paging.memory.readWord(leaf) as bigint) & ~A);
      paging.access(VA, User);
      expect(flags(), 'read').toBe(A);
      paging.access(VA, User | Write);
      expect(flags(), 'write after a cached read').toBe(A | D);
      paging.memory.writeWord(leaf, (paging.memory.readWord(leaf) as bigint) & ~(A | D));
      paging.access(VA, User | Write);
      expect(flags(), 'a cached dirty translation does not look').toBe(0n);
    },
  );

  it.each([1, 2, 3])(
    'a fill ahead of any access sets accessed in a leaf of level %i that denies it',
    (level) => {
      // SDM vol. 3A, "Accessed and Dirty Flags": accessed is set whenever the processor uses the entry for translation.
      const paging = new Paging({ cr4: ['SMAP'], retention: 'adversarial' });
      const leaf = paging.map(VA, 0x4000_0000n, USER_PAGE, level);
      expect(paging.access(VA, 0), 'SMAP denies what the fill is made as').toBe('#PF 1');
      expect((paging.memory.readWord(leaf) as bigint) & (A | D), 'a denied access').toBe(0n);
      expect(paging.mmu.speculativeFill(highHalf(VA), lowHalf(VA))).toBe(true);
      expect((paging.memory.readWord(leaf) as bigint) & (A | D)).toBe(A);
      const { walks } = paging.mmu.walker;
      expect(typeof paging.access(VA, User)).toBe('bigint');
      expect(paging.mmu.walker.walks, 'cached').toBe(walks);
    },
  );

  it('a denied write leaves the leaf as it was and sets accessed above it', () => {
    const paging = new Paging();
    const leaf = paging.map(VA, 0x4000_0000n, PTE.mask('P', 'US'));
    const table = paging.entryAddress(VA, 2);
    paging.memory.writeWord(table, (paging.memory.readWord(table) as bigint) & ~A);
    expect(paging.access(VA, User | Write)).toBe('#PF 7');
    expect((paging.memory.readWord(leaf) as bigint) & (A | D)).toBe(0n);
    expect((paging.memory.readWord(table) as bigint) & A).toBe(A);
  });

  it('CR0.WP = 0 lets a supervisor write a read-only page, and sets dirty', () => {
    const paging = new Paging();
    const leaf = paging.map(VA, 0x4000_0000n, PTE.mask('P'));
    expect(paging.access(VA, Write)).toBe('#PF 3');
    paging.mmu.state.cr0 &= ~CR0.half('WP').lo;
    paging.mmu.updateControls();
    expect(paging.access(VA, Write)).toBe(0x4000_0000n);
    expect((paging.memory.readWord(leaf) as bigint) & D).toBe(D);
  });
});

describe('canonical addresses', () => {
  it.each([
    ['4-level', [], 0x0000_8000_0000_0000n, User, '#GP 0'],
    ['4-level, stack segment', [], 0x0000_8000_0000_0000n, User | StackSegment, '#SS 0'],
    ['4-level, highest user', [], 0x0000_7fff_ffff_f000n, User, 'canonical'],
    ['4-level, lowest supervisor', [], 0xffff_8000_0000_0000n, 0, 'canonical'],
    ['4-level, below it', [], 0xffff_7fff_ffff_f000n, 0, '#GP 0'],
    ['5-level', ['LA57'], 0x0000_8000_0000_0000n, User, 'canonical'],
    ['5-level, highest user', ['LA57'], 0x00ff_ffff_ffff_f000n, User, 'canonical'],
    ['5-level, above it', ['LA57'], 0x0100_0000_0000_0000n, User, '#GP 0'],
    ['5-level, fetch', ['LA57'], 0xfe00_0000_0000_0000n, Fetch, '#GP 0'],
  ] as const)('%s', (_, cr4, va, access, outcome) => {
    const paging = new Paging({ cr4 });
    expect(paging.access(va, access)).toEqual(
      outcome === 'canonical' ? expect.stringMatching(/^#PF/) : outcome,
    );
  });
});

describe('linear-address masking', () => {
  type Lam = 'LAM_U48' | 'LAM_U57' | 'LAM_SUP';
  const U48 = 0x5a5a_7fff_1234_5000n;
  const SUP = 0xffff_8888_1234_5000n;

  // SDM vol. 3A, "Linear-Address Masking (LAM)"
  it.each([
    ['LAM_U48', false, ['LAM_U48'], U48, User, VA],
    ['no masking without it', false, [], U48, User, '#GP'],
    [
      'bit 63 chooses: a supervisor pointer is not masked by LAM_U48',
      false,
      ['LAM_U48'],
      U48 | (1n << 63n),
      User,
      '#GP',
    ],
    ['LAM_U48: bit 47 has to agree with bit 63', false, ['LAM_U48'], 0x5a5a_8fff_1234_5000n, User, '#GP'],
    ['LAM_U57 with 4-level paging: bits 56:47 are still checked', false, ['LAM_U57'], U48, User, '#GP'],
    ['LAM_U57 with 4-level paging', false, ['LAM_U57'], 0x7e00_7fff_1234_5000n, User, VA],
    ['LAM_U57 wins over LAM_U48', false, ['LAM_U57', 'LAM_U48'], U48, User, '#GP'],
    ['LAM_U57 with 5-level paging', true, ['LAM_U57'], 0x7e00_7fff_1234_5000n, User, VA],
    ['LAM_U48 with 5-level paging masks bits 62:48', true, ['LAM_U48'], U48, User, VA],
    [
      'LAM_U48 with 5-level paging masks a canonical address too',
      true,
      ['LAM_U48'],
      0x0012_7fff_1234_5000n,
      User,
      VA,
    ],
    ['supervisor code using a user pointer', false, ['LAM_U48'], U48, 0, VA],
    ['LAM does not apply to fetches', false, ['LAM_U48'], U48, User | Fetch, '#GP'],
    ['nor to implicit supervisor accesses', false, ['LAM_U48'], U48, Implicit, '#GP'],
    ['LAM_SUP, 4-level: 48 bits', false, ['LAM_SUP'], 0xa5a5_8888_1234_5000n, 0, SUP],
    ['LAM_SUP, 5-level: 57 bits', true, ['LAM_SUP'], 0x81ff_8888_1234_5000n, 0, SUP],
    ['LAM_SUP, 5-level: bit 56 has to agree', true, ['LAM_SUP'], 0x80ff_8888_1234_5000n, 0, '#GP'],
    ['LAM_SUP leaves user pointers alone', false, ['LAM_SUP'], U48, 0, '#GP'],
  ] as const)('%s', (_, la57, lam, va, access, expected) => {
    const names: readonly Lam[] = lam;
    const paging = new Paging({
      cr4: [
        ...(la57 ? (['LA57'] as const) : []),
        ...(names.includes('LAM_SUP') ? (['LAM_SUP'] as const) : []),
      ],
    });
    for (const name of names) if (name !== 'LAM_SUP') paging.mmu.state.cr3Hi |= CR3.half(name).hi;
    paging.mmu.updateControls();
    if (expected === '#GP') {
      expect(paging.access(va, access)).toBe('#GP 0');
      expect(faultCr2(paging.mmu.fault)).toBeUndefined();
      return;
    }
    expect(paging.access(va, access)).toMatch(/^#PF/);
    expect(faultCr2(paging.mmu.fault), 'CR2 holds the address after masking').toBe(expected);
    paging.map(expected, 0x4000_0000n, USER_PAGE);
    expect(paging.access(va, access)).toBe(0x4000_0000n);
    expect(paging.access(expected, access), 'the same TLB entry').toBe(0x4000_0000n);
  });
});

describe('shadow stacks', () => {
  const SHADOW_PAGE = PTE.mask('P', 'US', 'D');
  it.each([
    // SDM vol. 3A, "Shadow Stacks" and "Determination of Access Rights"
    ['a read by RET', SHADOW_PAGE, User | ShadowStack, TABLE, 0x4000_0000n],
    ['a write by CALL', SHADOW_PAGE, User | ShadowStack | Write, TABLE, 0x4000_0000n],
    ['an ordinary read', SHADOW_PAGE, User, TABLE, 0x4000_0000n],
    ['an ordinary write', SHADOW_PAGE, User | Write, TABLE, '#PF 7'],
    ['a shadow-stack access to an ordinary page', USER_PAGE, User | ShadowStack, TABLE, '#PF 45'],
    ['R/W = 0 above the leaf', SHADOW_PAGE, User | ShadowStack, PDE.mask('P', 'US', 'A'), '#PF 45'],
    ['a supervisor shadow-stack write to a user one', SHADOW_PAGE, ShadowStack | Write, TABLE, '#PF 43'],
  ])('%s', (_, flags, access, tables, outcome) => {
    const paging = new Paging({ cr4: ['CET'] });
    paging.entryAddress(VA, 1, tables);
    paging.map(VA, 0x4000_0000n, flags);
    expect(paging.access(VA, access)).toBe(outcome);
    expect(paging.access(VA, access), 'again').toBe(outcome);
  });

  // SDM vol. 2D, "WRUSSD/WRUSSQ": #UD while CR4.CET = 0; CALL and RET use no shadow stack then.
  it.each([
    ['a shadow-stack page', SHADOW_PAGE],
    ['an ordinary page', USER_PAGE],
    ['a page that is not present', 0n],
    ['a page with a reserved bit', USER_PAGE | PTE.mask('XD')],
  ])('without CR4.CET there are no shadow-stack accesses, not even to %s', (_, flags) => {
    const paging = new Paging();
    paging.map(VA, 0x4000_0000n, flags);
    expect(() => paging.access(VA, User | ShadowStack)).toThrow(/CR4\.CET = 0/);
    expect(() => paging.access(VA, User | ShadowStack | Write)).toThrow(RangeError);
  });
});

describe('data through the MMU', () => {
  it('reads and writes 8 bytes at any alignment, also across two pages', () => {
    const paging = new Paging();
    paging.map(VA, 0x4000_0000n);
    paging.map(VA + 0x1000n, 0x5000_0000n);
    const { mmu } = paging;
    for (const offset of [0, 3, 0xff8, 0xffd]) {
      const [hi, lo] = [highHalf(VA + BigInt(offset)), lowHalf(VA + BigInt(offset))];
      expect(mmu.write64(hi, lo, User | Write, 0x0123_4567, 0x89ab_cdef | 0)).toBe(0);
      expect(mmu.read64(hi, lo, User)).toBe(0);
      expect([mmu.valueHi, mmu.valueLo]).toEqual([0x0123_4567, 0x89ab_cdef | 0]);
    }
    expect(paging.memory.readWord(0x5000_0000n)).toBe(0x01_2345_6789n);
  });

  it.each([
    ['write64', (mmu: X86Mmu, hi: number, lo: number) => mmu.write64(hi, lo, User, -1, -1)],
    ['write64, unaligned', (mmu: X86Mmu, hi: number, lo: number) => mmu.write64(hi, lo + 3, User, -1, -1)],
    ['writeBytes', (mmu: X86Mmu, hi: number, lo: number) => mmu.writeBytes(hi, lo, User, Uint8Array.of(1))],
  ])('%s is a write even when the access asked for is not', (_, write) => {
    const paging = new Paging();
    const leaf = paging.map(VA, 0x4000_0000n, PTE.mask('P', 'US'));
    expect(write(paging.mmu, highHalf(VA), lowHalf(VA))).not.toBe(0);
    expect(faultErrorCode(paging.mmu.fault)).toBe(7);
    expect(paging.memory.readWord(0x4000_0000n)).toBe(0n);
    paging.memory.writeWord(leaf, 0x4000_0000n | USER_PAGE);
    expect(write(paging.mmu, highHalf(VA), lowHalf(VA))).toBe(0);
    expect(PTE.has(paging.memory.readWord(leaf) as bigint, 'D')).toBe(true);
  });

  it('writes nothing when the second page faults', () => {
    const paging = new Paging();
    paging.map(VA, 0x4000_0000n);
    const va = VA + 0xffcn;
    expect(paging.mmu.write64(highHalf(va), lowHalf(va), User | Write, -1, -1)).not.toBe(0);
    expect(faultCr2(paging.mmu.fault)).toBe(VA + 0x1000n);
    expect(paging.memory.readWord(0x4000_0ff8n)).toBe(0n);
  });

  it('reports a frame without memory as a bus error', () => {
    const paging = new Paging();
    paging.map(VA, 1n << 40n);
    expect(paging.mmu.read64(highHalf(VA), lowHalf(VA), User)).not.toBe(0);
    expect(paging.mmu.write64(highHalf(VA), lowHalf(VA), User | Write, 0, 0)).not.toBe(0);
  });

  it('refuses a byte range that crosses the page', () => {
    const paging = new Paging();
    expect(() => paging.mmu.readBytes(0, 0xfff, 0, new Uint8Array(2))).toThrow(RangeError);
  });
});

describe('the layouts of the entries', () => {
  it.each([
    [1, false, 'PTE'],
    [2, false, 'PDE'],
    [2, true, 'PDE (2-MByte page)'],
    [3, false, 'PDPTE'],
    [3, true, 'PDPTE (1-GByte page)'],
    [4, false, 'PML4E'],
    [5, false, 'PML5E'],
  ])('level %i, maps a page above the last level: %s → %s', (level, page, title) => {
    expect(entryLayout(level, page).title).toBe(title);
  });
});
