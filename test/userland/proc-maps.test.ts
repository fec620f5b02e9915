/** /proc/PID/maps, smaps and smaps_rollup as programs read them: what they say, and whose locks they take for how long. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../src/base/task.ts';
import type { MapsEntry, SmapsEntry } from '../../src/kernel/mm/smaps.ts';
import type { SmapsRollup } from '../../src/kernel/remote/proc-pid-smaps.ts';
import type { Outcome } from '../../src/userland/outcome.ts';
import { runScenario, type ScenarioResult } from '../../src/userland/run-scenario.ts';
import { defineScenario, type Scenario } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';
import { architecture } from '../support/architecture.ts';

const PAGE = 4096;
const HEAP = 0x1000_0000n;
const MAPPINGS = 12;
/** Alternating rights, so that neighbours stay apart. */
const placeOf = (mapping: number): bigint => HEAP + BigInt(mapping * 2 * PAGE);

function run(scenario: Scenario): ScenarioResult {
  const result = runScenario(scenario, { architecture });
  expect(result.outcome).toEqual({ kind: 'finished' });
  return result;
}
const programValue = (result: ScenarioResult, name: string): unknown =>
  result.programs.find((program) => program.name === name)?.value;

type ProcFile = 'procMaps' | 'procSmaps' | 'procSmapsRollup';

/** What a reader gives of the three files, and what the world sees. */
function readAll(): { readonly read: unknown; readonly seen: readonly SmapsEntry[] } {
  let seen: readonly SmapsEntry[] = [];
  const scenario = defineScenario({
    title: 'maps',
    hugepages: { '2MiB': 1 },
    programs: {
      *target(u, share) {
        yield* u.must(u.mmap({ address: HEAP, bytes: 8 * PAGE, prot: 'rw', fixed: true }));
        for (const page of [0, 3, 4]) yield* u.must(u.store(HEAP + BigInt(page * PAGE), 1n));
        const file = yield* u.must(u.memfdCreate('f'));
        yield* u.must(u.pwrite(file, new Uint8Array(2 * PAGE).fill(1), 0));
        yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'r', shared: true, fd: file, populate: true }));
        yield* u.must(u.mmap({ bytes: 2 ** 21, prot: 'rw', hugetlb: '2MiB', populate: true }));
        share.set('mapped', true);
      },
      *reader(u, share) {
        yield* share.wait('mapped');
        const pid = u.pidOf('target');
        const maps = yield* u.must(u.procMaps(pid));
        return [maps, yield* u.must(u.procSmaps(pid)), yield* u.must(u.procSmapsRollup(pid))];
      },
    },
    finally: {
      'there are three mappings': (world) => {
        seen = world.process('target')?.smaps() ?? [];
        return seen.length === 3;
      },
    },
  });
  return { read: programValue(run(scenario), 'reader'), seen };
}

/** A file of a process that there is not, of one that may not be looked into, and the own one. */
function readRefused(call: ProcFile): unknown {
  const scenario = defineScenario({
    title: 'errors',
    programs: {
      *target(u, share) {
        yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
        yield* share.wait('over');
      },
      *reader(u, share) {
        const missing = yield* u[call](999);
        yield* u.must(u.setuid(1000));
        const refused = yield* u[call](u.pidOf('target'));
        const own = yield* u[call](u.pid);
        share.set('over', true);
        return [missing, refused, own.ok];
      },
    },
  });
  return programValue(run(scenario), 'reader');
}

describe('the files say what there is', () => {
  it('smaps and maps are what the world sees, smaps_rollup their sums', () => {
    const { read, seen } = readAll();
    const [maps, smaps, rollup] = read as [MapsEntry[], SmapsEntry[], SmapsRollup];
    expect(smaps).toEqual(seen);
    expect(maps).toEqual(
      seen.map(({ start, end, permissions, offset, kind }) => ({ start, end, permissions, offset, kind })),
    );
    expect(rollup).toMatchObject({
      start: seen[0]?.start,
      end: seen.at(-1)?.end,
      rss: 12 + 8 + 2048,
      anonymous: 12,
      privateHugetlb: 2048,
    });
  });

  it.each(['procMaps', 'procSmaps', 'procSmapsRollup'] as const)(
    '%s without the process, and without the right to look',
    (call) => {
      expect(readRefused(call)).toMatchObject([{ errno: 'ENOENT' }, { errno: 'EACCES' }, true]);
    },
  );
});

function* mapAll(u: User): Task<void> {
  for (let mapping = 0; mapping < MAPPINGS; mapping++) {
    const prot = mapping % 2 === 0 ? 'rw' : 'r';
    const place = { address: placeOf(mapping), bytes: 2 * PAGE, fixed: true, populate: true, prot };
    yield* u.must(u.mmap(place));
  }
}

/** Calls of mmap that a target got done while another process read a file of it once. */
function callsBeside(file: ProcFile): number {
  const scenario = defineScenario({
    title: 'contention',
    cpus: 2,
    placement: { target: 0, reader: 1 },
    programs: {
      *target(u, share) {
        yield* mapAll(u);
        share.set('mapped', true);
        let calls = 0;
        for (; share.get('over') !== true; calls++) {
          yield* u.must(u.mmap({ address: 0x5000_0000n, bytes: PAGE, prot: 'r', fixed: true }));
        }
        return calls;
      },
      *reader(u, share) {
        yield* share.wait('mapped');
        yield* u.must(u[file](u.pidOf('target')) as Task<Outcome<unknown>>);
        share.set('over', true);
      },
    },
  });
  return Number(programValue(run(scenario), 'target'));
}

/** Cycles that a read of a file takes while somebody is in a long read of smaps and a writer waits behind it. */
function cyclesBehindWriter(file: ProcFile): number {
  const scenario = defineScenario({
    title: 'behind a writer',
    cpus: 3,
    placement: { target: 0, holder: 1, reader: 2 },
    programs: {
      *target(u, share) {
        yield* u.must(u.mmap({ address: HEAP, bytes: 400 * PAGE, prot: 'rw', fixed: true, populate: true }));
        share.set('mapped', true);
        yield* share.wait('holding');
        share.set('writing', true);
        yield* u.must(u.mmap({ bytes: PAGE, prot: 'r' }));
      },
      *holder(u, share) {
        yield* share.wait('mapped');
        share.set('holding', true);
        yield* u.must(u.procSmaps(u.pidOf('target')));
      },
      *reader(u, share) {
        yield* share.wait('writing');
        yield* u.compute(50);
        const begun = u.now();
        yield* u.must(u[file](u.pidOf('target')) as Task<Outcome<unknown>>);
        return u.now() - begun;
      },
    },
  });
  return Number(programValue(run(scenario), 'reader'));
}

describe('a writer comes in between', () => {
  it('smaps: after every five mappings, smaps_rollup: after each, when it waits', () => {
    const smaps = callsBeside('procSmaps');
    // 12 mappings and the one that comes and goes: three holds of the lock.
    expect(smaps).toBeGreaterThan(1);
    expect(smaps).toBeLessThanOrEqual(5);
    expect(callsBeside('procSmapsRollup')).toBeGreaterThan(smaps);
  });

  it('maps does not wait behind a writer that waits for a reader of smaps, the others do', () => {
    expect(cyclesBehindWriter('procMaps')).toBeLessThan(50);
    expect(cyclesBehindWriter('procSmaps')).toBeGreaterThan(400);
    expect(cyclesBehindWriter('procSmapsRollup')).toBeGreaterThan(400);
  });
});
