import { describe, expect, it } from 'vitest';
import { CHECK_NAMES } from '../../../src/check/races/registry.ts';
import { defineScenario } from '../../../src/userland/scenario.ts';
import type { System } from '../../../src/userland/system.ts';
import { type CheckRun, firstFindings } from './check-run.ts';

const PAGE = 4096;
const BASE = 0x1000_0000n;

/** A page that a device gets by gup-fast while it is thrown away; another process takes the frame. */
const got = defineScenario({
  title: 'gup-fast beside MADV_DONTNEED',
  cpus: 3,
  placement: { getter: 0, stranger: 1, thread: 2 },
  programs: {
    *getter(u, share) {
      yield* u.must(u.mmap({ address: BASE, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(t.madvise(BASE, PAGE, 'DONTNEED'));
          share.set('given back', true);
        }, 'thread'),
      );
      const get = { entry: 'get_user_pages_fast', address: BASE, pages: 1, flags: ['FOLL_WRITE'] } as const;
      const { fd } = yield* u.must(u.gup(get));
      yield* u.must(u.gupRelease(fd));
      yield* u.must(u.wait(thread));
    },
    *stranger(u, share) {
      yield* u.must(u.mmap({ address: BASE, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 2));
      yield* share.wait('given back');
      yield* u.must(u.store(BASE + BigInt(PAGE), 2));
    },
  },
});

/** A read of another process's page, which is given back and becomes a third one's. */
const reused = defineScenario({
  title: 'a remote read beside MADV_DONTNEED',
  cpus: 3,
  placement: { target: 0, stranger: 1, reader: 2 },
  programs: {
    *target(u, share) {
      yield* u.must(u.mmap({ address: BASE, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      share.set('mapped', true);
      yield* share.wait('opened');
      yield* u.must(u.madvise(BASE, PAGE, 'DONTNEED'));
      share.set('given back', true);
    },
    *stranger(u, share) {
      yield* u.must(u.mmap({ address: BASE, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 2));
      yield* share.wait('given back');
      yield* u.must(u.store(BASE + BigInt(PAGE), 2));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      share.set('opened', true);
      yield* u.procMemRead(mem, BASE, 8);
    },
  },
});

/** Copies on write: of a page that fork has shared, and of one of a file. */
const copies = defineScenario({
  title: 'copies on write',
  cpus: 2,
  placement: { parent: 0, child: 1 },
  programs: {
    *parent(u) {
      const fd = yield* u.must(u.open('/dev/shm/file', { create: true }));
      yield* u.must(u.ftruncate(fd, PAGE));
      yield* u.must(u.mmap({ fd, address: BASE, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      const child = yield* u.must(
        u.fork(function* (c) {
          yield* c.must(c.store(BASE + 8n, 2));
        }, 'child'),
      );
      yield* u.must(u.store(BASE + 16n, 3));
      yield* u.must(u.wait(child));
    },
  },
});

/** Two threads throw the same page away, which one of them has just read. */
const discarded = defineScenario({
  title: 'two discard a page',
  cpus: 2,
  placement: { first: 0, second: 1 },
  programs: {
    *first(u, share) {
      yield* u.must(u.mmap({ address: BASE, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      const second = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(t.load(BASE));
          share.set('read', true);
          yield* t.must(t.madvise(BASE, PAGE, 'DONTNEED'));
        }, 'second'),
      );
      yield* share.wait('read');
      yield* u.must(u.madvise(BASE, PAGE, 'DONTNEED'));
      yield* u.must(u.wait(second));
    },
  },
});

/** One thread writes to a page of a file for the first time; the other has read it. */
const replaced = defineScenario({
  title: 'a copy on write beside a reader',
  cpus: 2,
  placement: { first: 0, second: 1 },
  programs: {
    *first(u, share) {
      yield* u.must(u.mmap({ address: BASE, bytes: PAGE, prot: 'rw', fixed: true }));
      const second = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(t.load(BASE));
          share.set('read', true);
        }, 'second'),
      );
      yield* share.wait('read');
      yield* u.must(u.store(BASE, 1));
      yield* u.must(u.wait(second));
    },
  },
});

function* nothing(): Generator<never, void, void> {}

/** Two threads write to a page of a file; one of them unmaps it. */
const written = defineScenario({
  title: 'a dirty page of a file is unmapped',
  cpus: 2,
  placement: { first: 0, second: 1 },
  programs: {
    *first(u, share) {
      const fd = yield* u.must(u.open('/dev/shm/file', { create: true }));
      yield* u.must(u.ftruncate(fd, PAGE));
      yield* u.must(u.mmap({ fd, address: BASE, bytes: PAGE, prot: 'rw', shared: true, fixed: true }));
      yield* u.must(u.store(BASE, 1));
      const second = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.must(t.store(BASE, 2));
          share.set('written', true);
        }, 'second'),
      );
      yield* share.wait('written');
      yield* u.must(u.munmap(BASE, PAGE));
      yield* u.must(u.wait(second));
    },
  },
});

/** Two threads flush a page that a third has read. That one ends: its CPU is lazy, and leaves the mm when it is interrupted. */
const left = defineScenario({
  title: 'MADV_PAGEOUT beside MADV_DONTNEED, after a reader has ended',
  cpus: 3,
  placement: { first: 0, second: 1, third: 2 },
  swap: '1M',
  programs: {
    *first(u, share) {
      yield* u.must(u.mmap({ address: BASE, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      const second = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* t.must(t.load(BASE));
          shared.set('read', true);
        }, 'second'),
      );
      const third = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* shared.wait('read');
          yield* t.madvise(BASE, PAGE, 'PAGEOUT');
        }, 'third'),
      );
      yield* share.wait('read');
      yield* u.must(u.madvise(BASE, PAGE, 'DONTNEED'));
      yield* u.must(u.wait(second));
      yield* u.must(u.wait(third));
    },
  },
});

