/**
 * A transparent huge page in smaps and pagemap: one fault maps 2 MiB; mprotect of one page in its middle splits the mapping
 * and the entry, and the 512 small entries still map the one huge page; MADV_DONTNEED takes a page of it out; fork shares
 * all of it; a store of the child then copies 4 KiB.
 */
import { defineScenario, type ProcessView, type ReportCell } from 'tablewalk';

const HUGE = 2 ** 21;
const PAGE = 4096;

const STEPS = [
  'first store',
  'mprotect of a page',
  'MADV_DONTNEED of a page',
  'fork, and a store of the child',
] as const;

/** What /proc says of the process now. */
function look(process: ProcessView | undefined, start: bigint): readonly ReportCell[] {
  const page = process?.pageAt(start);
  const flags = process?.pagemap(start, HUGE).map((run) => `${run.pages} ${run.flags}`);
  return [
    (page?.pageBytes ?? 0) / 1024,
    process?.rss.anon ?? 0,
    process?.vmas().length ?? 0,
    flags?.join(', ') ?? '',
  ];
}

const seen = new WeakMap<object, Map<string, readonly ReportCell[]>>();

export default defineScenario({
  title: 'a transparent huge page, split',
  transparentHugepage: 'always',
  timeline: false,
  programs: {
    *worker(u, share) {
      // Aligned by hand: mmap without an address does it by itself for 2 MiB and more.
      const start = yield* u.must(u.mmap({ bytes: HUGE, prot: 'rw' }));
      share.set('start', start);
      const at = (page: number): bigint => start + BigInt(page * PAGE);
      yield* u.must(u.store(start, 1n));
      share.set('step', STEPS[0]);
      yield* u.compute(1);
      yield* u.must(u.mprotect(at(256), PAGE, 'r'));
      share.set('step', STEPS[1]);
      yield* u.compute(1);
      yield* u.must(u.madvise(at(300), PAGE, 'DONTNEED'));
      share.set('step', STEPS[2]);
      yield* u.compute(1);
      yield* u.must(
        u.fork(function* (child, shared) {
          yield* child.must(child.store(at(1), 2n));
          shared.set('step', STEPS[3]);
          yield* shared.wait('seen');
        }, 'child'),
      );
      yield* share.wait('step', (step) => step === STEPS[3]);
      yield* u.compute(1);
      share.set('seen', true);
      yield* u.must(u.wait());
    },
  },
  always: {
    // Nothing to claim: it notes what /proc says after each step, as somebody from outside.
    'somebody looks on': (world) => {
      const step = world.share.get('step');
      const start = world.share.getWord('start');
      if (start === undefined || typeof step !== 'string') return true;
      const steps = seen.get(world) ?? new Map<string, readonly ReportCell[]>();
      seen.set(world, steps);
      if (!steps.has(step)) steps.set(step, look(world.process('worker'), start));
      return true;
    },
  },
  finally: {
    'a page that was thrown away is not mapped': (world) => {
      const rows = [...(seen.get(world)?.values() ?? [])];
      return rows.length === STEPS.length && rows[0]?.[1] === 512 && rows[2]?.[1] === 511;
    },
    'one fault brought the huge page, one split took the entry apart': (world) =>
      world.counter('thp-fault') === 1 && world.counter('thp-split') === 1,
  },
  report: (world) => [
    {
      heading: 'What do smaps and pagemap say?',
      table: {
        columns: [
          'after',
          { title: 'entry, KiB', align: 'right' },
          { title: 'resident pages', align: 'right' },
          { title: 'mappings', align: 'right' },
          'pages, as letters of pagemap',
        ],
        rows: STEPS.map((step) => [step, ...(seen.get(world)?.get(step) ?? [])]),
      },
      notes: ['P present, X exclusive, H of a huge page, m2 mapped twice'],
    },
  ],
});
