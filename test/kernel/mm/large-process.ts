/** What `large-process.test.ts` runs in a process of its own: prints how much memory it took. */
import { setTimeout } from 'node:timers/promises';
import { architectureNamed } from '../../../src/arch/registry.ts';
import type { Task } from '../../../src/base/task.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { rootCredentials } from '../../../src/kernel/process/credentials.ts';
import { userStore } from '../../../src/userland/calls/access.ts';
import { createSystem } from '../../../src/userland/system.ts';

const GIB = 2n ** 30n;
const BASE = 0x1000_0000_0000n;
const TOUCHED = 2 ** 18;
/** Physical memory; what is not touched is not there. */
const MEMORY_BYTES = 2 ** 37;

const { gc } = globalThis;
if (gc === undefined) throw new Error('to be run with --expose-gc');

/** Buffers are swept beside the program and counted when that is done. */
async function memory(): Promise<number> {
  for (let pass = 0; pass < 3; pass++) {
    gc?.();
    await setTimeout(20);
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
}

const { kernel, loop, createProcess } = createSystem({
  architecture: architectureNamed(process.argv[2] ?? ''),
  cpus: 1,
  memoryBytes: MEMORY_BYTES,
  // The sum of the mapping alone is more than a machine with less would promise.
  kernel: { overcommitMemory: 1 },
});
const used = (): number => kernel.frames.frameCount - kernel.frames.freeFrames;
const task = createProcess('large', 0, rootCredentials());

/** One byte of every page of the first GiB. */
function* touch(): Task<void> {
  const byte = Uint8Array.of(1);
  for (let page = 0; page < TOUCHED; page++) {
    const signal = yield* userStore(task, BASE + BigInt(page) * 0x1000n, byte);
    if (signal !== null) throw new Error(`page ${page}: signal ${signal.signal}`);
  }
}

const start = await memory();
const usedAtStart = used();
const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
loop.complete(task, sysMmap(task, BASE, 64n * GIB, PROT_READ | PROT_WRITE, flags, null, 0n));
loop.complete(task, touch());
const touched = await memory();
const usedThen = used();
loop.complete(task, sysMunmap(task, BASE, 64n * GIB));
const freed = await memory();
const { maxRSS } = process.resourceUsage();
process.stdout.write(
  JSON.stringify({ start, touched, freed, peak: maxRSS * 1024, frames: [usedAtStart, usedThen, used()] }),
);
