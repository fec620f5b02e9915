/**
 * The target exits while its memory is being copied. A reader has a reference to the users of the address space (mm_users), taken
 * before the copy: the memory goes when the last of them is gone, whoever that is, so a copy that has begun gives all it
 * was asked for. exit_mmap takes no VMA locks: without that reference a reader that holds one would not be safe.
 * @see Linux mm/memory.c, `access_process_vm`; kernel/fork.c, `mmput`; mm/mmap.c, `exit_mmap`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const PAGES = 24;
const BYTES = PAGES * PAGE;
const MEMORY = 0x1000_0000n;
const LIVES = 6;

type Counts = Record<'whole' | 'meanwhile' | 'gone' | 'part', number>;

function judge(bytes: Uint8Array, life: number): keyof Counts {
  if (bytes.length === 0) return 'gone';
  const marked = Array.from({ length: PAGES }, (_, page) => bytes[page * PAGE] === life);
  return marked.includes(false) ? 'part' : 'whole';
}

export default defineScenario({
  title: 'S10: the target exits during a copy of its memory',
  cpus: 2,
  placement: { parent: 0, reader: 1 },
  timeline: false,
  programs: {
    *parent(u, share) {
      for (let life = 1; life <= LIVES; life++) {
        const child = yield* u.must(
          u.fork(function* (c, shared) {
            yield* c.must(c.mmap({ address: MEMORY, bytes: BYTES, prot: 'rw', fixed: true }));
            for (let page = 0; page < PAGES; page++)
              yield* c.must(c.store(MEMORY + BigInt(page * PAGE), life, 1));
            shared.set('alive', c.pid);
            yield* shared.wait('reads of', (pid) => pid === c.pid);
            yield* c.compute(40 * life);
            // The flag is set with a step of its own, when the time has passed.
            yield* c.compute(1);
            shared.set('exits', c.pid);
            yield* c.must(c.exit());
          }, `target ${life}`),
        );
        yield* u.must(u.wait(child));
      }
      share.set('over', true);
      share.set('alive', 0);
    },
    *reader(u, share) {
      const counts: Counts = { whole: 0, meanwhile: 0, gone: 0, part: 0 };
      for (let life = 1; ; life++) {
        const last = share.get('reads of');
        const pid = Number(yield* share.wait('alive', (now) => now !== last));
        if (pid === 0) return counts;
        share.set('reads of', pid);
        for (let kind: keyof Counts | null = null; kind !== 'gone'; ) {
          const before = share.get('exits') !== pid;
          const result = yield* u.accessProcessVm(pid, MEMORY, BYTES);
          kind = judge(result.ok ? result.value : new Uint8Array(0), life);
          if (kind === 'whole' && before && share.get('exits') === pid) kind = 'meanwhile';
          counts[kind]++;
        }
      }
    },
  },
  finally: {
    'a copy that has begun gives everything': (world) => (world.value('reader') as Counts).part === 0,
    'every target was seen alive or found gone': (world) => (world.value('reader') as Counts).gone === LIVES,
    'nothing of the targets is left': (world) =>
      world.processes.every(({ name, rss }) => !name.startsWith('target') || rss.anon === 0),
  },
  report: (world) => {
    const counts = world.value('reader') as Counts;
    return [
      {
        heading: `What did copies give while the target exits? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
        table: {
          columns: ['copies of 24 pages', { title: 'count', align: 'right' }],
          rows: [
            ['all of it', counts.whole],
            ['all of it, though the target exits meanwhile', counts.meanwhile],
            ['a part, or pages of somebody else', counts.part],
            ['nothing: the target was gone', counts.gone],
          ],
        },
        notes: Object.entries(world.remoteAccess.fallbacks).map(
          ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
        ),
      },
    ];
  },
});
