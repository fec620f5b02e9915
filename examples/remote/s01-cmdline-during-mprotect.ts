/**
 * A monitor reads /proc/PID/cmdline, as ps and top do, while its target is in a long mprotect and holds mmap_lock for writing. The
 * arguments lie in another mapping than the one that changes. With today's code (v0) each read waits until the call is
 * over; a design with locks of single VMAs is not hindered, since the writer has not marked that VMA. A speculative
 * reader (v6) sees that some writer runs and waits as well.
 * @see Suren Baghdasaryan, 16 June 2026, on "mm: __access_remote_vm with per-VMA lock"; Linux fs/proc/base.c, `get_mm_cmdline`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const ARGUMENTS = 0x1000_0000n;
const HEAP = 0x2000_0000n;
const HEAP_BYTES = 512 * PAGE;
const TITLE = 'database\0--port\x005432\0';
/** They lock the VMA of the arguments alone. */
const UNHINDERED = ['v1', 'v2', 'v3', 'v4', 'v5'];

export default defineScenario({
  title: 'S1: a monitor reads the arguments of a process that is in a long mprotect',
  cpus: 2,
  placement: { target: 0, monitor: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      yield* u.must(u.mmap({ address: ARGUMENTS, bytes: PAGE, prot: 'rw', fixed: true }));
      yield* u.must(u.storeBytes(ARGUMENTS, new TextEncoder().encode(TITLE)));
      yield* u.must(u.setArguments(ARGUMENTS, TITLE.length));
      yield* u.must(u.mmap({ address: HEAP, bytes: HEAP_BYTES, prot: 'rw', fixed: true, populate: true }));
      share.set('ready', true);
      yield* share.wait('watched');
      let longest = 0;
      for (const prot of ['r', 'rw', 'r', 'rw']) {
        const begun = u.now();
        yield* u.must(u.mprotect(HEAP, HEAP_BYTES, prot));
        longest = Math.max(longest, u.now() - begun);
        yield* u.compute(500);
      }
      share.set('over', true);
      return longest;
    },
    *monitor(u, share) {
      const target = u.pidOf('target');
      yield* share.wait('ready');
      const times: number[] = [];
      while (share.get('over') !== true) {
        const begun = u.now();
        const text = yield* u.must(u.procCmdline(target, 100));
        times.push(u.now() - begun);
        yield* u.check(new TextDecoder().decode(text) === TITLE, 'other arguments were read');
        share.set('watched', true);
        yield* u.compute(100);
      }
      return times.sort((a, b) => a - b);
    },
  },
  finally: {
    'who locks single VMAs never waits for mmap_lock here': ({ remoteAccess }) =>
      !UNHINDERED.includes(remoteAccess.design) || Object.keys(remoteAccess.fallbacks).length === 0,
    'the arguments are still there': (world) =>
      new TextDecoder().decode(world.process('target')?.read(ARGUMENTS, TITLE.length)) === TITLE,
  },
  report: (world) => {
    const times = world.value('monitor') as number[];
    const { design, title, fallbacks } = world.remoteAccess;
    return [
      {
        heading: `How long does a look at the arguments take while mprotect runs? ${design}: ${title}`,
        table: {
          columns: ['what', { title: 'cycles', align: 'right' }],
          rows: [
            ['the longest mprotect of the target', Number(world.value('target'))],
            ['a read of cmdline, median', times[Math.floor(times.length / 2)] ?? 0],
            ['a read of cmdline, slowest', times.at(-1) ?? 0],
          ],
        },
        notes: [
          `${times.length} reads came to their end meanwhile`,
          ...Object.entries(fallbacks).map(([why, count]) => `left to mmap_lock because of ${why}: ${count}`),
        ],
      },
    ];
  },
});
