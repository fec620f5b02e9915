/**
 * Is it worth passing the locked VMA on, so that GUP need not look it up first, or rather taking the lockless walk? Reads of
 * one word and of four pages, alone: how often each design looks VMAs up, how many tables it walks, how long a read takes.
 * `tablewalk run examples/questions/first-look-up.ts --profile sapphire-rapids --design v4`, or another design; `tablewalk bench
 * remote-access` has all of them, beside writers as well.
 * @see Rik van Riel, 26 June 2026, "Re: [PATCH v2 0/3] mm: __access_remote_vm with per-VMA lock"
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const CALLS = 50;
const SIZES = [8, 4 * PAGE];

export default defineScenario({
  title: 'look-ups, walks and cycles of remote reads',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      const memory = yield* u.must(u.mmap({ bytes: 4 * PAGE, prot: 'rw', populate: true }));
      share.set('memory', memory);
      yield* share.wait('read');
    },
    *reader(u, share) {
      const memory = yield* share.waitWord('memory');
      const target = u.pidOf('target');
      for (const bytes of SIZES) {
        // The first read brings what it needs into the caches.
        yield* u.must(u.accessProcessVm(target, memory, bytes));
        const begun = u.now();
        for (let call = 0; call < CALLS; call++) yield* u.must(u.accessProcessVm(target, memory, bytes));
        share.set(`${bytes}`, Math.round((u.now() - begun) / CALLS));
      }
      share.set('read', true);
    },
  },
  report: ({ remoteAccess, share }) => [
    {
      heading: `What does a read need? ${remoteAccess.design}: ${remoteAccess.title}`,
      table: {
        columns: ['what', { title: 'count', align: 'right' }],
        rows: [
          [
            'look-ups of VMAs, for a read of a word and one of four pages',
            remoteAccess.vmaLookups / (CALLS + 1),
          ],
          ['walks of page tables, for both', remoteAccess.walks / (CALLS + 1)],
          ...SIZES.map(
            (bytes) => [`cycles of a read of ${bytes} bytes`, Number(share.get(`${bytes}`))] as const,
          ),
        ],
      },
      notes: [],
    },
  ],
});
