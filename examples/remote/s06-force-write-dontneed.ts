/**
 * The shape of Dirty COW (CVE-2016-5195): one process writes to a read-only private mapping of a file through /proc/PID/mem, which
 * goes against its protection (FOLL_FORCE) and must break the sharing first, while a thread of the target gives the
 * private copy back with MADV_DONTNEED again and again. Whatever the lock, the write may only ever reach a page of the
 * target's own: the file stays as it is.
 * @see Linux mm/gup.c, `can_follow_write_pte`, `faultin_page`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const MAPPING = 0x1000_0000n;
const WRITES = 12;
const ORIGINAL = 0x0f11en;
const FORCED = 0x0f0_cedn;

const words = (value: bigint): Uint8Array => new Uint8Array(new BigUint64Array([value]).buffer);

export default defineScenario({
  title: 'S6: forced writes to a read-only private mapping beside MADV_DONTNEED',
  cpus: 3,
  placement: { target: 0, discarder: 1, writer: 2 },
  timeline: false,
  programs: {
    *target(u, share) {
      const file = yield* u.must(u.memfdCreate('passwd'));
      yield* u.must(u.pwrite(file, words(ORIGINAL), 0));
      yield* u.must(u.mmap({ address: MAPPING, bytes: PAGE, prot: 'r', fixed: true, fd: file }));
      const thread = yield* u.must(
        u.cloneVm(function* (t, shared) {
          shared.set('ready', true);
          let calls = 0;
          for (; shared.get('over') !== true; calls++) {
            yield* t.must(t.madvise(MAPPING, PAGE, 'DONTNEED'));
            yield* t.compute(5 * (calls % 16));
          }
          shared.set('discards', calls);
        }, 'discarder'),
      );
      yield* u.must(u.wait(thread));
      const left = yield* u.must(u.load(MAPPING));
      yield* u.must(u.madvise(MAPPING, PAGE, 'DONTNEED'));
      const again = yield* u.must(u.load(MAPPING));
      const inFile = yield* u.must(u.pread(file, 8));
      share.set('the mapping at last', left);
      share.set('the mapping without its copy', again);
      share.set('the file', new DataView(inFile.buffer).getBigUint64(0, true));
    },
    *writer(u, share) {
      yield* share.wait('ready');
      const mem = yield* u.must(u.procMemOpen(u.pidOf('target')));
      const read = { original: 0, forced: 0 };
      for (let turn = 0; turn < WRITES; turn++) {
        const written = yield* u.must(u.procMemWrite(mem, MAPPING, words(FORCED)));
        yield* u.check(written === 8, 'a forced write was cut short');
        const bytes = yield* u.must(u.procMemRead(mem, MAPPING, 8));
        const word = new DataView(bytes.buffer).getBigUint64(0, true);
        yield* u.check(word === ORIGINAL || word === FORCED, `a read gave 0x${word.toString(16)}`);
        if (word === ORIGINAL) read.original++;
        else read.forced++;
      }
      share.set('over', true);
      return read;
    },
  },
  always: {
    'the mapping never becomes writable': (world) => {
      const vma = world.process('target')?.vmaAt(MAPPING);
      return vma === undefined || vma.permissions === 'r--p';
    },
  },
  finally: {
    'the file is as it was': (world) => world.share.get('the file') === ORIGINAL,
    'without its private copy the target sees the file': (world) =>
      world.share.get('the mapping without its copy') === ORIGINAL,
  },
  report: (world) => {
    const { original, forced } = world.value('writer') as { original: number; forced: number };
    return [
      {
        heading: `Where did the forced writes go? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
        table: {
          columns: ['what', { title: 'count', align: 'right' }],
          rows: [
            ['forced writes', WRITES],
            ['of them still there for the next read', forced],
            ['gone with the copy before it', original],
            ['calls of MADV_DONTNEED', Number(world.share.get('discards'))],
          ],
        },
        notes: [
          `the file is ${world.share.get('the file') === ORIGINAL ? 'as it was' : 'changed'}`,
          ...Object.entries(world.remoteAccess.fallbacks).map(
            ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
          ),
        ],
      },
    ];
  },
});
