import { describe, expect, inject, it } from 'vitest';
import { EntryFlag } from '../../../src/arch/paging-format.ts';
import { architectureNamed } from '../../../src/arch/registry.ts';
import type { CheckFinding } from '../../../src/check/races/check.ts';
import {
  type AttachedChecks,
  attachChecks,
  CHECK_NAMES,
  RunChecks,
} from '../../../src/check/races/registry.ts';
import { FrameFlag } from '../../../src/kernel/frame/frame-flags.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { defineScenario, type Scenario } from '../../../src/userland/scenario.ts';
import { ScenarioRunner } from '../../../src/userland/scenario-runner.ts';
import type { System } from '../../../src/userland/system.ts';
import { firstFindings } from './check-run.ts';

const PAGE = 4096;
const BASE = 0x1000_0000n;
const HUGE = 2 ** 21;
const HUGE_BASE = 0x4000_0000n;
const SECOND = BASE + BigInt(PAGE);

/** A thread reads and writes what the main program protects, drops and unmaps. */
const threads = defineScenario({
  title: 'two threads of one address space',
  cpus: 2,
  placement: { main: 0, thread: 1 },
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: BASE, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          for (let i = 0; i < 2; i++) {
            yield* t.attempt(t.store(BASE, 7));
            yield* t.attempt(t.store(SECOND, 7));
          }
        }, 'thread'),
      );
      yield* u.must(u.store(SECOND, 2));
      yield* u.must(u.mprotect(SECOND, PAGE, 'r'));
      yield* u.must(u.madvise(BASE, PAGE, 'DONTNEED'));
      yield* u.must(u.munmap(BASE, 2 * PAGE));
      yield* u.must(u.wait(thread));
    },
  },
});

/** Both write to what they share copy-on-write; with `pinned` the parent has pinned it for a device. */
const family = (pinned: boolean): Scenario =>
  defineScenario({
    title: 'parent and child',
    cpus: 2,
    placement: { parent: 0, child: 1 },
    programs: {
      *parent(u) {
        yield* u.must(u.mmap({ address: BASE, bytes: PAGE, prot: 'rw', fixed: true }));
        yield* u.must(u.store(BASE, 1));
        const pin = { entry: 'pin_user_pages', address: BASE, pages: 1, flags: ['FOLL_WRITE'] } as const;
        const fd = pinned ? (yield* u.must(u.gup(pin))).fd : -1;
        const child = yield* u.must(
          u.fork(function* (c) {
            yield* c.must(c.load(BASE));
            yield* c.must(c.store(BASE, 2));
          }, 'child'),
        );
        yield* u.must(u.store(BASE, 3));
        yield* u.must(u.wait(child));
        if (pinned) yield* u.must(u.gupRelease(fd));
      },
    },
  });

/** A debugger reads what the target drops. */
const remote = defineScenario({
  title: 'a remote read',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  programs: {
    *target(u, share) {
      yield* u.must(u.mmap({ address: BASE, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      share.set('mapped', true);
      yield* share.wait('opened');
      yield* u.must(u.madvise(BASE, PAGE, 'DONTNEED'));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      share.set('opened', true);
      yield* u.procMemRead(mem, BASE, 16);
    },
  },
});

/** A shared mapping of a file is written to and unmapped. */
const file = defineScenario({
  title: 'a mapped file',
  programs: {
    *main(u) {
      const fd = yield* u.must(u.open('/dev/shm/file', { create: true }));
      yield* u.must(u.ftruncate(fd, PAGE));
      yield* u.must(u.mmap({ fd, address: BASE, bytes: PAGE, prot: 'rw', shared: true, fixed: true }));
      yield* u.must(u.store(BASE, 1));
      yield* u.must(u.munmap(BASE, PAGE));
    },
  },
});

/** The page that is dropped becomes that of another address, and another one its. */
const replaced = defineScenario({
  title: 'a page replaced',
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: BASE, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.store(BASE, 1));
      yield* u.must(u.madvise(BASE, PAGE, 'DONTNEED'));
      yield* u.must(u.store(SECOND, 2));
      // By the tables: a store would use what the TLB has kept.
      yield* u.must(u.madvise(BASE, PAGE, 'POPULATE_WRITE'));
    },
  },
});

