/** A breakpoint is met while its mapping goes: what was found without a lock counts only if no writer ran. */
import { describe, expect, it } from 'vitest';
import { BreakpointOutcome, handleBreakpoint } from '../../../src/kernel/consumers/uprobes/hit.ts';
import { uprobeRegister } from '../../../src/kernel/consumers/uprobes/register.ts';
import { fileWrite, memfdCreate } from '../../../src/kernel/mm/memfd.ts';
import { MAP_FIXED, MAP_PRIVATE, PROT_EXEC, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import { sysCloneVm } from '../../../src/kernel/process/clone-vm.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { Director } from '../support/director.ts';
import { BASE, PAGE, World } from '../support/world.ts';

describe('a uprobe that was found without a lock', () => {
  it.each([
    ['counts where nothing changed', false, BreakpointOutcome.Stepped, 1],
    ['does not where its mapping went meanwhile', true, BreakpointOutcome.Restart, 0],
  ])('%s', (_name, unmap, expected, told) => {
    const director = new Director();
    const world = new World(2, director.policy);
    director.loop = world.system.loop;
    const task = world.process('task');
    const thread = world.run(task, sysCloneVm(task, 'thread', 1)) as TaskStruct;
    const file = memfdCreate(world.kernel, 'code');
    world.run(task, fileWrite(task, file, 0, new Uint8Array(64).fill(1)));
    const prot = PROT_READ | PROT_EXEC;
    world.run(task, sysMmap(task, BASE, PAGE, prot, MAP_PRIVATE | MAP_FIXED, file, 0n));
    let hits = 0;
    const handler = (): number => {
      hits++;
      return 0;
    };
    world.run(task, uprobeRegister(task, file.mapping, 0x10, 0, { handler }));
    director.start(task, handleBreakpoint(task, BASE + 0x10n));
    director.until(task, 'find_uprobe_rcu');
    director.step(task);
    if (unmap) {
      director.start(thread, sysMunmap(thread, BASE, PAGE));
      director.finish(thread);
    }
    expect([director.finish(task), hits]).toEqual([expected, told]);
    expect(task.mm?.mmapLock.holders()).toEqual([]);
  });
});
