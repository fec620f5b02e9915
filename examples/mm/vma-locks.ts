/**
 * Two threads on two CPUs: one faults pages in, the other changes the protection of memory beside it. A fault takes only
 * the lock of its own VMA, so a writer of another VMA is never in its way; where the writer splits the very VMA that
 * faults, the fault finds it write-locked, or gone, and falls back to mmap_lock. `--no-vma-locks` shows the same faults when
 * all of them take mmap_lock.
 */
import { defineScenario, noLockOrderViolation, type Task, type User } from 'tablewalk';

const PAGE = 4096;
const PAGES = 32;
const BYTES = PAGES * PAGE;
const last = (start: bigint): bigint => start + BigInt(BYTES - PAGE);

/** Stores to each page of a mapping but the last. */
function* touch(u: User, start: bigint): Task<void> {
  for (let page = 0; page < PAGES - 1; page++) yield* u.must(u.store(start + BigInt(page * PAGE), 1n));
}

/** Takes the right to write from the last page of a mapping and gives it back, until somebody says stop. */
function* protect(u: User, start: bigint, over: () => boolean): Task<number> {
  let calls = 0;
  for (const prot of alternating()) {
    yield* u.must(u.mprotect(last(start), PAGE, prot));
    calls++;
    if (over()) break;
  }
  return calls;
}

function* alternating(): Generator<string, never> {
  for (;;) {
    yield 'r';
    yield 'rw';
  }
}

export default defineScenario({
  title: 'page faults of one thread beside mprotect of another',
  cpus: 2,
  lockdep: true,
  timeline: false,
  placement: {
    'beside another VMA': 0,
    'beside its own VMA': 0,
    'writer of another VMA': 1,
    'writer of its own VMA': 1,
  },
  programs: Object.fromEntries(
    ['another', 'its own'].map((which) => [
      `beside ${which} VMA`,
      function* (u: User, share): Task<void> {
        const faulting = yield* u.must(u.mmap({ bytes: BYTES, prot: 'rw', shared: true }));
        const other = yield* u.must(u.mmap({ bytes: BYTES, prot: 'rw' }));
        const thread = yield* u.must(
          u.cloneVm(function* (t, shared) {
            shared.set(`${which}: begun`, true);
            const target = which === 'another' ? other : faulting;
            const calls = yield* protect(t, target, () => shared.get(`${which}: over`) === true);
            shared.set(`${which}: calls`, calls);
          }, `writer of ${which} VMA`),
        );
        yield* share.wait(`${which}: begun`);
        yield* touch(u, faulting);
        share.set(`${which}: over`, true);
        yield* u.must(u.wait(thread));
      },
    ]),
  ),
  finally: {
    'no order of locks could deadlock': noLockOrderViolation,
    'faults beside another VMA never fall back': (world) =>
      Object.keys(world.process('beside another VMA')?.vmaLocks.reasons ?? {}).every(
        (reason) => reason === 'hole',
      ),
  },
  report: (world) => [
    {
      heading: 'Which lock did the faults take?',
      table: {
        columns: [
          'faults',
          { title: 'mprotect calls meanwhile', align: 'right' },
          { title: 'under the VMA lock', align: 'right' },
          { title: 'without', align: 'right' },
          'because',
        ],
        rows: ['another', 'its own'].map((which) => {
          const process = world.process(`beside ${which} VMA`);
          const { success = 0, retry = 0, reasons = {} } = process?.vmaLocks ?? {};
          const faults = (process?.minFlt ?? 0) + (process?.majFlt ?? 0);
          const why = Object.entries(reasons).map(([reason, count]) => `${reason} ${count}`);
          if (retry > 0) why.push(`retry ${retry}`);
          return [
            `beside ${which} VMA`,
            Number(world.share.get(`${which}: calls`)),
            success,
            faults - success,
            why.join(', '),
          ];
        }),
      },
    },
  ],
});