/** A huge page is collapsed and split again, in the table that was put by. */
const collapsed = defineScenario({
  title: 'collapse and split',
  programs: {
    *main(u) {
      yield* u.must(u.mmap({ address: HUGE_BASE, bytes: HUGE, prot: 'rw', fixed: true }));
      for (let page = 0n; page < 4n; page++) yield* u.must(u.store(HUGE_BASE + page * BigInt(PAGE), 1));
      yield* u.must(u.madvise(HUGE_BASE, HUGE, 'COLLAPSE'));
      yield* u.must(u.mprotect(HUGE_BASE, PAGE, 'r'));
      yield* u.must(u.load(HUGE_BASE));
    },
  },
});

const SCENARIOS = { threads, family: family(false), pinned: family(true), remote, file, collapsed } as const;

/** Without the lock of tables of the last level. */
function leaveOutPteLocks({ kernel: { pageTables } }: System): void {
  const add = pageTables.add.bind(pageTables);
  pageTables.add = (table) => {
    if (table.level === pageTables.lastLevel) {
      table.lock.take = () => true;
      table.lock.release = (task) => {
        task.preemptDisabled--;
      };
    }
    add(table);
  };
}

function leaveOutFlushes({ kernel: { arch } }: System, only: (freedTables: boolean) => boolean): void {
  const flush = arch.flushTlbRange.bind(arch);
  arch.flushTlbRange = (...args) => (only(args[5]) ? nothing() : flush(...args));
}

function* nothing(): Generator<never, void, void> {}

function pinInPlaceOfReference({ kernel: { frames } }: System): void {
  const pin = frames.tryPin.bind(frames);
  frames.tryPin = (frame, pins) => {
    const pinned = pin(frame, pins);
    frames.put(frame);
    return pinned;
  };
}

function leaveOutPut({ kernel: { frames } }: System): void {
  const put = frames.put.bind(frames);
  let left = 1;
  frames.put = (frame) => (frames.hasFlag(frame, FrameFlag.Anon) && left-- > 0 ? false : put(frame));
}

function clearNothing({ kernel: { pageTables } }: System): void {
  const clear = pageTables.getAndClear.bind(pageTables);
  pageTables.getAndClear = (table, index) =>
    table.level === pageTables.lastLevel ? pageTables.read(table, index) : clear(table, index);
}

function keepWritable({ kernel: { pageTables } }: System): void {
  const change = pageTables.change.bind(pageTables);
  pageTables.change = (table, index, set, clear) => change(table, index, set, clear & ~EntryFlag.Write);
}

function loseDirty({ kernel: { frames } }: System): void {
  const set = frames.setFlags.bind(frames);
  frames.setFlags = (frame, flags) => set(frame, flags & ~FrameFlag.Dirty);
}

interface Spoiled {
  readonly check: string;
  readonly scenario: keyof typeof SCENARIOS;
  readonly what: string;
  readonly spoil: (system: System) => void;
  readonly text: RegExp;
}

