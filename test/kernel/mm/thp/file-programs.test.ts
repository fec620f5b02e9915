/**
 * Random calls by two processes on one memfd with three huge pages, mapped shared and private, aligned and askew: what is
 * read is what was written last, everything adds up after each few calls, and nothing is left in the end.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fileFallocate,
} from '../../../../src/kernel/mm/fallocate.ts';
import { fileTruncate } from '../../../../src/kernel/mm/ftruncate.ts';
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_PAGEOUT,
  MADV_REMOVE,
} from '../../../../src/kernel/mm/madvise/advice.ts';
import { MAP_PRIVATE, PROT_READ } from '../../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { sysMremap } from '../../../../src/kernel/mm/mremap.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../../../src/kernel/mm/mremap-operation.ts';
import { sysMunmap } from '../../../../src/kernel/mm/munmap.ts';
import { tryToFreePages } from '../../../../src/kernel/mm/reclaim/direct.ts';
import { khugepagedDefaults, khugepagedDoScan } from '../../../../src/kernel/mm/thp/khugepaged.ts';
import { doExit } from '../../../../src/kernel/process/exit.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { advise, bytes } from '../madvise/support.ts';
import { addressOf } from '../process-world.ts';
import { expectAllGone, type FileScene, fileScene, mapFile, writeFile } from './file-support.ts';
import { expectSound, FIRST, HUGE, RW } from './support.ts';

const COUNT = 3;
const PAGES = COUNT * HUGE;
/** Where each process maps the file: shared; private; shared, but a page askew. */
const SHARED = FIRST;
const PRIVATE = FIRST + 4 * HUGE;
const ASKEW = FIRST + 8 * HUGE + 1;
const PLACES = [SHARED, SHARED, SHARED, PRIVATE, ASKEW];
const ADVICES = [
  MADV_COLLAPSE,
  MADV_COLLAPSE,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_PAGEOUT,
  MADV_COLD,
  MADV_REMOVE,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
];

interface Call {
  readonly kind: number;
  readonly task: number;
  readonly place: number;
  readonly page: number;
  readonly count: number;
  readonly value: number;
}

const calls = fc.array(
  fc.record({
    kind: fc.nat({ max: 15 }),
    task: fc.nat({ max: 1 }),
    place: fc.nat({ max: PLACES.length - 1 }),
    page: fc.oneof(fc.nat({ max: PAGES - 1 }), fc.constantFrom(0, HUGE, 2 * HUGE)),
    count: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(HUGE, 2 * HUGE, PAGES)),
    value: fc.nat({ max: 255 }),
  }),
  { minLength: 10, maxLength: 60, size: 'max' },
);

class FileProgram {
  readonly scene: FileScene;
  readonly #tasks: TaskStruct[];
  /** What the file holds, first byte of each page. */
  readonly #bytes = new Uint8Array(PAGES);
  #size = PAGES;

  constructor(seed: number) {
    const shmemEnabled = (['never', 'advise', 'within_size', 'always'] as const)[seed % 4] ?? 'never';
    const swapPages = seed % 3 === 0 ? 0 : 4096;
    this.scene = fileScene({
      count: COUNT,
      memoryBytes: 0x200_0000,
      kernel: { shmemEnabled, swapPages },
    });
    const { world, task, file } = this.scene;
    this.#tasks = [task, world.process('second')];
    for (const each of this.#tasks) {
      if (each !== task) mapFile(world, each, file, { count: COUNT });
      mapFile(world, each, file, { page: PRIVATE, count: COUNT, flags: MAP_PRIVATE });
      mapFile(world, each, file, { page: ASKEW, count: COUNT });
    }
  }

