/**
 * A thread of the target gives back the memory that a whole page table maps, and MADV_DONTNEED frees the table that became
 * empty (CONFIG_PT_RECLAIM, x86-64): it holds the same VMA's lock for reading as the reader does, so that lock keeps no
 * table in place. Is RCU enough, as Lorenzo Stoakes says, or must interrupts be off, as the second version has it?
 * `tablewalk explore examples/questions/table-given-back.ts --policy dfs --preemptions 2 --design v1`, or another design.
 * @see Lorenzo Stoakes and Rik van Riel, 25 June 2026, "Re: [PATCH v2 2/3] mm/pagewalk: let folio_walk_start() run under the per-VMA
 * lock"; Linux mm/pt_reclaim.c, `try_to_free_pte`; mm/pgtable-generic.c, `__pte_offset_map_lock`
 */
import { defineScenario } from 'tablewalk';

const SPAN = 2 ** 21;
const MEMORY = 0x4000_0000n;

export default defineScenario({
  title: 'a read while MADV_DONTNEED frees the page table',
  arch: 'x86_64',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      yield* u.must(u.mmap({ address: MEMORY, bytes: 2 * SPAN, prot: 'rw', fixed: true }));
      yield* u.must(u.store(MEMORY, 7n));
      share.set('mapped', true);
      yield* share.wait('opened');
      yield* u.must(u.madvise(MEMORY, SPAN, 'DONTNEED'));
      // Whatever is allocated next may be the table that was freed.
      yield* u.must(u.store(MEMORY + BigInt(SPAN), 0xbad_bad_badn));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      share.set('opened', true);
      const bytes = yield* u.must(u.procMemRead(mem, MEMORY, 8));
      return new DataView(bytes.buffer).getBigUint64(0, true);
    },
  },
  finally: {
    'the read gave the old value or zeros': (world) => [0n, 7n].includes(world.value('reader') as bigint),
  },
});
