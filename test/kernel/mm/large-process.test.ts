/**
 * A large process costs what it touches and not what it maps: 64 GiB mapped and 1 GiB touched fit into less than 2 GiB of
 * Node's memory, and freeing gives them back. In a process of its own, whose memory nobody else uses.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { architectureName } from '../../support/architecture.ts';

const MIB = 2 ** 20;

interface Report {
  /** Bytes of objects and buffers in use: at the start, with 1 GiB touched, and after munmap. */
  readonly start: number;
  readonly touched: number;
  readonly freed: number;
  /** The most that the process ever had in memory, in bytes. */
  readonly peak: number;
  /** Frames in use at the start, with 1 GiB touched, and after munmap. */
  readonly frames: readonly [number, number, number];
}

it('64 GiB mapped and 1 GiB touched take less than 2 GiB, and munmap gives them back', () => {
  const script = fileURLToPath(new URL('./large-process.ts', import.meta.url));
  const node = ['--import', 'tsx', '--conditions=tablewalk-source', '--expose-gc'];
  const child = spawnSync(process.execPath, [...node, script, architectureName], { encoding: 'utf8' });
  expect(child.stderr).toBe('');
  const { start, touched, freed, peak, frames } = JSON.parse(child.stdout) as Report;
  expect(peak).toBeLessThan(2048 * MIB);
  // The test would say nothing if the bytes were not there.
  expect(touched - start).toBeGreaterThan(1024 * MIB);
  expect(freed - start).toBeLessThan(128 * MIB);
  // 2^18 pages and the tables that map them, of which only the root is left.
  expect(frames[1] - frames[0]).toBeGreaterThan(2 ** 18 + 512);
  expect(frames[2] - frames[0]).toBe(0);
}, 60_000);
