/**
 * A process has more memory than the machine: it streams through a large array once, and between two pages of it comes back
 * to a few hot ones. Reclaim gives pages that were used since it last looked a second chance (their Accessed bit is set), so
 * the stream goes to swap and the hot pages stay.
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const HOT = 8;
const STREAM = 400;
const BYTES = (HOT + STREAM) * PAGE;

export default defineScenario({
  title: 'second chance: hot pages stay, a stream goes to swap',
  memory: '1MiB',
  swap: '4MiB',
  timeline: false,
  programs: {
    *worker(u, share) {
      const memory = yield* u.must(u.mmap({ bytes: BYTES, prot: 'rw' }));
      const stream = memory + BigInt(HOT * PAGE);
      share.set('memory', memory);
      for (let page = 0; page < STREAM; page++) {
        yield* u.must(u.store(stream + BigInt(page * PAGE), BigInt(page)));
        yield* u.must(u.store(memory + BigInt((page % HOT) * PAGE), 1n));
      }
      share.set(
        'in memory',
        (yield* u.must(u.mincore(memory, HOT * PAGE))).reduce((sum, one) => sum + one),
      );
      // What is read back is what was written, wherever it has been meanwhile.
      for (let page = 0; page < 10; page++) {
        const value = yield* u.must(u.load(stream + BigInt(page * PAGE)));
        yield* u.check(value === BigInt(page), `page ${page} came back as ${value}`);
      }
    },
  },
  finally: {
    'the hot pages stayed in memory': (world) => world.share.get('in memory') === HOT,
    'most of the stream is in swap': (world) => (world.process('worker')?.rss.swap ?? 0) > STREAM / 3,
    'pages that came back were major faults': (world) => (world.process('worker')?.majFlt ?? 0) >= 1,
  },
  report: (world) => {
    const worker = world.process('worker');
    const [mapping] = worker?.smaps() ?? [];
    return [
      {
        heading: 'Where are the pages?',
        table: {
          columns: ['', { title: 'KiB', align: 'right' }],
          rows: [
            ['mapped', BYTES / 1024],
            ['in memory (Rss)', mapping?.rss ?? 0],
            ['in swap (Swap)', mapping?.swap ?? 0],
          ],
        },
        notes: [
          `${world.counter('swap-out')} pages written to swap, ${world.counter('swap-in')} read back, ${worker?.majFlt ?? 0} major faults`,
        ],
      },
    ];
  },
});
