/**
 * A remote write to a VMA that was never written, beside mprotect of a part of that VMA and beside a fault of the target itself.
 * V4 faults under the VMA's lock; the first anonymous page needs an anon_vma, for which mmap_lock may only be tried. Where
 * the writer has it, the fault lets the VMA's lock go and is made again under mmap_lock; nobody may wait for the other.
 * `tablewalk explore examples/questions/fault-beside-writer.ts --policy dfs --preemptions 2 --design v4`
 * @see Rik van Riel, 26 June 2026, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock"; Linux mm/memory.c,
 * `__vmf_anon_prepare`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const MEMORY = 0x1000_0000n;
const SPLIT = MEMORY + BigInt(PAGE);
const VALUE = 0x77;

export default defineScenario({
  title: 'a remote write that faults, beside mprotect of a part of the same VMA',
  cpus: 2,
  placement: { target: 0, writer: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      yield* u.must(u.mmap({ address: MEMORY, bytes: 2 * PAGE, prot: 'rw', fixed: true }));
      share.set('mapped', true);
      yield* share.wait('opened');
      yield* u.must(u.mprotect(SPLIT, PAGE, 'r'));
      share.set('protected', true);
      return yield* u.must(u.load(SPLIT));
    },
    *writer(u, share) {
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      share.set('opened', true);
      return yield* u.must(u.procMemWrite(mem, MEMORY, new Uint8Array(8).fill(VALUE)));
    },
  },
  finally: {
    'the bytes are there': (world) =>
      world.value('writer') === 8 && world.process('target')?.read(MEMORY, 1)?.[0] === VALUE,
    'the other page is still zero': (world) => world.value('target') === 0n,
  },
});
