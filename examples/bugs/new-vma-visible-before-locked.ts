/**
 * A new mapping that others can use before it is complete.
 *
 * What happened: in Linux 6.4 mmap put a new VMA into the tree and went on working on it, among other things to link it with
 * the mappings of its file. mmap_lock kept everybody out until faults came that take only the lock of the VMA, which mmap had
 * not taken. As long as these faults were for anonymous memory nothing happened; before files followed, it was repaired.
 *
 * Here: a thread waits for a mapping of a file to appear, reads it, and then cuts the file off. ftruncate takes the page out of
 * every mapping that the file knows of. One whose mmap has not linked it yet keeps the page, which is no longer the file's.
 *
 * Source: commits 33313a747e81 ("mm: lock newly mapped VMA which can be modified after it becomes visible") and 1c7873e33645
 * ("mm: lock newly mapped VMA with corrected ordering"), both 2023, mm/mmap.c, mmap_region.
 * Switch: new-vma-visible-before-locked. The VMA goes into the tree without being write-locked.
 * Expected: a VMA becomes reachable that is not write-locked; the harm is a page that is mapped beyond the end of its file.
 *
 *   tablewalk explore examples/bugs/new-vma-visible-before-locked.ts
 *   tablewalk explore examples/bugs/new-vma-visible-before-locked.ts --no-bugs
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const PLACE = 0x10_0000n;

export default defineScenario({
  title: 'a thread uses a new mapping of a file as soon as it appears, and cuts the file off',
  kernelBugs: ['new-vma-visible-before-locked'],
  cpus: 2,
  placement: { mapper: 0, user: 1 },
  programs: {
    *mapper(u, share) {
      const fd = yield* u.must(u.memfdCreate('file'));
      yield* u.must(u.pwrite(fd, new Uint8Array(PAGE).fill(7), 0));
      const user = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* shared.wait('begun');
          const before = yield* t.attempt(t.load(PLACE, 1));
          yield* t.must(t.ftruncate(fd, 0));
          if (!before.ok) return 'came too early';
          const after = yield* t.attempt(t.load(PLACE, 1));
          return after.ok ? `read ${after.value} behind the end` : 'a signal';
        }, 'user'),
      );
      share.set('begun', true);
      yield* u.must(u.mmap({ address: PLACE, bytes: PAGE, prot: 'r', shared: true, fixed: true, fd }));
      yield* u.must(u.wait(user));
    },
  },
  finally: {
    'behind the end of the file there is nothing': (world) =>
      !String(world.value('user')).startsWith('read') || `the thread ${world.value('user')}`,
  },
});
