/** Forced writes and stack growth from two CPUs at once, under random schedules. */
import { expect, it } from 'vitest';
import type { Task } from '../../../src/base/task.ts';
import { FOLL_FORCE, FOLL_WRITE } from '../../../src/kernel/gup/foll-flags.ts';
import type { MmStruct } from '../../../src/kernel/mm/mm.ts';
import { MAP_GROWSDOWN, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import { accessProcessVm, accessRemoteVm } from '../../../src/kernel/remote/access-remote-vm.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../src/sched/policy/random.ts';
import { BASE, PAGE, World } from '../support/world.ts';

const RW = PROT_READ | PROT_WRITE;
const RUNS = 120;

function* delayed<T>(task: TaskStruct, steps: number, path: Task<T>): Task<T> {
  for (let step = 0; step < steps; step++) yield task.startPoint;
  return yield* path;
}

it('a forced write into a read-only page that is being forked reaches the target, and the child only if it came first', () => {
  const childSees = new Set<number>();
  for (let seed = 0; seed < RUNS; seed++) {
    const world = new World(2, new RandomPolicy(seed));
    const [target, writer] = [world.process('target', 1), world.process('debugger', 0)];
    world.map(target, 0, 1, RW);
    world.store(target, BASE, [1]);
    world.protect(target, BASE, 1, PROT_READ);
    const before = world.frameAt(target, BASE);
    const bytes = Uint8Array.from([2]);
    const { loop } = world.system;
    loop.start(writer, accessProcessVm(writer, target, BASE, bytes, 1, FOLL_FORCE | FOLL_WRITE));
    loop.start(target, delayed(target, seed % 30, sysFork(target, 'child')));
    expect(loop.run().kind).toBe('finished');
    expect(writer.result).toBe(1);
    const child = target.result as TaskStruct;
    const seen = world.load(child, BASE, 1)[0] as number;
    childSees.add(seen);
    expect(world.load(target, BASE, 1)).toEqual([2]);
    // A page that both have was written before the fork; one that was written after it is a copy of the target's own.
    const shared = world.frameAt(child, BASE) === world.frameAt(target, BASE);
    expect(shared ? seen : world.frameAt(child, BASE)).toBe(shared ? 2 : before);
    expect([world.state(target, BASE), world.state(child, BASE)]).toEqual(shared ? ['m2', 'm2'] : ['X', 'X']);
  }
  expect([...childSees].sort()).toEqual([1, 2]);
});

it('two debuggers that reach below a stack both get there, and it begins at the lower of the two', () => {
  for (let seed = 0; seed < RUNS; seed++) {
    const world = new World(3, new RandomPolicy(seed));
    const [first, second] = [world.process('first', 0), world.process('second', 2)];
    const target = world.process('target', 1);
    world.map(target, 64, 1, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    const mm = target.mm as MmStruct;
    const reach = (who: TaskStruct, page: bigint) =>
      accessRemoteVm(who, mm, BASE + page * PAGE, new Uint8Array(8), 8, FOLL_FORCE);
    const { loop } = world.system;
    loop.start(first, reach(first, 60n));
    loop.start(second, delayed(second, seed % 20, reach(second, 50n)));
    expect(loop.run().kind).toBe('finished');
    expect([first.result, second.result]).toEqual([8, 8]);
    expect([mm.vmas.lookup(Number(BASE / PAGE) + 60)?.start, mm.mapCount]).toEqual([
      Number(BASE / PAGE) + 50,
      1,
    ]);
    expect(mm.mmapLock.isLocked()).toBe(false);
  }
});
