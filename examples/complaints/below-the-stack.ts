/**
 * A debugger looks at a stack whose pointer lies just above its lowest mapped page, and at the red zone below the pointer, which
 * is not mapped yet. With process_vm_readv that fails with EFAULT (since Linux 6.5 GUP does not grow stacks and says so in
 * the log); with /proc/PID/mem it succeeds, and the stack of the debuggee has grown by the debugger's look: a page more of
 * stack mapping, and a mapping that begins elsewhere. So what two tools show of one address may differ, and one changes it.
 * @see Linus Torvalds, "gup: add warning if some caller would seem to want stack expansion", June 2023, and the report of the
 * kernel test robot on process_vm_readv in reply; Linux mm/memory.c, `__access_remote_vm`; mm/gup.c, `gup_vma_lookup`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
/** Bytes below the stack pointer that a leaf function may use without moving it (x86-64 psABI). */
const RED_ZONE = 128;

export default defineScenario({
  title: 'a debugger reads below the stack pointer of its target',
  cpus: 2,
  placement: { shell: 0, debugger: 1 },
  timeline: false,
  programs: {
    *shell(u, share) {
      yield* u.must(u.execve({ program, path: '/bin/leaf', argv: ['leaf'], envp: [] }));
      function* program(c: typeof u, shared: typeof share) {
        const [stack] = (yield* c.must(c.procMaps(c.pid))).filter(({ kind }) => kind === 'stack');
        const lowest = stack?.start ?? 0n;
        // Pushed down to the last mapped byte: the stack pointer is the first byte of the mapping.
        yield* c.must(c.store(lowest, 0x5ecdn));
        shared.set('pointer', lowest);
        yield* shared.wait('over');
        shared.set('its own red zone', (yield* c.attempt(c.load(lowest - 8n))).ok);
      }
    },
    *debugger(u, share) {
      const pointer = yield* share.waitWord('pointer');
      const pid = u.pidOf('shell');
      const stackOf = function* () {
        const [stack] = (yield* u.must(u.procSmaps(pid))).filter(({ kind }) => kind === 'stack');
        return { below: Number(pointer - (stack?.start ?? 0n)) / PAGE, rss: stack?.rss ?? 0 };
      };
      const at = pointer - BigInt(RED_ZONE);
      const rows: [string, string, number, number][] = [];
      const note = function* (what: string, result: string) {
        const { below, rss } = yield* stackOf();
        rows.push([what, result, below, rss]);
      };
      yield* note('nobody', '');
      const first = yield* u.processVmReadv(pid, [{ address: at, bytes: RED_ZONE }]);
      yield* note(
        'process_vm_readv',
        first.ok ? `${first.value.bytes} bytes` : 'errno' in first ? first.errno : '',
      );
      // The word of the pointer and what is below it: not one byte, since the first page is missing.
      const both = yield* u.processVmReadv(pid, [{ address: at, bytes: RED_ZONE + 8 }]);
      yield* note(
        'process_vm_readv, and the word above',
        both.ok ? 'some' : 'errno' in both ? both.errno : '',
      );
      const mem = yield* u.must(u.procMemOpen(pid));
      const read = yield* u.must(u.procMemRead(mem, at, RED_ZONE + 8));
      yield* note('/proc/PID/mem, the same', `${read.length} bytes`);
      const again = yield* u.must(u.processVmReadv(pid, [{ address: at, bytes: RED_ZONE + 8 }]));
      yield* note('process_vm_readv again', `${again.bytes} bytes`);
      share.set('same bytes', read.join() === again.data.join());
      share.set('over', true);
      return rows;
    },
  },
  finally: {
    'GUP alone does not grow the stack, access_remote_vm does': (world) =>
      (world.value('debugger') as [string, string, number, number][])
        .map(([, result, pages]) => `${result} ${pages}`)
        .join(', ') === ` 0, EFAULT 0, EFAULT 0, ${RED_ZONE + 8} bytes 1, ${RED_ZONE + 8} bytes 1`,
    'then both read the same': (world) => world.share.get('same bytes') === true,
    'the program itself can use its red zone': (world) => world.share.get('its own red zone') === true,
  },
  report: (world) => [
    {
      heading: `What do looks below the stack pointer give, and change? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: [
          'looked by',
          'result',
          { title: 'pages below the pointer', align: 'right' },
          { title: 'KiB of stack in memory', align: 'right' },
        ],
        rows: world.value('debugger') as [string, string, number, number][],
      },
    },
  ],
});
