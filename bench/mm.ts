/**
 * `npm run bench -- mm`: what mmap, munmap, find_vma and a page fault cost in an address space of 10 … 1,000,000 VMAs.
 * A tree grows by a level for many times as many VMAs, so that the cost should hardly grow: at 1,000,000 VMAs at most
 * 4 times that at 1,000. Sizes are measured in turns, round by round, so that a busy machine slows them all.
 */
import { architectureNamed } from '../src/arch/registry.ts';
import type { Task } from '../src/base/task.ts';
import { mmapReadLock, mmapReadUnlock } from '../src/kernel/lock/mmap-lock.ts';
import { lockVmaUnderRcu } from '../src/kernel/mm/lock-vma-under-rcu.ts';
import type { MmStruct } from '../src/kernel/mm/mm.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../src/kernel/mm/mman.ts';
import { sysMmap } from '../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../src/kernel/mm/munmap.ts';
import { vmaEndRead } from '../src/kernel/mm/vma-lock.ts';
import { rootCredentials } from '../src/kernel/process/credentials.ts';
import type { TaskStruct } from '../src/kernel/task-struct.ts';
import { userStore } from '../src/userland/calls/access.ts';
import { createSystem, type System } from '../src/userland/system.ts';
import { median } from './limit/measure.ts';

const SIZES = [10, 1_000, 100_000, 1_000_000] as const;
const COMPARED = 1_000;
const MOST_GROWTH = 4;
const ROUNDS = 5;
const CALLS = 20_000;
const BASE_PAGE = 0x1_0000_0000;
/** A VMA of 2 pages, then a hole of 2: there a mapping fits without touching its neighbours. */
const SPACING = 4;
const PAGE = 4096n;
const RW = PROT_READ | PROT_WRITE;
const PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS;

const byte = new Uint8Array([1]);

interface Space {
  readonly size: number;
  readonly system: System;
  readonly task: TaskStruct;
  readonly mm: MmStruct;
  /** Slots in the order in which an operation visits them: spread over the whole address space, the same every time. */
  readonly order: Uint32Array;
}

const pageOf = (slot: number): number => BASE_PAGE + slot * SPACING;
const addressOf = (page: number): bigint => BigInt(page) * PAGE;
const slotAt = ({ order }: Space, i: number): number => order[i % order.length] as number;

type Part = (space: Space, i: number) => Task<unknown>;

/** What is measured. `measured` is one call; the others, which are not timed, come before and after all of a pass. */
interface Row {
  readonly name: string;
  readonly prepare?: Part;
  readonly measured: Part;
  readonly undo?: Part;
}

const holeOf = (space: Space, i: number): bigint => addressOf(pageOf(slotAt(space, i)) + 2);
const mapHole = (space: Space, i: number): Task<bigint> =>
  sysMmap(space.task, holeOf(space, i), PAGE, PROT_READ, PRIVATE | MAP_FIXED, null, 0n);
const unmapHole = (space: Space, i: number): Task<number> => sysMunmap(space.task, holeOf(space, i), PAGE);

function* dropTouched(space: Space, i: number): Task<void> {
  const address = addressOf(pageOf(slotAt(space, i)));
  yield* sysMunmap(space.task, address, 2n * PAGE);
  yield* sysMmap(space.task, address, 2n * PAGE, RW, PRIVATE | MAP_FIXED, null, 0n);
}

const ROWS: readonly Row[] = [
  {
    name: 'find_vma under mmap_lock',
    *measured({ task, mm, order }, i) {
      yield* mmapReadLock(task, mm);
      if (mm.vmas.find(pageOf(order[i] as number)) === null) throw new Error('a VMA is missing');
      yield* mmapReadUnlock(task, mm);
    },
  },
  {
    name: 'lock_vma_under_rcu',
    *measured({ task, mm, order }, i) {
      const vma = yield* lockVmaUnderRcu(task, mm, pageOf(order[i] as number));
      if (vma === null) throw new Error('a VMA cannot be locked');
      yield* vmaEndRead(task, vma);
    },
  },
  { name: 'mmap, fixed, between two', measured: mapHole, undo: unmapHole },
  {
    name: 'mmap anywhere, munmap',
    *measured({ task }) {
      const address = yield* sysMmap(task, 0n, 3n * PAGE, PROT_READ, PRIVATE, null, 0n);
      yield* sysMunmap(task, address, 3n * PAGE);
    },
  },
  { name: 'munmap', prepare: mapHole, measured: unmapHole },
  {
    name: 'write fault',
    measured: (space, i) => userStore(space.task, addressOf(pageOf(slotAt(space, i))), byte),
    undo: dropTouched,
  },
];

