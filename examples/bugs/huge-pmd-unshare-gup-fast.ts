/**
 * A process leaves a page table that it shares with another, while one of its threads walks it without locks
 * (CVE-2025-38085).
 *
 * What happened: processes that map the same GiB of a hugetlb file share the pmd table below. Who unmaps leaves the table to
 * the others; the last of them may use it as any table of its own, for memory that has nothing to do with the file. gup-fast
 * walks with interrupts off, and whoever takes a table away must wait for that; leaving a shared one did not. So a thread that
 * had read the entry above could go on into the table and find memory of the other process there, which it then pinned. Where
 * TLBs are flushed by interrupts (x86 of old) the flush itself waits for the walker; where an instruction reaches all CPUs, as
 * arm64’s TLBI does, nothing did. Found by Jann Horn, fixed in Linux 6.16.
 *
 * Here: a thread pins a page of the file while another unmaps the file; the process that it shared with unmaps half of it, maps
 * memory of its own there, and writes a secret.
 *
 * Source: CVE-2025-38085; commit 1013af4f585f ("mm/hugetlb: fix huge_pmd_unshare() vs GUP-fast race"), mm/hugetlb.c.
 * Switch: huge-pmd-unshare-gup-fast. No tlb_remove_table_sync_one when a table is left to its last user. arm64.
 * Expected: `stale-lookup`, the thread has pinned a page that is not its own; or the sentence below, that it holds the secret.
 *
 *   tablewalk explore examples/bugs/huge-pmd-unshare-gup-fast.ts
 *   tablewalk explore examples/bugs/huge-pmd-unshare-gup-fast.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const GIB = 2 ** 30;
const HUGE = 2 ** 21;
const AT = 0x4000_0000n;
const OTHER = AT + BigInt(HUGE);
const SECRET = 0x5e;

export default defineScenario({
  title: 'huge_pmd_unshare does not wait for gup-fast: a page of another process is pinned',
  kernelBugs: ['huge-pmd-unshare-gup-fast'],
  arch: 'arm64',
  cpus: 3,
  hugepages: { '2MiB': 1 },
  placement: { pinner: 0, unmapper: 1, neighbour: 2 },
  programs: {
    *pinner(u, share) {
      const fd = yield* u.must(u.memfdCreate('file', { hugetlb: true }));
      yield* u.must(u.ftruncate(fd, GIB));
      yield* u.must(u.mmap(map(fd)));
      yield* u.must(u.load(AT));
      const unmapper = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* shared.wait('sharing');
          yield* t.must(t.munmap(AT, GIB));
          shared.set('left', true);
        }, 'unmapper'),
      );
      share.set('file', fd);
      yield* share.wait('sharing');
      const got = yield* u.gup({ entry: 'pin_user_pages_fast', address: OTHER, pages: 1 });
      yield* u.must(u.wait(unmapper));
      yield* share.wait('written');
      if (!got.ok) return 'nothing';
      return (yield* u.must(u.gupRead(got.value.fd, 0, 0, 1)))[0];
    },
    *neighbour(u, share) {
      const fd = Number(yield* share.waitWord('file'));
      const own = yield* u.must(u.pidfdGetfd(u.pidOf('pinner'), fd));
      yield* u.must(u.mmap(map(own)));
      yield* u.must(u.load(AT));
      share.set('sharing', true);
      yield* share.wait('left');
      yield* u.must(u.munmap(OTHER, HUGE));
      yield* u.must(u.mmap({ address: OTHER, bytes: 4096, prot: 'rw', fixed: true }));
      yield* u.must(u.store(OTHER, SECRET));
      share.set('written', true);
    },
  },
  finally: {
    'nobody pins memory of another process': (world) =>
      world.value('pinner') !== SECRET || 'the pinner has the page with the secret',
  },
});

/** The first GiB of the file, where its pmd table can be shared. */
function map(fd: number) {
  return { fd, address: AT, bytes: GIB, prot: 'rw', shared: true, fixed: true, noreserve: true };
}
