/**
 * Post-copy migration: a guest starts with no memory at all, and a second process, which got the guest's userfaultfd,
 * sends each page when the guest touches it. The guest sleeps in its fault meanwhile, whether its own instruction faults or
 * the kernel's copy in a system call does.
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const PAGES = 4;
const wordOf = (page: number): bigint => BigInt(page + 1) * 0x1111n;

/** What the source of the migration still has of page number `page`. */
function contentOf(page: number): Uint8Array {
  const bytes = new Uint8Array(PAGE);
  new DataView(bytes.buffer).setBigUint64(0, wordOf(page), true);
  return bytes;
}

export default defineScenario({
  title: 'post-copy: a second process fills a guest in page by page',
  cpus: 2,
  placement: { guest: 0, migrator: 1 },
  lockdep: true,
  programs: {
    *guest(u, share) {
      const memory = yield* u.must(u.mmap({ bytes: PAGES * PAGE, prot: 'rw' }));
      const uffd = yield* u.must(u.userfaultfd());
      yield* u.must(uffd.register({ address: memory, bytes: PAGES * PAGE, missing: true }));
      share.set('memory', memory);
      share.set('descriptor', uffd.fd);
      yield* share.wait('ready');
      const first = yield* u.must(u.load(memory + BigInt(2 * PAGE)));
      yield* u.must(u.store(memory, 7n));
      // The fault is the kernel's own, in the middle of a write to a file.
      const file = yield* u.must(u.memfdCreate('log'));
      yield* u.must(u.pwriteFrom(file, 8, 0, memory + BigInt(3 * PAGE)));
      const written = yield* u.must(u.pread(file, 8));
      yield* u.check(
        new DataView(written.buffer).getBigUint64(0, true) === wordOf(3),
        'another page was written',
      );
      share.set('guest done', true);
      return first;
    },
    *migrator(u, share) {
      const memory = yield* share.waitWord('memory');
      const theirs = Number(yield* share.waitWord('descriptor'));
      const uffd = u.uffd(yield* u.must(u.pidfdGetfd(u.pidOf('guest'), theirs)));
      share.set('ready', true);
      const order: number[] = [];
      for (let served = 0; served < 3; served++) {
        const message = yield* u.must(uffd.read());
        if (message.event !== 'pagefault') continue;
        const page = Number(message.address - memory) / PAGE;
        order.push(page);
        yield* u.must(uffd.copy({ address: message.address, bytes: PAGE, from: contentOf(page) }));
      }
      return order.join(' ');
    },
  },
  finally: {
    'the guest read what was sent': (world) => world.value('guest') === wordOf(2),
    'pages were sent in the order in which they were touched': (world) => world.value('migrator') === '2 0 3',
    'a page that nobody touched was not sent': (world) => {
      const memory = world.share.getWord('memory') ?? 0n;
      return world.process('guest')?.pageAt(memory + BigInt(PAGE)) === undefined;
    },
  },
  report: (world) => [
    {
      heading: 'What did the guest wait for?',
      table: {
        columns: ['what', { title: 'count', align: 'right' }],
        rows: [
          ['faults that slept', world.counter('userfault-wait')],
          ['major faults of the guest', world.process('guest')?.majFlt ?? 0],
          ['minor faults of the guest', world.process('guest')?.minFlt ?? 0],
        ],
      },
    },
  ],
});
