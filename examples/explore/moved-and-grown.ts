/**
 * Something to explore: a stack that two threads make grow, and pages that move while they are written. Nothing is asserted;
 * the checks look on.
 *
 *     tablewalk explore examples/explore/moved-and-grown.ts
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const page = (number: number): bigint => 0x1000_0000n + BigInt(number * PAGE);
const OLD = page(0);
const NEW = page(8);
/** Farther from what lies below than the gap that every stack keeps. */
const STACK = page(1000);

export default defineScenario({
  title: 'mremap beside faults, and a stack that two threads make grow',
  cpus: 3,
  placement: { mover: 0, thread: 1, reader: 2 },
  timeline: false,
  programs: {
    *mover(u, share) {
      yield* u.must(u.mmap({ address: OLD, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.mmap({ address: STACK, bytes: PAGE, prot: 'rw', fixed: true, growsDown: true }));
      yield* u.must(u.store(OLD, 1));
      yield* u.must(u.store(STACK, 1));
      share.set('mapped', true);
      const thread = yield* u.must(
        u.cloneVm(function* (t) {
          yield* t.attempt(t.store(OLD, 2));
          yield* t.must(t.store(page(998), 2));
          yield* t.attempt(t.load(NEW));
        }, 'thread'),
      );
      const move = { address: OLD, bytes: 2 * PAGE, newBytes: 2 * PAGE, mayMove: true, fixed: true } as const;
      yield* u.must(u.mremap({ ...move, newAddress: NEW }));
      yield* u.must(u.store(page(999), 3));
      yield* u.must(u.munmap(NEW, PAGE));
      yield* u.must(u.wait(thread));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const mover = u.pidOf('mover');
      yield* u.must(u.accessProcessVm(mover, OLD, 2 * PAGE));
      yield* u.must(u.accessProcessVm(mover, page(999), PAGE));
    },
  },
});
