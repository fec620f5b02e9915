import { expect, it } from 'vitest';
import { SharedObject } from '../../src/base/task.ts';
import { ReplayPolicy } from '../../src/sched/policy/replay.ts';
import { formatSchedule, parseSchedule } from '../../src/sched/schedule-text.ts';
import { makeTasks, makeWorld, startCounting, waitPoint } from './support.ts';

it.each(['e0:1 0*3 1*2', 'a 0*3 1*2', '0 k1 1 0*2 1', 'g 0*3 1*2', 'e1:0 e1:0 0*3 1*2'])(
  'a schedule with %s is replayed with what the hardware did',
  (text) => {
    const world = makeWorld(2, new ReplayPolicy(parseSchedule(text)));
    const done: string[] = [];
    const { hardware } = world.loop;
    hardware.evictions = { count: () => 2, evict: (cpu, index) => done.push(`e${cpu}:${index}`) };
    hardware.gracePeriods = { canEnd: () => !done.includes('g'), end: () => done.push('g') };
    hardware.allocationFailures = { canFail: () => true, failNext: () => done.push('a') };
    hardware.kills = { canKill: ({ id }) => id === 1, kill: ({ id }) => done.push(`k${id}`) };
    startCounting(world, makeTasks(0, 1), 2);
    world.loop.run();
    const wanted = text.split(' ').filter((choice) => /^[egak]/.test(choice));
    expect(done).toEqual(wanted);
    expect(formatSchedule(world.loop.schedule).startsWith(text.split(' ')[0] as string)).toBe(true);
  },
);

it('the end of a grace period is what happens when nothing else can', () => {
  const world = makeWorld(1);
  let over = false;
  world.loop.hardware.gracePeriods = {
    canEnd: () => !over,
    end: () => {
      over = true;
    },
  };
  const [task] = makeTasks(0);
  if (task === undefined) throw new Error('one task');
  world.loop.start(
    task,
    (function* () {
      yield waitPoint('grace period', () => over);
    })(),
  );
  expect(world.loop.run().kind).toBe('finished');
});

it('a run that is asked to stop ends after the step being made', () => {
  const world = makeWorld(1);
  const [task] = makeTasks(0);
  if (task === undefined) throw new Error('one task');
  const object = new SharedObject('x');
  world.loop.start(
    task,
    (function* () {
      yield waitPoint(object.name, () => true);
      world.loop.requestStop();
      yield waitPoint(object.name, () => true);
      throw new Error('it went on');
    })(),
  );
  const result = world.loop.run();
  expect(result.kind).toBe('stopped');
  expect(world.loop.steps).toBe(2);
});