function text(scenario: typeof got, check: string, run: Partial<CheckRun>): string | undefined {
  return firstFindings(scenario, [check], { seeds: 150, ...run })[0]?.text;
}

describe('a page that is got without a lock', () => {
  it('was mapped when gup-fast took the reference: a pte that is not looked at again is found', () => {
    const spoil = ({ kernel: { pageTables } }: System): void => {
      pageTables.same = () => true;
    };
    expect(text(got, 'stale-lookup', { spoil })).toMatch(
      /^getter gets frame 0x.* for page 0x10000 of mm of getter, where it was not mapped any more/,
    );
  });

  it('is the one that the remote reader looked for, which a walk without a second look does not see to', () => {
    expect(text(reused, 'stale-lookup', { design: 'n3' })).toMatch(
      /^reader gets frame 0x.* for page 0x10000 of mm of target, where it was not mapped any more/,
    );
  });
});

describe('what a page holds', () => {
  it('was put into it since it was allocated: a copy that is left out is found', () => {
    const spoil = ({ kernel: { machine } }: System): void => {
      machine.memory.copyFrame = () => true;
    };
    expect(text(copies, 'page-contents', { spoil, seeds: 2 })).toMatch(
      /^page 0x10000 of mm of parent gets frame 0x.*, which nothing was written to since it was allocated$/,
    );
  });

  it('is in the copy of an anonymous page what is in that: one byte that differs is found', () => {
    const spoil = ({ kernel: { machine } }: System): void => {
      const { memory } = machine;
      const copy = memory.copyFrame.bind(memory);
      let value = 0;
      memory.copyFrame = (from, to) => copy(from, to) && memory.writeBytes(to, 100, Uint8Array.of(++value));
    };
    expect(text(copies, 'page-contents', { spoil, seeds: 2 })).toMatch(/from which it differs at byte 100$/);
  });
});

describe('translations that others have to flush', () => {
  it('are gone when a call returns that finds the entry cleared by another task', () => {
    expect(text(discarded, 'stale-tlb-entry', { bugs: ['nested-tlb-gather'] })).toMatch(
      /^cpu \d still translates page 0x10000 of mm of first to frame 0x.* as (first|second) goes back to its program$/,
    );
  });

  it('are gone before a dirty page of a file counts as unmapped', () => {
    // Where the missing flush returns nobody looks: what is asked for is what depends on it.
    const spoil = ({ kernel: { arch, watcher } }: System): void => {
      arch.flushTlbRange = nothing;
      if (watcher !== null) watcher.flushEnds = () => undefined;
    };
    expect(text(written, 'stale-tlb-entry', { spoil, seeds: 10 })).toMatch(
      /^cpu \d still translates page 0x10000 of mm of first to frame 0x.* when its map count falls, though the entry was dirty$/,
    );
  });

  it('are gone before a copy takes the place of their page', () => {
    expect(text(replaced, 'stale-tlb-entry', { bugs: ['wp-page-copy-late-flush'], seeds: 5 })).toMatch(
      /^cpu \d still translates page 0x10000 of mm of first to frame 0x.* when frame 0x.* takes its place$/,
    );
  });
});

describe('the kernel as it is', () => {
  it.each(Object.entries({ got, reused, copies, discarded, replaced, written }))(
    'no check finds anything in %s',
    (_name, scenario) => {
      expect(firstFindings(scenario, CHECK_NAMES, { seeds: 8 })).toEqual([]);
    },
  );

  it('owes nothing to a CPU that is no longer lazy and has not looked at the generation yet', () => {
    // One flush passes the CPU over while it is lazy, the other one interrupts it, and the first returns before it has left.
    expect(firstFindings(left, CHECK_NAMES, { seeds: 50 })).toEqual([]);
  });
});
