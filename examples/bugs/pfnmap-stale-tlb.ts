/**
 * munmap of memory that a driver maps by number, while the driver takes the memory back (CVE-2022-39188).
 *
 * What happened: pages of a VM_PFNMAP mapping are kept by no references. A driver that wants them back asks for all mappings to
 * be taken out (unmap_mapping_range), and frees the pages. munmap cleared the entries, took its VMA out of the list that
 * unmap_mapping_range walks, and flushed TLBs only then: in between the driver found no mapping, came back at once, and freed
 * pages that other threads of the process could still read and write. Found by Jann Horn in 2022; since Linux 6.0 munmap
 * flushes for such VMAs before they leave the list.
 *
 * Here: a thread uses memory of a graphics driver, another one unmaps it, and another process makes the driver give it up.
 *
 * Source: CVE-2022-39188; commit b67fbebd4cf9 ("mmu_gather: Force tlb-flush VM_PFNMAP vmas"), tlb_end_vma; today mm/memory.c,
 * free_pgtables, by tlb_free_vmas.
 * Switch: pfnmap-stale-tlb. VMAs leave the list of their file before the flush.
 * Expected: a frame is given back while a TLB still has it.
 *
 *   tablewalk explore examples/bugs/pfnmap-stale-tlb.ts
 *   tablewalk explore examples/bugs/pfnmap-stale-tlb.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const SECRET = 0x5ec2e7n;

export default defineScenario({
  title: 'munmap hides a VM_PFNMAP mapping before it flushes: the driver frees pages that a TLB has',
  kernelBugs: ['pfnmap-stale-tlb'],
  cpus: 3,
  placement: { unmapper: 0, reader: 1, driver: 2 },
  programs: {
    *unmapper(u, share) {
      const fd = yield* u.must(u.gemCreate(PAGE));
      const driver = yield* u.must(
        u.fork(function* (c, shared) {
          const memory = yield* c.must(c.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
          // Its tables are there: what it takes next is a page.
          yield* c.must(c.store(memory, 0));
          shared.set('driver', true);
          yield* shared.wait('read');
          yield* c.must(c.gemPurge(fd));
          yield* c.must(c.store(memory + BigInt(PAGE), SECRET));
          shared.set('written', true);
        }, 'driver'),
      );
      yield* share.wait('driver');
      const at = yield* u.must(u.mmap({ fd, bytes: PAGE, prot: 'rw', shared: true }));
      const reader = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* t.must(t.load(at));
          shared.set('read', true);
          yield* shared.wait('written');
          const seen = yield* t.attempt(t.load(at));
          return seen.ok ? seen.value : 'a signal';
        }, 'reader'),
      );
      yield* share.wait('read');
      yield* u.must(u.munmap(at, PAGE));
      yield* u.must(u.wait(reader));
      yield* u.must(u.wait(driver));
    },
  },
  finally: {
    'nobody reads memory that the driver has taken back': (world) =>
      world.value('reader') === 'a signal' || `the reader saw ${world.value('reader')}`,
  },
});
