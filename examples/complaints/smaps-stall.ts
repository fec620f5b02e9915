/**
 * A collector of statistics reads /proc/PID/smaps of a process with much memory, and the process stalls: while the collector walks
 * the page tables it holds mmap_lock for reading, a thread that calls mmap waits for it, and behind that thread, since the
 * lock is fair, so does everybody else who wants it: faults before Linux 6.4 (try `--no-vma-locks`), and a debugger that
 * reads 8 bytes, unless the design takes the lock of the one VMA. maps has taken no mmap_lock since Linux 6.17.
 * @see github.com/influxdata/telegraf issue 15295; github.com/htop-dev/htop issue 1712; github.com/ncabatoff/process-exporter
 * issue 246; Linux fs/proc/task_mmu.c, `m_start`
 */
import { defineScenario, type Share, type Task, type User } from 'tablewalk';

const PAGE = 4096;
const HEAP_BYTES = 600 * PAGE;
const WORK = 0x1000_0000n;
const WORK_PAGES = 16;
const DATA = 0x2000_0000n;
/** Reads of each file, and as many more as it takes until everybody has been measured so often beside them. */
const READS = 3;
const CALLS = 20;
const CALLERS = ['mmap', 'fault', 'read'] as const;
const FILES = ['nothing', 'maps', 'smaps', 'smaps_rollup'] as const;

/** Repeats something until the last file is read, and notes the longest time it took beside each alone. */
function* repeat(
  u: User,
  share: Share,
  what: (typeof CALLERS)[number],
  call: (turn: number) => Task<unknown>,
  afterwards: (turn: number) => Task<unknown> = () => u.compute(1),
): Task<void> {
  for (let turn = 0; share.get('over') !== true; turn++) {
    const file = share.get('file');
    const begun = u.now();
    yield* call(turn);
    const name = `${what} beside ${file}`;
    if (file === share.get('file')) {
      share.set(name, Math.max(u.now() - begun, Number(share.get(name) ?? 0)));
      share.set(`calls of ${name}`, Number(share.get(`calls of ${name}`) ?? 0) + 1);
    }
    yield* afterwards(turn);
    yield* u.compute(20);
  }
}

/** Lets time pass: what comes next is seen by others only then. */
function* pass(u: User, cycles: number): Task<void> {
  yield* u.compute(cycles);
  yield* u.compute(1);
}

const giveBack = (u: User) => u.must(u.madvise(WORK, WORK_PAGES * PAGE, 'DONTNEED'));

function* readFile(u: User, pid: number, file: (typeof FILES)[number]): Task<void> {
  if (file === 'nothing') yield* pass(u, 500);
  else if (file === 'maps') yield* u.must(u.procMaps(pid));
  else if (file === 'smaps') yield* u.must(u.procSmaps(pid));
  else yield* u.must(u.procSmapsRollup(pid));
}

export default defineScenario({
  title: 'a process stalls while somebody reads its smaps',
  cpus: 5,
  placement: { database: 0, mapper: 1, worker: 2, debugger: 3, collector: 4 },
  timeline: false,
  programs: {
    *database(u, share) {
      yield* u.must(u.mmap({ bytes: HEAP_BYTES, prot: 'rw', populate: true }));
      yield* u.must(
        u.mmap({ address: WORK, bytes: WORK_PAGES * PAGE, prot: 'rw', fixed: true, populate: true }),
      );
      yield* u.must(u.mmap({ address: DATA, bytes: PAGE, prot: 'rw', fixed: true, populate: true }));
      yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* repeat(t, shared, 'mmap', function* () {
            const page = yield* t.must(t.mmap({ bytes: PAGE, prot: 'r' }));
            yield* t.must(t.munmap(page, PAGE));
          });
        }, 'mapper'),
      );
      yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* giveBack(t);
          const touch = (turn: number) => t.must(t.store(WORK + BigInt((turn % WORK_PAGES) * PAGE), 1n));
          yield* repeat(t, shared, 'fault', touch, function* (turn) {
            if (turn % WORK_PAGES === WORK_PAGES - 1) yield* giveBack(t);
          });
        }, 'worker'),
      );
      share.set('ready', true);
      yield* share.wait('over');
    },
    *debugger(u, share) {
      yield* share.wait('ready');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('database')));
      yield* repeat(u, share, 'read', function* () {
        yield* u.must(u.procMemRead(mem, DATA, 8));
      });
    },
    *collector(u, share) {
      share.set('file', 'none');
      yield* share.wait('ready');
      // What everybody does first costs more than what it does again.
      while (Number(share.get('calls of mmap beside none') ?? 0) < CALLS) yield* pass(u, 500);
      const pid = u.pidOf('database');
      for (const file of FILES) {
        share.set('file', file);
        const begun = u.now();
        let reads = 0;
        const measured = (what: string): boolean =>
          Number(share.get(`calls of ${what} beside ${file}`) ?? 0) >= CALLS;
        for (; reads < READS || !CALLERS.every(measured); reads++) yield* readFile(u, pid, file);
        share.set(`reading ${file}`, Math.round((u.now() - begun) / reads));
        // Who waits still waits for this file; what begins after it belongs to none.
        yield* pass(u, 500);
        share.set('file', 'none');
        yield* pass(u, 1000);
      }
      share.set('over', true);
    },
  },
  finally: {
    'a debugger waits for mmap_lock only where its design takes it': (world) =>
      !/^v[1-5]$/.test(world.remoteAccess.design) || Object.keys(world.remoteAccess.fallbacks).length === 0,
  },
  report: (world) => [
    {
      heading: `How long does something take at most beside such a reader? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: [
          'beside reads of',
          ...['one read', 'mmap and munmap', 'fault', "a debugger's read"].map((title) => ({
            title,
            align: 'right' as const,
          })),
        ],
        rows: FILES.map((file) => [
          file,
          file === 'nothing' ? '' : Number(world.share.get(`reading ${file}`)),
          ...CALLERS.map((what) => Number(world.share.get(`${what} beside ${file}`) ?? 0)),
        ]),
      },
      notes: [`cycles; the heap has ${HEAP_BYTES / PAGE} pages`],
    },
  ],
});
