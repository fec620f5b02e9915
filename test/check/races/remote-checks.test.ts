import { describe, expect, it } from 'vitest';
import twoVmas from '../../../examples/remote/s02-two-vmas.ts';
import fileThpRetract from '../../../examples/remote/s03-file-thp-retract.ts';
import mprotectNone from '../../../examples/remote/s04-mprotect-none.ts';
import vmasAfterUnlock from '../../../examples/remote/vmas-after-unlock.ts';
import type { DesignName } from '../../../src/kernel/remote/design-names.ts';
import { firstFindings } from './check-run.ts';

describe('a read over two mappings that are replaced at once', () => {
  it('is told of as torn where it locks page by page', () => {
    const [found] = firstFindings(twoVmas, ['torn-remote-read'], { design: 'v1', seeds: 4 });
    expect(found?.text).toMatch(/^reader has read page 0x1000. .* they never were there together$/);
  });

  it.each<DesignName>(['v0', 'v3', 'v4', 'v5', 'v6'])('is whole with %s', (design) => {
    expect(firstFindings(twoVmas, ['torn-remote-read', 'stale-remote-access'], { design, seeds: 1 })).toEqual(
      [],
    );
  });
});

describe('a read beside mprotect(PROT_NONE)', () => {
  it('is told of when it shows bytes that came after the rights had gone', () => {
    const [found] = firstFindings(mprotectNone, ['stale-remote-access'], { design: 'n1', seeds: 8 });
    expect(found?.text).toBe(
      'reader reads page 0x10000 of mm of target, which has these bytes only since it was taken away',
    );
  });

  it.each<DesignName>(['v0', 'v1', 'v3', 'v4', 'v5', 'v6'])('is before it or short with %s', (design) => {
    expect(
      firstFindings(mprotectNone, ['stale-remote-access', 'vma-without-lock'], { design, seeds: 2 }),
    ).toEqual([]);
  });
});

describe('designs that are wrong on purpose', () => {
  it.each([
    [
      'n1',
      mprotectNone,
      'vma-without-lock',
      /reads vm_flags of vma 1 of mm of target, and holds neither mmap_lock/,
    ],
    [
      'n2',
      mprotectNone,
      'vma-without-lock',
      /reads vm_end of vma 1 of mm of target, and holds neither mmap_lock/,
    ],
    ['n4', twoVmas, 'lock-order', /^mmap_lock under a VMA lock: reader waits for mmap_lock mm of target/],
  ] as const)('%s is found out', (design, scenario, check, text) => {
    const [found] = firstFindings(scenario, [check], { design, seeds: 4 });
    expect(found?.text).toMatch(text);
  });

  it.each<DesignName>(['v0', 'v3', 'v5', 'v6'])('what is right is not: %s', (design) => {
    expect(firstFindings(fileThpRetract, ['vma-without-lock', 'lock-order'], { design, seeds: 1 })).toEqual(
      [],
    );
  });
});

describe('a pointer to a VMA', () => {
  it('must not be followed when its lock is gone', () => {
    const bugs = ['vmas-after-unlock'] as const;
    const [found] = firstFindings(vmasAfterUnlock, ['vma-without-lock'], { bugs, seeds: 1 });
    expect(found?.text).toMatch(
      /^driver reads vm_start of vma \d of mm of driver, (which is freed|and holds neither)/,
    );
  });
});
