import { describe, expect, it } from 'vitest';
import { CHECK_NAMES } from '../../../src/check/races/registry.ts';
import { FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import type { KernelWatcher } from '../../../src/kernel/kernel-watcher.ts';
import { AnonVma } from '../../../src/kernel/mm/anon-vma.ts';
import type { VmaWatcher } from '../../../src/kernel/mm/vma-watcher.ts';
import { defineScenario } from '../../../src/userland/scenario.ts';
import type { System } from '../../../src/userland/system.ts';
import { firstFindings } from './check-run.ts';

const PAGE = 4096;
const BASE = 0x1000_0000n;
const NEXT = BASE + BigInt(PAGE);

/** A stack that grows, a page that is thrown away, and one that GUP takes. */
const scenario = defineScenario({
  title: 'one process',
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: NEXT, bytes: 2 * PAGE, prot: 'rw', fixed: true, growsDown: true }));
      yield* u.must(u.store(NEXT, 1));
      yield* u.must(u.store(BASE, 1));
      yield* u.must(u.madvise(BASE, PAGE, 'DONTNEED'));
      yield* u.must(u.mprotect(BASE, 3 * PAGE, 'r'));
      const { fd } = yield* u.must(
        u.gup({ entry: 'get_user_pages_unlocked', address: NEXT, pages: 1, flags: [] }),
      );
      yield* u.must(u.gupRelease(fd));
    },
  },
});

/** With a check that watches VMAs, so that a test may look on there. */
function spoiled(check: string, spoil: (system: System) => void): string | undefined {
  return firstFindings(scenario, [check, 'vma-lock-count'], { seeds: 1, spoil }).at(0)?.text;
}

function watcherOf({ kernel }: System): KernelWatcher {
  if (kernel.watcher === null) throw new Error('nobody watches');
  return kernel.watcher;
}

function vmaWatcherOf({ kernel }: System): VmaWatcher {
  if (kernel.vmaWatcher === null) throw new Error('nobody watches');
  return kernel.vmaWatcher;
}

describe('a page that is mapped and thrown away', () => {
  it('gives no check anything to tell', () => {
    expect(firstFindings(scenario, CHECK_NAMES, { seeds: 1 })).toEqual([]);
  });

  it('must be of an anon_vma to which its VMA is chained', () => {
    const found = spoiled('anon-page-reachable', ({ kernel: { frames } }) => {
      const set = frames.setMapping.bind(frames);
      frames.setMapping = (frame, mapping, index) =>
        set(frame, mapping instanceof AnonVma ? new AnonVma(99, null) : mapping, index);
    });
    expect(found).toMatch(
      /^page 0x10001 of vma .* maps a page of anon_vma 99, to which the VMA is not chained$/,
    );
  });

  it('must have the index that its place in the VMA says', () => {
    const found = spoiled('anon-page-reachable', ({ kernel: { frames } }) => {
      const set = frames.setMapping.bind(frames);
      frames.setMapping = (frame, mapping, index) =>
        set(frame, mapping, mapping instanceof AnonVma ? index + 1 : index);
    });
    expect(found).toMatch(/^page 0x10001 of vma .* maps a page of index 0x10002/);
  });

  it('must keep its index when its VMA grows', () => {
    const found = spoiled('anon-page-reachable', (system) => {
      const watcher = vmaWatcherOf(system);
      const changes = watcher.treeChanges.bind(watcher);
      watcher.treeChanges = (mm, vma, change, start, end) => {
        changes(mm, vma, change, start, end);
        if (change === 'resize') vma.pgoff -= 1;
      };
    });
    expect(found).toMatch(/^page 0x10001 of vma .* maps a page of index 0x10001/);
  });

  it('is not mapped by somebody who holds no lock that keeps the mapping', () => {
    const found = spoiled('pte-without-mapping-lock', (system) => {
      const watcher = vmaWatcherOf(system);
      const made = watcher.made.bind(watcher);
      watcher.made = (vma, mm) => {
        made(vma, mm);
        vma.isReadBy = () => false;
      };
    });
    expect(found).toMatch(
      /^main changes the entry of page 0x\w+ of mm of main and holds neither mmap_lock nor the lock of the VMA/,
    );
  });

  it('is gone when MADV_DONTNEED returns', () => {
    const found = spoiled('rights-after-call', (system) => {
      const watcher = watcherOf(system);
      const discards = watcher.discards.bind(watcher);
      watcher.discards = (current, mm, start, end) => discards(current, mm, start, end + 1);
    });
    expect(found).toBe(
      'main returns from its call, and page 0x10001 of mm of main is still mapped, which it was to throw away',
    );
  });
});

describe('a page that GUP gives', () => {
  it('is not given to somebody who may not write', () => {
    const found = spoiled('gup-rights', (system) => {
      const watcher = watcherOf(system);
      const grabbed = watcher.grabbed.bind(watcher);
      watcher.grabbed = (current, mm, vma, page, frame, gupFlags) =>
        grabbed(current, mm, vma, page, frame, gupFlags | FOLL_WRITE);
    });
    expect(found).toMatch(/^GUP gives page 0x10001 of vma .*, which is not writable, for writing$/);
  });

  it('is of the mapping that GUP has looked at', () => {
    const found = spoiled('gup-rights', (system) => {
      const watcher = watcherOf(system);
      const grabbed = watcher.grabbed.bind(watcher);
      watcher.grabbed = (current, mm, vma, page, frame, gupFlags) =>
        grabbed(current, mm, vma, page + 8, frame, gupFlags);
    });
    expect(found).toMatch(/^GUP gives page 0x10009 of vma .*, which does not hold it$/);
  });
});
