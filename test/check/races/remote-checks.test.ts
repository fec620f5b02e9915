import { describe, expect, it } from 'vitest';
import twoVmas from '../../../examples/remote/s02-two-vmas.ts';
import fileThpRetract from '../../../examples/remote/s03-file-thp-retract.ts';
import mprotectNone from '../../../examples/remote/s04-mprotect-none.ts';
import vmasAfterUnlock from '../../../examples/remote/vmas-after-unlock.ts';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import type { Task } from '../../../src/base/task.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { rootTable } from '../../../src/kernel/mm/page-table-alloc.ts';
import type { DesignName } from '../../../src/kernel/remote/design-names.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import type { Outcome } from '../../../src/userland/outcome.ts';
import { defineScenario } from '../../../src/userland/scenario.ts';
import type { System } from '../../../src/userland/system.ts';
import type { User } from '../../../src/userland/user.ts';
import { firstFindings } from './check-run.ts';

const PAGE = 4096;
const REMOTE = 0x1000_0000n;
const REMOTE_PAGE = 0x1_0000;
const MOVED = 0x2000_0000n;

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

/** The frame that the page maps, null for none. */
function mappedFrame({ kernel: { pageTables } }: System, mm: MmStruct): number | null {
  const level = pageTables.lookupLeaf(rootTable(mm), REMOTE_PAGE);
  const present = level !== -1 && (pageTables.flags(level) & EntryFlag.Present) !== 0;
  return present ? pageTables.frameInLeaf(REMOTE_PAGE, level) : null;
}

/** The access of a kernel that still has the frame, with a reference, that the target's page mapped before. */
function accessOldFrame(begun: 'before' | 'after'): (system: System) => void {
  return (system) => {
    const { watcher, remoteWatcher, frames } = system.kernel;
    if (watcher === null || remoteWatcher === null) throw new Error('nobody watches');
    const buffer = new Uint8Array(8);
    let old: number | null = null;
    const begin = (current: TaskStruct, mm: MmStruct): void =>
      remoteWatcher.begins(current, { mm, page: REMOTE_PAGE, offset: 0, buffer, length: 8, gupFlags: 0 });
    const looks = (current: TaskStruct, mm: MmStruct): void => {
      const frame = mappedFrame(system, mm);
      if (frame === old) return;
      if (old === null) {
        old = frame as number;
        frames.get(old);
        if (begun === 'before') begin(current, mm);
        return;
      }
      if (begun === 'after') begin(current, mm);
      remoteWatcher.copied(current, old, 0, buffer, 0, 8);
      remoteWatcher.ends(current, 8);
      frames.put(old);
      old = null;
    };
    const left = watcher.left.bind(watcher);
    watcher.left = (current) => {
      left(current);
      if (current.mm !== null && current.mm.pgd !== -1) looks(current, current.mm);
    };
  };
}

describe('an access that gives what a page was', () => {
  it.each<[string, (u: User) => Task<Outcome<unknown>>, RegExp]>([
    ['munmap', (u) => u.munmap(REMOTE, PAGE), /reads page 0x10000 of mm of target, which is not mapped$/],
    [
      'mremap',
      (u) =>
        u.mremap({
          address: REMOTE,
          bytes: PAGE,
          newBytes: PAGE,
          newAddress: MOVED,
          mayMove: true,
          fixed: true,
        }),
      /is not mapped$/,
    ],
    [
      'madvise',
      (u) => u.madvise(REMOTE, PAGE, 'DONTNEED'),
      /which has not mapped frame 0x[0-9a-f]+ since the/,
    ],
  ])('is found when it begins after %s has returned, and right when it began before', (_, call, text) => {
    const scenario = defineScenario({
      title: 'a page that goes',
      programs: {
        *target(u) {
          yield* u.must(u.mmap({ address: REMOTE, bytes: PAGE, prot: 'rw', fixed: true }));
          yield* u.must(u.store(REMOTE, 1));
          yield* u.must(call(u));
        },
      },
    });
    const checks = ['stale-remote-access', 'lock-held-at-return'];
    const of = (begun: 'before' | 'after'): readonly string[] =>
      firstFindings(scenario, checks, { seeds: 1, spoil: accessOldFrame(begun) }).map((found) => found.text);
    expect(of('after')[0]).toMatch(text);
    expect(of('before')).toEqual([]);
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
