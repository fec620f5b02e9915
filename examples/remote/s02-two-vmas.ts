/**
 * One read over two mappings while the target puts other pages in the place of both, by one mmap. All pages of one layout hold
 * the same number. A read under mmap_lock shows one layout. A design that locks each VMA for itself may give bytes of
 * mappings that never were there together: v1 does; v2, which leaves more than a page to mmap_lock, only with a read that
 * crosses the border just then.
 * Where the target unmaps the second mapping first there is a hole for a while, and no design promises much: today's code
 * lets mmap_lock go to see whether a stack can grow there, and goes on if something is mapped when it is back.
 * @see Suren Baghdasaryan, 17 June 2026, and Lorenzo Stoakes, 19 June 2026, "Re: [PATCH 3/3] mm: read remote memory without the
 * mmap lock where possible"; Linux mm/mmap.c, `expand_stack`
 */
import { defineScenario, type Task, type User, type WorldView } from 'tablewalk';

const PAGE = 4096;
const FIRST = 0x1000_0000n;
const FIRST_BYTES = 16 * PAGE;
const SECOND = FIRST + BigInt(FIRST_BYTES);
const LAYOUT = FIRST_BYTES + PAGE;
const ROUNDS = 6;
/** Designs that lock page by page. */
const MAY_TEAR = ['v1', 'v2', 'n1', 'n2'];
const KINDS = [
  { text: 'both mappings, replaced at once', border: false, hole: false },
  { text: '16 bytes over the border, replaced at once', border: true, hole: false },
  { text: 'both mappings, the second unmapped first', border: false, hole: true },
  { text: '16 bytes over the border, the second unmapped first', border: true, hole: true },
];
const VERDICTS = ['whole', 'short', 'torn'] as const;

/** Whole, cut short, or of more than one layout. */
function judge(bytes: Uint8Array, wanted: number): (typeof VERDICTS)[number] {
  if (bytes.some((byte) => byte !== bytes[0])) return 'torn';
  return bytes.length === wanted ? 'whole' : 'short';
}

/** Maps pages of the file over both mappings, and makes them two by their rights. */
function* replace(u: User, fd: number, layout: number, hole: boolean): Task<void> {
  if (hole) yield* u.must(u.munmap(SECOND, PAGE));
  const map = { address: FIRST, prot: 'rw', shared: true, fixed: true, populate: true, fd } as const;
  const offset = layout * LAYOUT;
  if (hole) yield* u.must(u.mmap({ ...map, bytes: FIRST_BYTES, offset }));
  if (hole) yield* u.must(u.mmap({ ...map, address: SECOND, bytes: PAGE, offset: offset + FIRST_BYTES }));
  else yield* u.must(u.mmap({ ...map, bytes: LAYOUT, offset }));
  yield* u.must(u.mprotect(SECOND, PAGE, 'r'));
}

const count = (world: WorldView, kind: number, verdict: string): number =>
  Number(world.share.get(`${kind} ${verdict}`) ?? 0);

export default defineScenario({
  title: 'S2: a read over two mappings that are replaced meanwhile',
  cpus: 2,
  placement: { target: 0, reader: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      const file = yield* u.must(u.memfdCreate('layouts'));
      yield* u.must(u.pwrite(file, new Uint8Array(2 * LAYOUT).fill(1, 0, LAYOUT).fill(2, LAYOUT), 0));
      yield* replace(u, file, 0, false);
      for (let round = 0; round < ROUNDS * KINDS.length; round++) {
        share.set('mapped', round);
        yield* share.wait('reads', (now) => Number(now) >= round);
        yield* u.compute(7 + 12 * (round % ROUNDS));
        yield* replace(u, file, 1 - (round % 2), KINDS[Math.floor(round / ROUNDS)]?.hole === true);
      }
    },
    *reader(u, share) {
      const target = u.pidOf('target');
      yield* share.wait('mapped');
      const mem = yield* u.must(u.procMemOpen(target));
      for (let round = 0; round < ROUNDS * KINDS.length; round++) {
        yield* share.wait('mapped', (now) => Number(now) >= round);
        const kind = Math.floor(round / ROUNDS);
        share.set('reads', round);
        const bytes =
          KINDS[kind]?.border === true
            ? yield* u.must(u.procMemRead(mem, SECOND - 8n, 16))
            : yield* u.must(u.accessProcessVm(target, FIRST, LAYOUT));
        const name = `${kind} ${judge(bytes, KINDS[kind]?.border === true ? 16 : LAYOUT)}`;
        share.set(name, Number(share.get(name) ?? 0) + 1);
      }
    },
  },
  finally: {
    'what is replaced at once is mixed only by designs that lock page by page': (world) =>
      MAY_TEAR.includes(world.remoteAccess.design) ||
      KINDS.every(({ hole }, kind) => hole || count(world, kind, 'torn') === 0),
  },
  report: (world) => [
    {
      heading: `Does a read show one layout? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: ['reads of', ...VERDICTS.map((title) => ({ title, align: 'right' as const }))],
        rows: KINDS.map(({ text }, kind) => [
          text,
          ...VERDICTS.map((verdict) => count(world, kind, verdict)),
        ]),
      },
      notes: Object.entries(world.remoteAccess.fallbacks).map(
        ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
      ),
    },
  ],
});
