/**
 * A sampling profiler walks the frames of a program that goes on running: each frame is one remote read, and the program returns
 * and calls in between. Some samples show a call that never was. No lock of the kernel helps: each read is right, and
 * together they are of different times; the contents of memory are not frozen by any design. What helps is stopping the
 * program for the sample, as py-spy has done since.
 * @see github.com/benfred/py-spy issue 26, pull request 65; github.com/python/cpython pull request 142998
 */
import { defineScenario, type Task, type User } from 'tablewalk';

const PAGE = 4096;
const STATE = 0x1000_0000n;
const FRAMES = STATE + 0x100n;
const FRAME = 64n;
const SAMPLES = 24;
/** What the program calls, over and over: inner functions last. */
const PATHS = [
  [1, 2, 3, 4],
  [1, 5, 6, 7],
];
const isPossible = (stack: readonly number[]): boolean =>
  PATHS.some((path) => stack.every((one, depth) => one === path[depth]));
const WAYS = ['process_vm_readv', '/proc/PID/mem', 'ptrace, stopped'] as const;

/** A frame is the function's number and the address of the frame that called it. */
function* walk(read: (address: bigint) => Task<bigint>): Task<number[]> {
  const stack: number[] = [];
  let frame = yield* read(STATE);
  while (frame !== 0n && stack.length < 8) {
    stack.unshift(Number(yield* read(frame)));
    frame = yield* read(frame + 8n);
  }
  return stack;
}

const wordOf = (bytes: Uint8Array): bigint =>
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);

function* sample(u: User, way: (typeof WAYS)[number], pid: number, mem: number): Task<number[]> {
  if (way === 'process_vm_readv') {
    return yield* walk(function* (address) {
      return wordOf((yield* u.must(u.processVmReadv(pid, [{ address, bytes: 8 }]))).data);
    });
  }
  if (way === '/proc/PID/mem') {
    return yield* walk(function* (address) {
      return wordOf(yield* u.must(u.procMemRead(mem, address, 8)));
    });
  }
  yield* u.must(u.ptraceAttach(pid));
  const stack = yield* walk((address) => u.must(u.peek(pid, address)));
  yield* u.must(u.ptraceDetach(pid));
  return stack;
}

export default defineScenario({
  title: 'a profiler samples a program that goes on running',
  cpus: 2,
  placement: { interpreter: 0, profiler: 1 },
  timeline: false,
  programs: {
    *interpreter(u, share) {
      yield* u.must(u.mmap({ address: STATE, bytes: PAGE, prot: 'rw', fixed: true, populate: true }));
      share.set('running', true);
      for (let turn = 0; share.get('over') !== true; turn++) {
        const path = PATHS[turn % PATHS.length] as number[];
        for (const [depth, name] of path.entries()) {
          const frame = FRAMES + BigInt(depth) * FRAME;
          yield* u.must(u.store(frame, name));
          yield* u.must(u.store(frame + 8n, depth === 0 ? 0n : frame - FRAME));
          yield* u.must(u.store(STATE, frame));
          yield* u.compute(6);
        }
        for (let depth = path.length - 1; depth >= 0; depth--) {
          yield* u.must(u.store(STATE, depth === 0 ? 0n : FRAMES + BigInt(depth - 1) * FRAME));
          yield* u.compute(4);
        }
      }
    },
    *profiler(u, share) {
      yield* share.wait('running');
      const pid = u.pidOf('interpreter');
      const mem = yield* u.must(u.procMemOpen(pid));
      for (const way of WAYS) {
        for (let turn = 0; turn < SAMPLES; turn++) {
          const stack = yield* sample(u, way, pid, mem);
          const name = `${way}: ${isPossible(stack) ? 'possible' : 'torn'}`;
          share.set(name, Number(share.get(name) ?? 0) + 1);
          yield* u.compute(13 * turn);
        }
      }
      share.set('over', true);
    },
  },
  finally: {
    'no sample of a stopped program is torn': (world) =>
      world.share.get('ptrace, stopped: torn') === undefined,
  },
  report: (world) => [
    {
      heading: `How many samples show calls that never were? ${world.remoteAccess.design}: ${world.remoteAccess.title}`,
      table: {
        columns: ['samples by', ...['possible', 'torn'].map((title) => ({ title, align: 'right' as const }))],
        rows: WAYS.map((way) => [
          way,
          ...['possible', 'torn'].map((kind) => Number(world.share.get(`${way}: ${kind}`) ?? 0)),
        ]),
      },
      notes: ['the program calls 1 → 2 → 3 → 4 and 1 → 5 → 6 → 7 in turn'],
    },
  ],
});
