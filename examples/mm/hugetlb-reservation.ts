/**
 * A pool of three huge pages. A mapping promises its pages when it is made: the second one that would need two more is
 * refused at once. With MAP_NORESERVE it is made, and the promise is what is missing later: the touch that finds the pool
 * empty is SIGBUS. After fork the parent owns the promises: a child's copy that finds no page is SIGBUS, a parent's takes the
 * page from the child.
 */
import { defineScenario } from 'tablewalk';

const HUGE = 2 ** 21;

export default defineScenario({
  title: 'a pool of huge pages runs out',
  hugepages: { '2MiB': 3 },
  programs: {
    *owner(u, share) {
      const promised = yield* u.must(u.mmap({ bytes: 2 * HUGE, prot: 'rw', hugetlb: true }));
      const refused = yield* u.mmap({ bytes: 2 * HUGE, prot: 'rw', hugetlb: true });
      yield* u.check(
        !refused.ok && 'errno' in refused && refused.errno === 'ENOMEM',
        'two more were promised',
      );
      const hopeful = yield* u.must(u.mmap({ bytes: 2 * HUGE, prot: 'rw', hugetlb: true, noreserve: true }));
      yield* u.must(u.store(hopeful, 1n));
      const empty = yield* u.attempt(u.store(hopeful + BigInt(HUGE), 1n));
      share.set('touch without a promise', !empty.ok && 'signal' in empty ? empty.signal : 'done');
      // What was promised is still there.
      yield* u.must(u.store(promised, 2n));
      yield* u.must(u.store(promised + BigInt(HUGE), 3n));
      const child = yield* u.must(
        u.fork(function* (c, shared) {
          shared.set('child reads', yield* c.must(c.load(promised)));
          const copy = yield* c.attempt(c.store(promised, 4n));
          shared.set('child writes', !copy.ok && 'signal' in copy ? copy.signal : 'done');
          shared.set('child is ready', true);
          yield* shared.wait('parent wrote');
          const gone = yield* c.attempt(c.load(promised + BigInt(HUGE)));
          shared.set('child reads again', !gone.ok && 'signal' in gone ? gone.signal : 'done');
        }, 'child'),
      );
      yield* share.wait('child is ready');
      yield* u.must(u.store(promised + BigInt(HUGE), 5n));
      share.set('parent wrote', true);
      yield* u.must(u.wait(child));
      return yield* u.must(u.load(promised + BigInt(HUGE)));
    },
  },
  finally: {
    'who was promised nothing gets SIGBUS': (world) =>
      world.share.get('touch without a promise') === 'SIGBUS',
    'a child reads what it shares': (world) => world.share.get('child reads') === 2n,
    'its copy needs a page that nobody has': (world) => world.share.get('child writes') === 'SIGBUS',
    'the parent gets its own, and the child loses the page': (world) =>
      world.value('owner') === 5n && world.share.get('child reads again') === 'SIGBUS',
    'the pool is empty': (world) => world.hugePages('2MiB').free === 0,
  },
});