/** The visiting order: steps of a length that has no divisor in common with the number of slots. */
function visitingOrder(size: number): Uint32Array {
  const order = new Uint32Array(Math.min(size, CALLS));
  let step = Math.max(1, Math.floor(size * 0.618_033_988));
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));
  while (divisor(step, size) !== 1) step++;
  for (let i = 0, slot = 0; i < order.length; i++, slot = (slot + step) % size) order[i] = slot;
  return order;
}

function createSpace(size: number): Space {
  const system = createSystem({
    architecture: architectureNamed('x86_64'),
    cpus: 1,
    memoryBytes: 0x4000_0000,
    kernel: { maxMapCount: 2 * size + 100 },
  });
  const task = system.createProcess(`${size} VMAs`, 0, rootCredentials());
  const { mm } = task;
  if (mm === null) throw new Error('a process without memory');
  system.loop.complete(task, fill(task, size));
  if (mm.mapCount !== size) throw new Error(`${mm.mapCount} VMAs instead of ${size}`);
  return { size, system, task, mm, order: visitingOrder(size) };
}

function* fill(task: TaskStruct, size: number): Task<void> {
  for (let slot = 0; slot < size; slot++) {
    yield* sysMmap(task, addressOf(pageOf(slot)), 2n * PAGE, RW, PRIVATE | MAP_FIXED, null, 0n);
  }
}

function cpuNanoseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1e3;
}

/** Nanoseconds of one call, over as many slots as there are, again and again until there were enough calls. */
function measure(space: Space, row: Row): number {
  const slots = space.order.length;
  let spent = 0;
  let calls = 0;
  const { loop } = space.system;
  function* pass(part: Part): Task<void> {
    for (let i = 0; i < slots; i++) yield* part(space, i);
  }
  while (calls < CALLS) {
    if (row.prepare !== undefined) loop.complete(space.task, pass(row.prepare));
    const start = cpuNanoseconds();
    loop.complete(space.task, pass(row.measured));
    spent += cpuNanoseconds() - start;
    if (row.undo !== undefined) loop.complete(space.task, pass(row.undo));
    calls += slots;
  }
  return spent / calls;
}

/** Prints a line for each operation; 1 when one of them grows faster than it may. */
export function mm(): number {
  const spaces = SIZES.map(createSpace);
  const rounds = ROWS.map(() => SIZES.map((): number[] => []));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [r, row] of ROWS.entries()) {
      for (const [s, space] of spaces.entries()) {
        const nanoseconds = measure(space, row);
        // The first round warms up.
        if (round > 0) rounds[r]?.[s]?.push(nanoseconds);
      }
    }
  }
  return report(rounds);
}

function report(rounds: readonly (readonly (readonly number[])[])[]): number {
  const count = (n: number): string => n.toLocaleString('en').padStart(11);
  console.log(`${'nanoseconds a call, VMAs:'.padEnd(26)}${SIZES.map(count).join('')}     growth`);
  let failed = false;
  for (const [r, { name }] of ROWS.entries()) {
    const times = SIZES.map((_, s) => median(rounds[r]?.[s] ?? []));
    const growth = (times.at(-1) as number) / (times[SIZES.indexOf(COMPARED)] as number);
    failed ||= growth > MOST_GROWTH;
    const verdict = growth > MOST_GROWTH ? 'TOO MUCH' : 'ok';
    console.log(
      `${name.padEnd(26)}${times.map((time) => count(Math.round(time))).join('')}   × ${growth.toFixed(2)}  ${verdict}`,
    );
  }
  console.log(
    `growth: from ${count(COMPARED).trim()} to ${count(SIZES.at(-1) as number).trim()} VMAs, at most × ${MOST_GROWTH}`,
  );
  return failed ? 1 : 0;
}
