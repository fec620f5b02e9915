/**
 * Readers of one process's memory beside threads of it that change the protection of other memory: how many reads get done, and how
 * long the slowest take, for some numbers of each. Compare designs with one profile of costs: `--profile sapphire-rapids`
 * (or zen4, neoverse-v2) has the figures of a processor, without it every step is one cycle. What costs under v0 is
 * waiting for writers; what is left under the others is the line with the VMA's reference count, which all readers write.
 * @see Rik van Riel, 16 June 2026, "[PATCH 0/3] mm: __access_remote_vm with per-VMA lock"
 */
import { defineScenario, type Share, type Task, type User } from 'tablewalk';

const PAGE = 4096;
const DATA = 0x1000_0000n;
const HEAP_PAGES = 32;
const heapOf = (writer: number): bigint => 0x2000_0000n + BigInt(writer) * 0x100_0000n;
/** Readers, writers. */
const MIXES = [1, 2, 4].flatMap((readers) => [0, 1, 2].map((writers) => [readers, writers] as const));
const READS = 150;
/** Before them, not counted: the lines that they share are not in the caches yet. */
const FIRST_READS = 10;
const READERS = [0, 1, 2, 3];
const WRITERS = [0, 1];

interface Measured {
  readonly begun: number;
  readonly ended: number;
  readonly times: readonly number[];
}

function* read(u: User, mem: number): Task<Measured> {
  for (let turn = 0; turn < FIRST_READS; turn++) yield* u.must(u.procMemRead(mem, DATA, 8));
  const begun = u.now();
  const times: number[] = [];
  for (let turn = 0; turn < READS; turn++) {
    const start = u.now();
    yield* u.must(u.procMemRead(mem, DATA, 8));
    times.push(u.now() - start);
    // Readers in step would meet at the same lines each time, or never.
    yield* u.compute(1 + ((turn * 29 + u.pid * 13) % 97));
  }
  return { begun, ended: u.now(), times };
}

const add = (share: Share, name: string): void => share.set(name, Number(share.get(name) ?? 0) + 1);

/** Until all readers are done. */
function* write(u: User, share: Share, writer: number, mix: number): Task<void> {
  for (let calls = 0; Number(share.get('over') ?? -1) < mix; calls++) {
    yield* u.must(u.mprotect(heapOf(writer), HEAP_PAGES * PAGE, calls % 2 === 0 ? 'r' : 'rw'));
    add(share, `calls ${mix}`);
  }
}

export default defineScenario({
  title: 'S12: readers beside writers: reads done, and how long they took',
  cpus: 1 + WRITERS.length + READERS.length,
  placement: Object.fromEntries([
    ['target', 0],
    ...WRITERS.map((writer) => [`writer ${writer}`, 1 + writer]),
    ...READERS.map((reader) => [`reader ${reader}`, 1 + WRITERS.length + reader]),
  ]),
  timeline: false,
  programs: {
    *target(u, share) {
      const map = { prot: 'rw', fixed: true, populate: true } as const;
      yield* u.must(u.mmap({ ...map, address: DATA, bytes: PAGE }));
      for (const writer of WRITERS) {
        yield* u.must(u.mmap({ ...map, address: heapOf(writer), bytes: HEAP_PAGES * PAGE }));
        yield* u.must(
          u.cloneVm(function* (t, shared) {
            for (const [mix, [, writers]] of MIXES.entries()) {
              yield* shared.wait('mix', (now) => Number(now) >= mix);
              if (writer < writers) yield* write(t, shared, writer, mix);
              add(shared, `stopped ${mix}`);
            }
          }, `writer ${writer}`),
        );
      }
      for (const [mix, [readers]] of MIXES.entries()) {
        share.set('mix', mix);
        yield* share.wait(`done ${mix}`, (done) => done === readers);
        share.set('over', mix);
        yield* share.wait(`stopped ${mix}`, (stopped) => stopped === WRITERS.length);
      }
    },
    ...Object.fromEntries(
      READERS.map((reader) => [
        `reader ${reader}`,
        function* (u: User, share): Task<(Measured | null)[]> {
          yield* share.wait('mix');
          const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
          const results: (Measured | null)[] = [];
          for (const [mix, [readers]] of MIXES.entries()) {
            yield* share.wait('mix', (now) => Number(now) >= mix);
            results.push(reader < readers ? yield* read(u, mem) : null);
            if (reader < readers) add(share, `done ${mix}`);
          }
          return results;
        },
      ]),
    ),
  },
  finally: {
    'reads of a page that nobody changes are never left to mmap_lock by designs with locks of single VMAs': (
      w,
    ) => !/^v[1-5]$/.test(w.remoteAccess.design) || Object.keys(w.remoteAccess.fallbacks).length === 0,
  },
  report: (world) => [
    {
      heading: `Reads of 8 bytes beside mprotect of other memory, ${world.costs.name} costs. ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: [
          'readers',
          'writers',
          'reads in 1,000 cycles',
          'median',
          '95 %',
          'slowest',
          'mprotect in 100,000 cycles',
        ].map((title) => ({ title, align: 'right' as const })),
        rows: MIXES.map(([readers, writers], mix) => {
          const results = READERS.flatMap(
            (reader) => (world.value(`reader ${reader}`) as (Measured | null)[])[mix] ?? [],
          );
          const times = results.flatMap((one) => one.times).sort((a, b) => a - b);
          const span =
            Math.max(...results.map((one) => one.ended)) - Math.min(...results.map((one) => one.begun));
          const part = (share: number): number => times[Math.ceil(share * times.length) - 1] ?? 0;
          const rate = ((1000 * times.length) / span).toFixed(2);
          const calls = Number(world.share.get(`calls ${mix}`) ?? 0);
          return [
            readers,
            writers,
            rate,
            part(0.5),
            part(0.95),
            part(1),
            ((100_000 * calls) / span).toFixed(1),
          ];
        }),
      },
      notes: ['median, 95 % and slowest: cycles of one read; mprotect: calls of all writers meanwhile'],
    },
  ],
});
