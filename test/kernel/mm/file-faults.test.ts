/** Memory with a file behind it: private copies, and what must be flushed before a page is called unmapped. */
import { describe, expect, it } from 'vitest';
import type { MappedFile } from '../../../src/kernel/mm/mapped-file.ts';
import { MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { shmemZeroSetup } from '../../../src/kernel/mm/shmem.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { architecture } from '../../support/architecture.ts';
import { addressOf, mmOf, ProcessWorld } from './process-world.ts';

const RW = PROT_READ | PROT_WRITE;

function mapFile(world: ProcessWorld, task: TaskStruct, file: MappedFile, page: number, flags: number): void {
  const got = world.run(task, sysMmap(task, addressOf(page), 0x4000n, RW, flags | MAP_FIXED, file, 0n));
  if (got !== addressOf(page)) throw new Error(`mmap gave ${got}`);
}

/** One process with a file of four pages, mapped shared at page 0 and private at page 8; page 0 of it holds 3. */
function withFile() {
  const world = new ProcessWorld({ cpus: 2 });
  const task = world.process();
  const file = shmemZeroSetup(world.kernel, 4);
  mapFile(world, task, file, 0, MAP_SHARED);
  mapFile(world, task, file, 8, MAP_PRIVATE);
  world.store(task, 0, 3);
  return { world, task };
}

/** The TLBs that hold a translation to this frame, up to date or not. */
function holdersOf(world: ProcessWorld, task: TaskStruct, frame: number): string[] {
  const { context } = mmOf(task);
  const view = architecture.createTlbView(world.kernel.arch);
  return [0, 1]
    .flatMap((cpu) => view.cachedTranslations(cpu, context === null ? [] : [context]))
    .filter((cached) => cached.frame === frame)
    .map(({ cpu, cache }) => `cpu ${cpu}, ${cache}`);
}

describe('a private mapping of a file', () => {
  it('reads the file’s page, also what is written to the file later', () => {
    const { world, task } = withFile();
    expect([world.load(task, 8), world.page(task, 8)]).toEqual([3, 'F2']);
    world.store(task, 0, 4);
    expect(world.load(task, 8)).toBe(4);
  });

  it('a first write copies and is writable at once: one fault, the file unchanged', () => {
    const { world, task } = withFile();
    const before = task.minFlt;
    world.store(task, 8, 9, 100);
    world.store(task, 8, 8, 101);
    expect([task.minFlt - before, world.page(task, 8), world.load(task, 8)]).toEqual([1, 'Xwd', 3]);
    expect([world.load(task, 0, 100), world.load(task, 8, 100)]).toEqual([0, 9]);
  });

  it('a write after a read copies too, and the counters move from shmem to anonymous', () => {
    const { world, task } = withFile();
    world.load(task, 8);
    const [, anonymous = 0, , shmem = 0] = mmOf(task).rss;
    world.store(task, 8, 9);
    expect([...mmOf(task).rss].slice(0, 4)).toEqual([0, anonymous + 1, 0, shmem - 1]);
    expect([world.page(task, 8), world.load(task, 0)]).toEqual(['Xwd', 3]);
  });

  it('no write fault can make the VMA’s own anon_vma too late: it is there even when the fault is SIGBUS', () => {
    const { world, task } = withFile();
    const vma = mmOf(task).vmas.lookup(Number(addressOf(8) >> 12n));
    if (vma?.file == null) throw new Error('no file');
    vma.file.mapping.sizeBytes = 4096;
    expect(world.store(task, 9, 1)?.signal).toBe(7);
    expect(vma.anonVma).not.toBeNull();
  });
});

describe('unmapping a dirty shared page', () => {
  it('no CPU can write it any more once nothing maps it: the flush comes before the rmap goes', () => {
    const { world, task } = withFile();
    const other = world.thread(task, 'other', 1);
    world.store(other, 0, 5);
    const { frame } = world.pte(task, 0);
    const { loop } = world.system;
    const wrong: string[] = [];
    let seen = 0;
    loop.start(task, sysMunmap(task, addressOf(0), 0x4000n));
    const afterStep = (): boolean => {
      const { frames } = world.kernel;
      if (frames.refcount(frame) === 0 || frames.mapcount(frame) > 0) return true;
      seen++;
      wrong.push(...holdersOf(world, task, frame));
      return true;
    };
    loop.run({ afterStep });
    expect(wrong).toEqual([]);
    expect(seen).toBeGreaterThan(0);
    expect(world.load(task, 8)).toBe(5);
  });
});
