/**
 * Something to explore: two pages that one thread touches and another process reads, while a third thread does to them what a
 * program can do to its mappings. Nothing is asserted; the checks look on. Change a statement of the kernel and see what they say:
 *
 *     tablewalk explore examples/explore/faults-beside-writers.ts
 *     tablewalk explore examples/explore/faults-beside-writers.ts --design v5 --policy dfs --preemptions 2
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const FIRST = 0x1000_0000n;
const SECOND = FIRST + BigInt(PAGE);

export default defineScenario({
  title: 'faults and remote reads beside mprotect, munmap, mmap and madvise',
  cpus: 3,
  placement: { writer: 0, toucher: 1, reader: 2 },
  timeline: false,
  programs: {
    *writer(u, share) {
      const map = { address: FIRST, bytes: 2 * PAGE, prot: 'rw', fixed: true } as const;
      yield* u.must(u.mmap(map));
      yield* u.must(u.store(FIRST, 1));
      share.set('mapped', true);
      const toucher = yield* u.must(
        u.cloneVm(function* (t) {
          for (const address of [SECOND, FIRST]) {
            yield* t.attempt(t.store(address, 2));
            yield* t.attempt(t.load(address));
          }
        }, 'toucher'),
      );
      yield* u.must(u.mprotect(SECOND, PAGE, 'r'));
      yield* u.must(u.madvise(FIRST, 2 * PAGE, 'DONTNEED'));
      yield* u.must(u.mprotect(FIRST, 2 * PAGE, 'rw'));
      yield* u.must(u.munmap(SECOND, PAGE));
      yield* u.must(u.mmap({ ...map, populate: true }));
      yield* u.must(u.wait(toucher));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const writer = u.pidOf('writer');
      yield* u.must(u.accessProcessVm(writer, FIRST, 2 * PAGE));
      yield* u.must(u.accessProcessVmWrite(writer, SECOND, new Uint8Array(8).fill(3)));
      yield* u.must(u.accessProcessVm(writer, FIRST, 2 * PAGE));
    },
  },
});
