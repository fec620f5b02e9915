/**
 * A thread that reads the memory of its own process, as through /proc/self/mem, beside another one whose store copies the page:
 * the copy's flush of TLBs, with the lock of the page table held, waits for every CPU that has the mm loaded. V2 spins for
 * that lock with interrupts off.
 * @see Linux mm/memory.c, `wp_page_copy`, `ptep_clear_flush`; kernel/smp.c, `smp_call_function_many_cond`
 */
import { describe, expect, it } from 'vitest';
import type { DesignName } from '../../../../src/kernel/remote/design-names.ts';
import { designNamed } from '../../../../src/kernel/remote/designs/registry.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { TaskState } from '../../../../src/sched/task.ts';
import { userStore } from '../../../../src/userland/calls/access.ts';
import { architecture } from '../../../support/architecture.ts';
import { addressOf, BASE_PAGE, mmOf } from '../../mm/process-world.ts';
import { TurnsWorld } from './turns.ts';

/** arm64 tells other CPUs to forget a translation without interrupting them. */
const interrupts = architecture.name === 'x86_64';

function scene(design: DesignName) {
  const world = new TurnsWorld(design);
  const { director, target, writer } = world;
  const reader = world.thread(target, 'own reader', 1);
  world.map(target, 0, 2, 3);
  world.fill(0, 2);
  world.fork(target, 'child');
  // Its CPU has the mm loaded.
  world.load(reader, 1);
  const buffer = new Uint8Array(8);
  const access = { mm: mmOf(target), page: BASE_PAGE, offset: 0, buffer, length: 8, gupFlags: 0 };
  director.start(reader, designNamed(design).accessRemoteVm(reader, access));
  director.start(writer, userStore(writer, addressOf(0), Uint8Array.of(9)));
  return { world, director, reader, writer };
}

const mayStep = (task: TaskStruct): boolean =>
  task.state === TaskState.Live && task.pendingPoint()?.ready?.() !== false;

/** The store comes at every point of the read, and goes as far as it can. */
function outcomes(design: DesignName): readonly string[] {
  const seen = new Set<string>();
  for (let steps = 0, ended = false; !ended; steps++) {
    const { world, director, reader, writer } = scene(design);
    for (let i = 0; i < steps && reader.state === TaskState.Live; i++) director.step(reader);
    ended = reader.state === TaskState.Idle;
    while (mayStep(writer)) director.step(writer);
    while (mayStep(reader)) director.step(reader);
    if (mayStep(writer) || writer.state === TaskState.Idle) {
      director.finishAll(reader, writer);
      seen.add('finished');
      for (const one of world.leftovers()) seen.add(one);
    } else seen.add(`${reader.pendingPoint()?.operation} and ${writer.pendingPoint()?.operation}`);
  }
  return [...seen].sort();
}

describe('a read of memory of one’s own beside a store that copies the page', () => {
  it.each(['v0', 'v1', 'v3', 'v4', 'v5', 'v6'] as const)('ends under %s', (design) => {
    expect(outcomes(design)).toEqual(['finished']);
  });

  it('waits for ever under v2 where a flush interrupts other CPUs', () => {
    expect(outcomes('v2').includes('spin_lock and csd_lock_wait')).toBe(interrupts);
  });

  it.each([
    ['v2', interrupts ? ['call of other CPUs'] : []],
    ['v0', []],
    ['v1', []],
    ['v5', []],
  ] as const)('is told of by lockdep under %s also when it ends well', (design, problems) => {
    const { world, director, reader, writer } = scene(design);
    director.finish(reader);
    director.finish(writer);
    expect(world.kernel.lockdep?.reports.map(({ problem }) => problem)).toEqual(problems);
    if (problems.length > 0) {
      expect(world.kernel.lockdep?.reports[0]?.summary).toBe(
        'ptl is held while waiting for other CPUs to take an interrupt, and elsewhere is waited for with interrupts disabled',
      );
    }
  });
});
