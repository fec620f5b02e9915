/**
 * Does the lock of a VMA keep the page tables below it while the target unmaps everything else that they cover? munmap frees a
 * table only if the whole of what it covers is unmapped, so the tables above the reader's page stay; the check
 * `page-table-after-free` would tell of one that does not.
 * `tablewalk explore examples/questions/neighbour-unmapped.ts --policy dfs --preemptions 2 --design v1`, or another design.
 * @see Suren Baghdasaryan, 16 June 2026, "Re: [PATCH 0/3] mm: __access_remote_vm with per-VMA lock"; Lorenzo Stoakes, 25 June 2026,
 * "Re: [PATCH v2 2/3] mm/pagewalk: let folio_walk_start() run under the per-VMA lock"; Linux mm/memory.c, `free_pgtables`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const SPAN = 2 ** 21;
const KEPT = 0x4000_0000n;
const VALUE = 0x5afe_5afen;

export default defineScenario({
  title: 'a read while all else that its page tables cover is unmapped',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      const map = { prot: 'rw', fixed: true } as const;
      yield* u.must(u.mmap({ ...map, address: KEPT, bytes: PAGE }));
      yield* u.must(u.store(KEPT, VALUE));
      // One below the same pte table, one below the same pmd table only.
      yield* u.must(u.mmap({ ...map, address: KEPT + BigInt(2 * PAGE), bytes: PAGE, populate: true }));
      yield* u.must(u.mmap({ ...map, address: KEPT + BigInt(SPAN), bytes: PAGE, populate: true }));
      share.set('mapped', true);
      yield* share.wait('opened');
      yield* u.must(u.munmap(KEPT + BigInt(PAGE), SPAN));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      share.set('opened', true);
      const bytes = yield* u.must(u.procMemRead(mem, KEPT, 8));
      return new DataView(bytes.buffer).getBigUint64(0, true);
    },
  },
  finally: {
    'the page had its value': (world) => world.value('reader') === VALUE,
  },
});
