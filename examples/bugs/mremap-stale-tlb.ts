/**
 * mremap and a TLB that is flushed too late (CVE-2018-18281).
 *
 * What happened: from Linux 3.2 to 4.18 mremap moved entries table by table and flushed TLBs once, at the end. The locks of
 * the tables were free by then, so somebody who does not need mmap_lock could find a page at its new address, unmap it there,
 * flush that address, and free the page: ftruncate does. A thread on another CPU went on reading and writing the page at its
 * old address, whoever had it by then. It was found by Jann Horn in 2018; the flush is made under the locks since 4.19.
 *
 * Here: a thread reads a page of a file, another one moves it, and another process cuts the file off. When that one has its
 * file's end and writes a secret of its own, the page that it gets is the one that was freed last.
 *
 * Source: CVE-2018-18281; commit eb66ae030829 ("mremap: properly flush TLB before releasing the page"), mm/mremap.c, move_ptes.
 * Switch: mremap-stale-tlb. The flush comes after all entries instead of under the locks of each pair of tables.
 * Expected: a frame is given back while a TLB still has it.
 *
 *   tablewalk explore examples/bugs/mremap-stale-tlb.ts
 *   tablewalk explore examples/bugs/mremap-stale-tlb.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const FILE = '/dev/shm/file';
const SECRET = 0x5ec2e7n;

export default defineScenario({
  title: 'mremap flushes too late: a page is read at its old address when it is somebody else’s',
  kernelBugs: ['mremap-stale-tlb'],
  cpus: 3,
  placement: { mover: 0, reader: 1, stranger: 2 },
  programs: {
    *mover(u, share) {
      const fd = yield* u.must(u.open(FILE, { create: true }));
      yield* u.must(u.ftruncate(fd, PAGE));
      const from = yield* u.must(u.mmap({ fd, bytes: PAGE, prot: 'rw', shared: true }));
      const to = yield* u.must(u.mmap({ bytes: PAGE, prot: 'none' }));
      share.set('file', true);
      const reader = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* t.must(t.load(from));
          shared.set('read', true);
          yield* shared.wait('written');
          const seen = yield* t.attempt(t.load(from));
          return seen.ok ? seen.value : 'a signal';
        }, 'reader'),
      );
      yield* share.wait('read');
      const move = { mayMove: true, fixed: true, newAddress: to };
      yield* u.must(u.mremap({ address: from, bytes: PAGE, newBytes: PAGE, ...move }));
      yield* u.must(u.wait(reader));
    },
    *stranger(u, share) {
      const memory = yield* u.must(u.mmap({ bytes: 2 * PAGE, prot: 'rw' }));
      // Its tables are there: what it takes next is a page.
      yield* u.must(u.store(memory, 0));
      yield* share.wait('file');
      const fd = yield* u.must(u.open(FILE));
      yield* share.wait('read');
      yield* u.must(u.ftruncate(fd, 0));
      yield* u.must(u.store(memory + BigInt(PAGE), SECRET));
      share.set('written', true);
    },
  },
  finally: {
    'nobody reads a page of the file that is no more': (world) =>
      world.value('reader') === 'a signal' || `the reader saw ${world.value('reader')}`,
  },
});