  perform({ kind, task: who, place: where, page, count, value }: Call): void {
    const { world, file } = this.scene;
    const task = this.#tasks[who] as TaskStruct;
    const place = PLACES[where] as number;
    const end = Math.min(page + count, PAGES);
    const address = addressOf(place + page);
    if (kind < 3) this.#store(task, place, page, value);
    else if (kind < 5) this.#load(task, page);
    else if (kind < 10) {
      const advice = ADVICES[value % ADVICES.length] as number;
      const result = advise(world, task, place + page, end - page, advice);
      if (advice === MADV_REMOVE && result === 'ok') this.#bytes.fill(0, page, end);
    } else if (kind === 10) {
      const flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
      world.run(task, fileFallocate(task, file, flags, bytes(page), bytes(end - page)));
      this.#bytes.fill(0, page, end);
    } else if (kind === 11) this.#resize(task, value < 128 ? page : PAGES);
    else if (kind === 12) {
      world.run(task, sysMprotect(task, address, bytes(end - page), PROT_READ));
      this.#load(task, page);
      world.run(task, sysMprotect(task, address, bytes(end - page), RW));
    } else if (kind === 13) this.#moveThereAndBack(task, place, page - (page % HUGE), value);
    else if (kind === 14) this.#forkOrRemap(task, place, value);
    else if (value < 128) world.run(task, tryToFreePages(task, 200));
    else world.run(task, khugepagedDoScan(task));
  }

  #store(task: TaskStruct, place: number, page: number, value: number): void {
    const { world } = this.scene;
    // Huge pages of tmpfs are mapped beyond the file's end too; what is written there is nobody's.
    if (page >= this.#size) return;
    expect(world.store(task, place + page, value)).toBeNull();
    expect(world.load(task, place + page)).toBe(value);
    if (place !== PRIVATE) this.#bytes[page] = value;
  }

  #load(task: TaskStruct, page: number): void {
    const value = this.scene.world.load(task, SHARED + page);
    if (page < this.#size) expect(value).toBe(this.#bytes[page]);
  }

  #resize(task: TaskStruct, pages: number): void {
    const { world, file } = this.scene;
    world.run(task, fileTruncate(task, file, bytes(pages)));
    this.#bytes.fill(0, pages);
    this.#size = pages;
  }

  #moveThereAndBack(task: TaskStruct, place: number, page: number, value: number): void {
    const { world } = this.scene;
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    const elsewhere = addressOf(FIRST + 16 * HUGE + (value % 2));
    const here = addressOf(place + page);
    world.run(task, sysMremap(task, here, bytes(HUGE), bytes(HUGE), flags, elsewhere));
    world.load(task, FIRST + 16 * HUGE + (value % 2) + (value % HUGE));
    world.run(task, sysMremap(task, elsewhere, bytes(HUGE), bytes(HUGE), flags, here));
  }

  /** A child that looks and goes; or the mapping goes, and comes again. */
  #forkOrRemap(task: TaskStruct, place: number, value: number): void {
    const { world, file } = this.scene;
    if (value < 128) {
      const child = world.fork(task);
      for (const page of [0, value, HUGE + value]) this.#load(child, page);
      world.run(child, doExit(child, 0));
      return;
    }
    world.run(task, sysMunmap(task, addressOf(place), bytes(PAGES)));
    if (value < 192) {
      writeFile(this.scene, 7, value);
      this.#bytes[7] = value;
    }
    this.#size = Math.max(this.#size, file.mapping.sizePages);
    const flags = place === PRIVATE ? { flags: MAP_PRIVATE } : {};
    mapFile(world, task, file, { page: place, count: COUNT, ...flags });
  }

  audit(): void {
    expectSound(this.scene);
  }

  end(): void {
    for (let page = 0; page < PAGES; page++) this.#load(this.#tasks[page % 2] as TaskStruct, page);
    this.audit();
    // To the end of its round, so that khugepaged is in the middle of nothing.
    const { world, task } = this.scene;
    world.run(task, khugepagedDoScan(task, { ...khugepagedDefaults, pagesToScan: 1e6 }));
    expectAllGone(this.scene, this.#tasks[1] as TaskStruct);
  }
}

const RUNS = Number(process.env['RUNS'] ?? 40);

it('random calls on a memfd with huge pages keep its bytes, and everything adding up: 2,000 calls', () => {
  fc.assert(
    fc.property(calls, fc.nat({ max: 11 }), (all, seed) => {
      const program = new FileProgram(seed);
      all.forEach((call, at) => {
        program.perform(call);
        if (at % 8 === 7) program.audit();
      });
      program.end();
    }),
    { numRuns: RUNS, seed: Number(process.env['SEED'] ?? 1), interruptAfterTimeLimit: 250_000 },
  );
}, 300_000);
