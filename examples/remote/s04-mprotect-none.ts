/**
 * A reader without FOLL_FORCE beside mprotect(PROT_NONE) of the very mapping it reads. Once mprotect has returned, the target
 * writes a secret through another mapping of the same pages. A read may come before mprotect and give everything, or after
 * it and give nothing; one that gives the secret has read memory that it had no right to any more, with a permission
 * that it had asked for too early: n1, and n2 from its second page on, under some schedules (`--design n1 --seeds 1-50`).
 * @see Linux mm/mprotect.c, `mprotect_fixup`; mm/vma.h, `vma_start_write`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const WINDOW = 0x1000_0000n;
const ALIAS = 0x2000_0000n;
const PAGES = 4;
const BYTES = PAGES * PAGE;
const ROUNDS = 6;
const PUBLIC = 1;
const SECRET = 2;

type Got = Record<'all' | 'nothing' | 'part' | 'secret', number>;

export default defineScenario({
  title: 'S4: a read of memory that becomes PROT_NONE and then secret',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      const file = yield* u.must(u.memfdCreate('pages'));
      yield* u.must(u.pwrite(file, new Uint8Array(BYTES).fill(PUBLIC), 0));
      const map = { bytes: BYTES, shared: true, fixed: true, populate: true, fd: file } as const;
      yield* u.must(u.mmap({ ...map, address: WINDOW, prot: 'r' }));
      yield* u.must(u.mmap({ ...map, address: ALIAS, prot: 'rw' }));
      const fill = function* (value: number) {
        for (let page = 0; page < PAGES; page++) {
          yield* u.must(u.store(ALIAS + BigInt(page * PAGE), value, 1));
        }
      };
      share.set('readable', true);
      yield* share.wait('reading');
      for (let round = 0; round < ROUNDS; round++) {
        yield* u.compute(40 + 23 * round);
        yield* u.must(u.mprotect(WINDOW, BYTES, 'none'));
        share.set('readable', false);
        yield* fill(SECRET);
        yield* u.compute(100);
        yield* fill(PUBLIC);
        share.set('readable', true);
        yield* u.must(u.mprotect(WINDOW, BYTES, 'r'));
      }
      share.set('over', true);
    },
    *reader(u, share) {
      const target = u.pidOf('target');
      yield* share.wait('readable');
      const got: Got = { all: 0, nothing: 0, part: 0, secret: 0 };
      while (share.get('over') !== true) {
        share.set('reading', true);
        const bytes = yield* u.must(u.accessProcessVm(target, WINDOW, BYTES));
        const words = Array.from({ length: PAGES }, (_, page) => bytes[page * PAGE] ?? 0);
        if (words.includes(SECRET)) got.secret++;
        else if (bytes.length === BYTES) got.all++;
        else if (bytes.length === 0) got.nothing++;
        else got.part++;
      }
      return got;
    },
  },
  finally: {
    'no read gave what was written after mprotect': (world) => (world.value('reader') as Got).secret === 0,
    'the memory is readable again, and public': (world) =>
      world.process('target')?.vmaAt(WINDOW)?.permissions === 'r--s' &&
      world.process('target')?.read(WINDOW, 1)?.[0] === PUBLIC,
  },
  report: (world) => {
    const { all, nothing, part, secret } = world.value('reader') as Got;
    return [
      {
        heading: `What did reads beside mprotect give? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
        table: {
          columns: ['reads', { title: 'count', align: 'right' }],
          rows: [
            ['all of it, before mprotect', all],
            ['nothing, after it', nothing],
            ['its first pages', part],
            ['the secret', secret],
          ],
        },
        notes: Object.entries(world.remoteAccess.fallbacks).map(
          ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
        ),
      },
    ];
  },
});
