/**
 * `npm run bench -- remote`: remote reads and writes of present pages on one CPU, nobody else about. Each call goes
 * through every step of the kernel path: locks, page-table walk, reference, copy.
 */
import { Bench } from 'tinybench';
import { architectureNamed } from '../src/arch/registry.ts';
import type { Task } from '../src/base/task.ts';
import { FOLL_FORCE, FOLL_WRITE } from '../src/kernel/gup/foll-flags.ts';
import type { MmStruct } from '../src/kernel/mm/mm.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../src/kernel/mm/mman.ts';
import { sysMmap } from '../src/kernel/mm/mmap.ts';
import { rootCredentials } from '../src/kernel/process/credentials.ts';
import { accessRemoteVm } from '../src/kernel/remote/access-remote-vm.ts';
import type { RemoteAccessDesign } from '../src/kernel/remote/design.ts';
import { DESIGNS } from '../src/kernel/remote/designs/registry.ts';
import { sysProcessVmReadv } from '../src/kernel/remote/process-vm.ts';
import type { TaskStruct } from '../src/kernel/task-struct.ts';
import { createSystem } from '../src/userland/system.ts';

const BASE = 0x1000_0000_0000n;
const PAGES = 64;
const ROUNDS = 5;

interface Row {
  readonly name: string;
  readonly calls: number;
  /** Default: today's code. */
  readonly design?: RemoteAccessDesign;
  /** One call, the i-th. */
  readonly call: (current: TaskStruct, target: TaskStruct, i: number) => Task<number>;
}

const word = new Uint8Array(8);
const page = new Uint8Array(4096);
const many = new Uint8Array(16 * 4096);
/** Made before: the time of making a bigint is not the call's. */
const ADDRESSES = Array.from(
  { length: 500 * PAGES },
  (_, i) => BASE + BigInt((i % PAGES) * 4096 + 8 * (i % 500)),
);
const at = (i: number): bigint => ADDRESSES[i % ADDRESSES.length] as bigint;

/** Reads of 8 bytes by every design that is right. */
const DESIGN_ROWS: readonly Row[] = DESIGNS.filter(({ wrong }) => wrong === undefined).map((design) => ({
  name: `access_remote_vm, read 8 bytes, ${design.name.toUpperCase()}`,
  calls: 200_000,
  design,
  call: (current, { mm }, i) => accessRemoteVm(current, mm as MmStruct, at(i), word, 8, FOLL_FORCE),
}));

const ROWS: readonly Row[] = [
  {
    name: 'access_remote_vm, read 8 bytes',
    calls: 300_000,
    call: (current, { mm }, i) => accessRemoteVm(current, mm as MmStruct, at(i), word, 8, FOLL_FORCE),
  },
  {
    name: 'access_remote_vm, write 8 bytes',
    calls: 300_000,
    call: (current, { mm }, i) =>
      accessRemoteVm(current, mm as MmStruct, at(i), word, 8, FOLL_FORCE | FOLL_WRITE),
  },
  {
    name: 'access_remote_vm, read 4096 bytes',
    calls: 200_000,
    call: (current, { mm }, i) =>
      accessRemoteVm(current, mm as MmStruct, BASE + BigInt((i % PAGES) * 4096), page, 4096, FOLL_FORCE),
  },
  {
    name: 'process_vm_readv, 16 pages',
    calls: 20_000,
    call: (current, { pid }) =>
      sysProcessVmReadv(current, {
        pid,
        local: [{ base: many, length: BigInt(many.length) }],
        localCount: 1,
        remote: [{ base: BASE, length: BigInt(many.length) }],
        remoteCount: 1,
        flags: 0,
      }),
  },
  ...DESIGN_ROWS,
];

function* repeat(row: Row, current: TaskStruct, target: TaskStruct): Task<number> {
  let moved = 0;
  for (let i = 0; i < row.calls; i++) moved += yield* row.call(current, target, i);
  return moved;
}

function* fill(current: TaskStruct, mm: MmStruct): Task<void> {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  yield* sysMmap(current, BASE, BigInt(PAGES * 4096), PROT_READ | PROT_WRITE, flags, null, 0n);
  for (let i = 0; i < PAGES; i++) {
    yield* accessRemoteVm(current, mm, BASE + BigInt(i * 4096), page.fill(i + 1), 4096, FOLL_WRITE);
  }
}

/** Prints one line for each row: the median, by CPU time, so that a busy machine does not count. */
export async function remote(): Promise<number> {
  const { kernel, loop, createProcess } = createSystem({
    architecture: architectureNamed('x86_64'),
    cpus: 1,
  });
  const target = createProcess('target', 0, rootCredentials());
  const reader = createProcess('reader', 0, rootCredentials());
  loop.complete(target, fill(target, target.mm as MmStruct));
  const framesFree = kernel.frames.freeFrames;
  const bench = new Bench({
    name: 'remote',
    now: cpuMilliseconds,
    iterations: ROUNDS,
    time: 0,
    warmupIterations: 1,
  });
  for (const row of ROWS) {
    bench.add(row.name, () => {
      kernel.remoteAccess = row.design ?? null;
      if (loop.complete(reader, repeat(row, reader, target)) <= 0)
        throw new Error(`${row.name}: nothing moved`);
    });
  }
  await bench.run();
  for (const [index, { name, result }] of bench.tasks.entries()) {
    if (!('latency' in result)) throw new Error(`${name}: ${result.state}`);
    const rate = ((ROWS[index] as Row).calls / result.latency.p50) * 1000;
    console.log(
      `${name.padEnd(38)} ${Math.round(rate).toLocaleString('en').padStart(12)} calls per second of CPU time`,
    );
  }
  if (kernel.frames.freeFrames !== framesFree) throw new Error('the bench leaked frames');
  return 0;
}

function cpuMilliseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
