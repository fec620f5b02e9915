/**
 * process_vm_readv beside a thread that stores: pages are pinned and copied one after another, so the copy may show a later
 * store and not an earlier one. mm/process_vm_access.c, `process_vm_rw_pages`.
 */
import { expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { FOLL_LONGTERM } from '../../../src/kernel/gup/foll-flags.ts';
import { unpinUserPages } from '../../../src/kernel/gup/pin.ts';
import { sysProcessVmReadv, sysProcessVmWritev } from '../../../src/kernel/remote/process-vm.ts';
import { pinRemotePages } from '../../../src/kernel/remote/remote-lock.ts';
import { TaskState } from '../../../src/sched/task.ts';
import { userStore } from '../../../src/userland/calls/access.ts';
import { addressOf, BASE_PAGE, mmOf } from '../mm/process-world.ts';
import { DesignWorld, RW } from './designs/support.ts';
import { TurnsWorld } from './designs/turns.ts';

/** Stores 8 in page 0, then 9 in page 1. */
function* storeBoth({ writer }: TurnsWorld): Task<void> {
  yield* userStore(writer, addressOf(0), Uint8Array.of(8));
  yield* userStore(writer, addressOf(1), Uint8Array.of(9));
}

/** What comes of it at every point of the call at which the stores come. */
function outcomes(write: boolean): readonly string[] {
  const seen = new Set<string>();
  for (let steps = 0, ended = false; !ended; steps++) {
    const world = new TurnsWorld('v0');
    const { director, reader, writer, target } = world;
    world.map(target, 0, 2, RW);
    world.fill(0, 2);
    const buffer = new Uint8Array(8192).fill(write ? 6 : 0);
    const remote = [{ base: addressOf(0), length: 8192n }];
    const local = [{ base: buffer, length: 8192n }];
    const args = { pid: target.pid, local, localCount: 1, remote, remoteCount: 1, flags: 0 };
    director.start(reader, write ? sysProcessVmWritev(reader, args) : sysProcessVmReadv(reader, args));
    director.start(writer, storeBoth(world));
    for (let i = 0; i < steps && reader.state === TaskState.Live; i++) director.step(reader);
    ended = reader.state === TaskState.Idle;
    director.runOn(writer);
    director.finishAll(reader, writer);
    expect(reader.result).toBe(8192);
    const bytes = write ? [world.load(target, 0), world.load(target, 1)] : [buffer[0], buffer[4096]];
    seen.add(bytes.join(' '));
    expect(world.leftovers()).toEqual([]);
  }
  return [...seen].sort();
}

it('process_vm_readv may show the second store and not the first', () => {
  expect(outcomes(false)).toEqual(['1 2', '1 9', '8 9']);
});

it('process_vm_writev may come between the stores of the two pages', () => {
  expect(outcomes(true)).toEqual(['6 6', '8 6', '8 9']);
});

it('pins that last are left to mmap_lock under v4, and counted', () => {
  const world = new DesignWorld('v4');
  const { reader, target } = world;
  world.map(target, 0, 1, RW);
  world.fill(0, 1);
  const pages = [-1];
  for (const flags of [0, FOLL_LONGTERM]) {
    expect(world.run(reader, pinRemotePages(reader, mmOf(target), BASE_PAGE, 1, flags, pages))).toBe(1);
    world.run(reader, unpinUserPages(reader, pages, 1));
  }
  expect(world.fallbacks).toEqual({ 'pins that last': 1 });
  expect(world.leftovers()).toEqual([]);
});
