/** fork, exit, wait4, kill: pids, zombies, orphans, and who gets what. */
import { describe, expect, it } from 'vitest';
import { ECHILD, EINVAL, EPERM, ERESTARTSYS, ESRCH } from '../../../src/kernel/errno.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { credentials } from '../../../src/kernel/process/credentials.ts';
import { doExit } from '../../../src/kernel/process/exit.ts';
import { sysFork } from '../../../src/kernel/process/fork.ts';
import { sysKill } from '../../../src/kernel/process/kill.ts';
import { sysWait4, WNOHANG } from '../../../src/kernel/process/wait.ts';
import { SIGKILL, SIGTRAP } from '../../../src/kernel/signal.ts';
import { ExitState } from '../../../src/kernel/task-struct.ts';
import { BASE, World } from '../support/world.ts';

describe('a child', () => {
  it('has the next pid, the same memory, rights and limits, and its own fault counts', () => {
    const world = new World();
    const parent = world.process('parent');
    world.map(parent, 0, 1, PROT_READ | PROT_WRITE);
    world.store(parent, BASE, [5]);
    const child = world.fork(parent, 'child');
    expect(child.pid).toBe(parent.pid + 1);
    expect(world.kernel.tasks.get(child.pid)).toBe(child);
    expect([child.parent, child.credentials, child.rlimits]).toEqual([
      parent,
      parent.credentials,
      parent.rlimits,
    ]);
    expect(child.minFlt).toBe(0);
    expect(world.load(child, BASE, 1)).toEqual([5]);
    expect(world.frameAt(child, BASE)).toBe(world.frameAt(parent, BASE));
  });

  it('is a zombie until waited for, then its pid is free', () => {
    const world = new World();
    const parent = world.process('parent');
    const child = world.fork(parent, 'child');
    expect(world.run(parent, sysWait4(parent, -1, WNOHANG))).toEqual({ pid: 0, status: 0 });
    world.run(child, doExit(child, 3 << 8));
    expect([child.exitState, child.mm]).toEqual([ExitState.Zombie, null]);
    expect(world.kernel.tasks.has(child.pid)).toBe(true);
    expect(world.run(parent, sysWait4(parent, child.pid, 0))).toEqual({ pid: child.pid, status: 3 << 8 });
    expect([child.exitState, world.kernel.tasks.has(child.pid)]).toEqual([ExitState.Dead, false]);
    expect(world.run(parent, sysWait4(parent, -1, 0)).pid).toBe(-ECHILD);
  });

  it('wakes a parent that waits on another CPU', () => {
    const world = new World(2);
    const parent = world.process('parent', 0);
    const child = world.run(parent, sysFork(parent, 'child', 1));
    if (typeof child === 'number') throw new Error('fork failed');
    world.system.loop.start(parent, sysWait4(parent, -1, 0));
    world.system.loop.start(child, doExit(child, 9));
    expect(world.system.loop.run().kind).toBe('finished');
    expect(parent.result).toEqual({ pid: child.pid, status: 9 });
  });

  it('whose parent is gone and that nobody inherits goes without being waited for', () => {
    const world = new World();
    const parent = world.process('parent');
    const child = world.fork(parent, 'child');
    const zombie = world.fork(parent, 'zombie');
    world.run(zombie, doExit(zombie, 0));
    world.run(parent, doExit(parent, 0));
    expect(zombie.exitState).toBe(ExitState.Dead);
    expect(child.parent).toBeNull();
    world.run(child, doExit(child, 0));
    expect([...world.kernel.tasks.keys()]).toEqual([]);
  });
});

describe('wait4', () => {
  it.each([
    ['a pid that is no child', 77, 0, -ECHILD],
    ['an unknown option', -1, 2, -EINVAL],
  ])('%s', (_name, pid, options, result) => {
    const world = new World();
    const parent = world.process('parent');
    world.fork(parent, 'child');
    expect(world.run(parent, sysWait4(parent, pid, options)).pid).toBe(result);
  });

  it('ends with a signal', () => {
    const world = new World();
    const parent = world.process('parent');
    world.fork(parent, 'child');
    parent.sendSignal({ signal: SIGTRAP, code: 0, address: 0n });
    expect(world.run(parent, sysWait4(parent, -1, 0)).pid).toBe(-ERESTARTSYS);
  });
});

describe('kill', () => {
  it.each([
    ['root kills anybody', 0, 1000, SIGKILL, 0],
    ['a user its own', 1000, 1000, SIGKILL, 0],
    ['not another', 1000, 1001, SIGKILL, -EPERM],
    ['signal 0 only asks', 1000, 1000, 0, 0],
    ['no such signal', 0, 1000, 65, -EINVAL],
  ])('%s', (_name, from, to, signal, result) => {
    const world = new World();
    const root = world.process('root');
    const sender = from === 0 ? root : world.process('sender', 0, credentials(from, from));
    const target = world.process('target', 0, credentials(to, to));
    expect(world.run(sender, sysKill(sender, target.pid, signal))).toBe(result);
    expect(target.fatalSignalPending()).toBe(result === 0 && signal === SIGKILL);
  });

  it('knows no pid that was never given', () => {
    const world = new World();
    const task = world.process('alone');
    expect(world.run(task, sysKill(task, 4242, SIGKILL))).toBe(-ESRCH);
  });
});
