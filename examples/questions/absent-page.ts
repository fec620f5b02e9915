/**
 * Why a short cut beside GUP, and not GUP itself under the lock of a VMA? The reader wants two pages, the second of which was
 * never touched, and a thread of the target changes the rights of another mapping. Short cuts read what is present and
 * leave an absent page to mmap_lock, where the writer is; GUP on a locked VMA (v4) faults it in and meets nobody.
 * `tablewalk explore examples/questions/absent-page.ts --policy dfs --preemptions 2 --design v4`, or another design.
 * @see David Hildenbrand, 19 June 2026, "Re: [PATCH 0/3] mm: __access_remote_vm with per-VMA lock", and 26 June 2026, "Re: [PATCH v2
 * 0/3] …"; Rik van Riel's answer of 26 June 2026
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const MEMORY = 0x1000_0000n;
const OTHER = 0x2000_0000n;
/** Designs that fault under the lock of the VMA. */
const FAULT = ['v4'];

export default defineScenario({
  title: 'a read of a page that is absent, beside mprotect of another mapping',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      const map = { prot: 'rw', fixed: true } as const;
      yield* u.must(u.mmap({ ...map, address: MEMORY, bytes: 2 * PAGE }));
      yield* u.must(u.mmap({ ...map, address: OTHER, bytes: PAGE }));
      yield* u.must(u.store(MEMORY, 7n));
      share.set('mapped', true);
      yield* share.wait('opened');
      yield* u.must(u.mprotect(OTHER, PAGE, 'r'));
    },
    *reader(u, share) {
      yield* share.wait('mapped');
      const target = u.pidOf('target');
      share.set('opened', true);
      const bytes = yield* u.must(u.accessProcessVm(target, MEMORY, 2 * PAGE));
      return `${bytes.length} bytes, first ${bytes[0]}, second page ${bytes[PAGE]}`;
    },
  },
  finally: {
    'both pages are read': (world) => world.value('reader') === `${2 * PAGE} bytes, first 7, second page 0`,
    'a design that faults under the lock of the VMA never needs mmap_lock': ({ remoteAccess }) =>
      !FAULT.includes(remoteAccess.design) || Object.keys(remoteAccess.fallbacks).length === 0,
  },
  report: ({ remoteAccess }) => [
    {
      heading: `What was left to mmap_lock? ${remoteAccess.design}: ${remoteAccess.title}`,
      table: {
        columns: ['reason', { title: 'times', align: 'right' }],
        rows: Object.entries(remoteAccess.fallbacks),
      },
      notes: [],
    },
  ],
});
