/** Processes that map a memfd where its huge pages can be mapped by pmds. */
import { expect } from 'vitest';
import { fileTruncate } from '../../../../src/kernel/mm/ftruncate.ts';
import { fput, type MappedFile } from '../../../../src/kernel/mm/mapped-file.ts';
import { fileWrite, memfdCreate } from '../../../../src/kernel/mm/memfd.ts';
import { MAP_FIXED, MAP_SHARED } from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { addressOf, ProcessWorld, type ProcessWorldOptions } from '../process-world.ts';
import { expectNothingLeft, FIRST, HUGE, type HugeScene, RW } from './support.ts';

export interface FileScene extends HugeScene {
  readonly file: MappedFile;
}

export interface FileSceneOptions extends ProcessWorldOptions {
  /** Huge pages of the file, and of the mapping. */
  readonly count?: number;
  readonly flags?: number;
  /** Bytes of the file; default all of its huge pages. */
  readonly bytes?: number;
}

/** Maps the file from its first page on. */
export function mapFile(
  world: ProcessWorld,
  task: TaskStruct,
  file: MappedFile,
  { page = FIRST, count = 1, flags = MAP_SHARED, prot = RW, offset = 0n } = {},
): void {
  const length = BigInt(count * HUGE) << 12n;
  const address = addressOf(page);
  const got = world.run(task, sysMmap(task, address, length, prot, flags | MAP_FIXED, file, offset));
  expect(got).toBe(address);
}

/** One process that maps a memfd, in which nothing was ever touched. */
export function fileScene({
  count = 1,
  flags = MAP_SHARED,
  bytes = count * HUGE * 4096,
  kernel,
  ...options
}: FileSceneOptions = {}): FileScene {
  const world = new ProcessWorld({
    memoryBytes: 0x400_0000,
    ...options,
    kernel: { lockdep: true, ...kernel },
  });
  const freeAtStart = world.kernel.frames.freeFrames;
  const task = world.process();
  const file = memfdCreate(world.kernel, 'f');
  world.run(task, fileTruncate(task, file, BigInt(bytes)));
  mapFile(world, task, file, { count, flags });
  return { world, task, freeAtStart, file };
}

export function writeFile({ world, task, file }: FileScene, page: number, value: number): void {
  expect(world.run(task, fileWrite(task, file, page * 4096, Uint8Array.of(value)))).toBe(1);
}

/** The file is closed, and everybody exits. */
export function expectAllGone(scene: FileScene, ...tasks: readonly TaskStruct[]): void {
  const { world, task, file } = scene;
  world.run(task, fput(world.kernel.frames, file));
  expectNothingLeft(scene, ...tasks);
}