const SPOILED: readonly Spoiled[] = [
  {
    check: 'pte-without-lock',
    scenario: 'threads',
    what: 'the lock of a pte table is not taken',
    spoil: leaveOutPteLocks,
    text: /changes entry \d+ of pte@.* without ptl pte@/,
  },
  {
    check: 'pte-overwritten',
    scenario: 'threads',
    what: 'a fault does not look whether the pte is what it was',
    spoil: ({ kernel: { pageTables } }) => {
      pageTables.same = () => true;
    },
    text: /a mapping of frame 0x.* is overwritten by a mapping of frame 0x/,
  },
  {
    check: 'frame-freed-in-use',
    scenario: 'threads',
    what: 'an entry is not cleared whose page goes',
    spoil: clearNothing,
    text: /is freed while a pte maps it/,
  },
  {
    check: 'refcount',
    scenario: 'pinned',
    what: 'a reference goes that somebody else has',
    spoil: pinInPlaceOfReference,
    text: /references: fewer than 1 entries that map it and 1 pins need/,
  },
  {
    check: 'stale-tlb-entry',
    scenario: 'threads',
    what: 'flushes are left out',
    spoil: (system) => leaveOutFlushes(system, () => true),
    text: /still translates page 0x.* of mm of main to frame 0x/,
  },
  {
    check: 'page-table-use-after-free',
    scenario: 'threads',
    what: 'the flush before tables are freed is left out',
    spoil: (system) => leaveOutFlushes(system, (freedTables) => freedTables),
    text: /is freed while cpu \d has an upper entry cached that leads to it/,
  },
  {
    check: 'writable-entry',
    scenario: 'family',
    what: 'fork leaves the parent’s entry writable',
    spoil: keepWritable,
    text: /a second time while another entry allows writing to it/,
  },
  {
    check: 'gup-page',
    scenario: 'pinned',
    what: 'fork does not ask whether a page is pinned',
    spoil: ({ kernel: { frames } }) => {
      frames.maybeDmaPinned = () => false;
    },
    text: /of mm of child shares frame 0x.*, which is pinned/,
  },
  {
    check: 'foreign-data',
    scenario: 'remote',
    what: 'GUP takes no reference',
    spoil: ({ kernel: { frames } }) => {
      frames.tryGet = () => true;
    },
    text: /reader reads frame 0x.*, which was freed after it was looked up/,
  },
  {
    check: 'lost-dirty',
    scenario: 'file',
    what: 'a page is not told that an entry was dirty',
    spoil: loseDirty,
    text: /the entry was dirty, and the page is not marked/,
  },
  {
    check: 'audit',
    scenario: 'threads',
    what: 'a reference is not given back',
    spoil: leaveOutPut,
    text: /the reference count of frame 0x.* is 1, counted are 0/,
  },
];

describe('one thing of the memory manager spoiled', () => {
  it.each(SPOILED)('$check finds that $what', ({ check, scenario, spoil, text }) => {
    const [found] = firstFindings(SCENARIOS[scenario], [check], { seeds: 60, spoil });
    expect(found?.text).toMatch(text);
    expect(found?.check).toBe(check);
  });
});

describe('the kernel as it is', () => {
  it.each(Object.entries(SCENARIOS))('no check finds anything in %s', (_name, scenario) => {
    expect(firstFindings(scenario, CHECK_NAMES, { seeds: 6 })).toEqual([]);
  });
});

describe.runIf(inject('architecture') === 'arm64')('break-before-make', () => {
  const run = { retention: 'adversarial', seeds: 2 } as const;

  it('finds a page that another one replaces without an invalidation in between', () => {
    const spoil = (system: System): void => leaveOutFlushes(system, () => true);
    const [found] = firstFindings(replaced, ['break-before-make'], { ...run, spoil });
    expect(found?.text).toMatch(/missing: an invalidation/);
  });

  it('finds nothing in the kernel as it is', () => {
    expect(firstFindings(replaced, ['break-before-make'], run)).toEqual([]);
  });
});

describe('checks that look at one run after another', () => {
  const architecture = architectureNamed(inject('architecture'));

  it('find in each what checks made for it alone find', () => {
    const checks = new RunChecks();
    const runner = new ScenarioRunner(threads, { architecture });
    const found = (seed: number, attachTo: (system: System) => AttachedChecks): readonly CheckFinding[] => {
      const attached: AttachedChecks[] = [];
      const attach = (system: System): void => {
        if (seed % 2 === 0) leaveOutFlushes(system, () => true);
        attached.push(attachTo(system));
      };
      const { end } = runner.run(new RandomPolicy(seed), { attach });
      if (end.kind === 'finished') attached[0]?.finish();
      return attached[0]?.findings ?? [];
    };
    for (let seed = 1; seed <= 12; seed++) {
      const again = found(seed, (system) => checks.attach(system));
      expect(again).toEqual(found(seed, (system) => attachChecks(system)));
      if (seed % 2 === 1) expect(again).toEqual([]);
    }
  });

  it('refuse the name of a check that there is not', () => {
    expect(() => new RunChecks(['no-such-check'])).toThrow('there is no check "no-such-check"');
  });
});
