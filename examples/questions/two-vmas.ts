/**
 * May a read go from one VMA to the next and lock each for itself? The reader wants 16 bytes over the border of two mappings;
 * the target replaces both at once, by one mmap. Bytes of both layouts in one answer are of a state that never was.
 * `tablewalk explore examples/questions/two-vmas.ts --policy dfs --preemptions 2 --design v3`, or another design.
 * @see Suren Baghdasaryan, 17 June 2026, Lorenzo Stoakes, 19 June 2026, "Re: [PATCH 3/3] mm: read remote memory without the mmap
 * lock where possible"; David Hildenbrand, 19 June 2026, "Re: [PATCH 0/3] mm: __access_remote_vm with per-VMA lock"
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const FIRST = 0x1000_0000n;
const SECOND = FIRST + BigInt(PAGE);

export default defineScenario({
  title: 'a read over the border of two mappings that are replaced at once',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      const file = yield* u.must(u.memfdCreate('layouts'));
      yield* u.must(u.pwrite(file, new Uint8Array(4 * PAGE).fill(1, 0, 2 * PAGE).fill(2, 2 * PAGE), 0));
      const map = { address: FIRST, bytes: 2 * PAGE, shared: true, fixed: true, populate: true, fd: file };
      yield* u.must(u.mmap({ ...map, prot: 'rw' }));
      // Other rights make it a VMA of its own.
      yield* u.must(u.mprotect(SECOND, PAGE, 'r'));
      share.set('mapped', true);
      yield* share.wait('opened');
      yield* u.must(u.mmap({ ...map, prot: 'rw', offset: 2 * PAGE }));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      share.set('opened', true);
      const bytes = yield* u.must(u.procMemRead(mem, SECOND - 8n, 16));
      return bytes.every((byte) => byte === bytes[0]) ? 'of one layout' : 'of two layouts';
    },
  },
  finally: {
    'the bytes are of one layout': (world) => world.value('reader') === 'of one layout',
  },
});
