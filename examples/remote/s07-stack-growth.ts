/**
 * A pointer just below a stack. Who goes through access_remote_vm (ptrace, /proc/PID/mem) makes the stack grow, in every design:
 * today's code under mmap_lock, v4 in the function that takes the lock, the others by leaving it to today's code, since
 * there is no VMA to lock. GUP alone never grows a stack: process_vm_readv and a driver get EFAULT. A string copy of the
 * kernel does not grow it either.
 * @see Linux mm/memory.c, `__access_remote_vm`; mm/mmap.c, `expand_stack`; mm/gup.c, `gup_vma_lookup`
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const BYTES = 4 * PAGE;
const STACK = 0x5000_0000n;

export default defineScenario({
  title: 'S7: reads and writes just below a stack',
  cpus: 2,
  placement: { target: 0, debugger: 1 },
  timeline: false,
  programs: {
    *target(u, share) {
      yield* u.must(u.mmap({ address: STACK, bytes: BYTES, prot: 'rw', growsDown: true, fixed: true }));
      yield* u.must(u.store(STACK, 1n));
      share.set('stack', true);
      yield* share.wait('over');
    },
    *debugger(u, share) {
      yield* share.wait('stack');
      const pid = u.pidOf('target');
      const mem = yield* u.must(u.procMemOpen(pid));
      const rows: [string, string, number][] = [];
      const note = function* (path: string, result: string) {
        const maps = yield* u.must(u.procMaps(pid));
        rows.push([path, result, Number(STACK - (maps[0]?.start ?? 0n)) / PAGE]);
      };
      const errno = (outcome: { ok: boolean; errno?: string }) =>
        outcome.ok ? 'done' : (outcome.errno ?? '?');
      const below = (pages: number): bigint => STACK - BigInt(pages * PAGE) + 8n;

      yield* note('process_vm_readv', errno(yield* u.processVmReadv(pid, [{ address: below(1), bytes: 8 }])));
      const driver = yield* u.gup({ entry: 'get_user_pages_remote', address: below(1), pages: 1, pid });
      yield* note('get_user_pages_remote', errno(driver));
      yield* note('copy_remote_vm_str', errno(yield* u.copyRemoteVmStr(pid, below(1), 8)));
      const read = yield* u.procMemRead(mem, below(1), 8);
      yield* u.check(read.ok && read.value.every((byte) => byte === 0), 'the new page is not zeros');
      yield* note('read of /proc/PID/mem', errno(read));
      yield* note(
        'write of /proc/PID/mem',
        errno(yield* u.procMemWrite(mem, below(3), new Uint8Array(8).fill(7))),
      );
      yield* u.must(u.ptraceAttach(pid));
      yield* note('PTRACE_PEEKDATA', errno(yield* u.peek(pid, below(4))));
      // 8 MiB is as far as a stack goes.
      yield* note('PTRACE_PEEKDATA, beyond RLIMIT_STACK', errno(yield* u.peek(pid, STACK - 0x90_0000n)));
      yield* u.must(u.ptraceDetach(pid));
      share.set('over', true);
      return rows;
    },
  },
  finally: {
    'GUP alone fails, access_remote_vm makes the stack grow': (world) =>
      JSON.stringify((world.value('debugger') as [string, string, number][]).map(([, ...rest]) => rest)) ===
      JSON.stringify([
        ['EFAULT', 0],
        ['EFAULT', 0],
        ['EFAULT', 0],
        ['done', 1],
        ['done', 3],
        ['done', 4],
        ['EIO', 4],
      ]),
  },
  report: (world) => [
    {
      heading: `Who grows the stack? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: [
          '8 bytes below the stack by',
          'result',
          { title: 'pages it has grown so far', align: 'right' },
        ],
        rows: world.value('debugger') as [string, string, number][],
      },
      notes: Object.entries(world.remoteAccess.fallbacks).map(
        ([why, times]) => `left to mmap_lock because of ${why}: ${times}`,
      ),
    },
  ],
});
