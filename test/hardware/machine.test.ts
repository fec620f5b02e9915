import { describe, expect, it } from 'vitest';
import type { Task } from '../../src/base/task.ts';
import { COST_PROFILES } from '../../src/hardware/cost-profile.ts';
import { Machine } from '../../src/hardware/machine.ts';

function* nothing(): Task<void> {}

describe('a machine', () => {
  it('has the CPUs it was given, each at time 0 with interrupts enabled', () => {
    const machine = new Machine({ cpus: 3 });
    expect(machine.cpus.map(({ id, time, interruptsDisabled }) => [id, time, interruptsDisabled])).toEqual([
      [0, 0, 0],
      [1, 0, 0],
      [2, 0, 0],
    ]);
    expect(machine.cpu(2)).toBe(machine.cpus[2]);
    expect(() => machine.cpu(3)).toThrow('no cpu 3 on a machine with 3');
  });

  it.each([[0], [-1], [1.5], [4097], [Number.NaN]])('with %d CPUs cannot be', (cpus) => {
    expect(() => new Machine({ cpus })).toThrow(RangeError);
  });
});

describe('a CPU clock', () => {
  it('never goes back', () => {
    const cpu = new Machine({ cpus: 1 }).cpu(0);
    cpu.advance(100);
    cpu.waitUntil(50);
    expect(cpu.time).toBe(100);
    cpu.waitUntil(150);
    expect(cpu.time).toBe(150);
  });
});

describe('the interconnect', () => {
  it('queues interrupts at their targets in the order of sending', () => {
    const machine = new Machine({ cpus: 3, profile: COST_PROFILES['sapphire-rapids'] as never });
    machine.cpu(0).advance(10);
    machine.interconnect.sendInterrupt(0, [1, 2], nothing, 'first');
    machine.interconnect.sendInterrupt(2, 1, nothing, 'second');
    expect(
      machine.cpu(1).pendingInterrupts.map(({ name, from, arrivesAt }) => [name, from, arrivesAt]),
    ).toEqual([
      ['first', 0, 10 + 500 + 1000],
      ['second', 2, 500 + 1000],
    ]);
    expect(machine.cpu(2).pendingInterrupts.map(({ arrivesAt }) => arrivesAt)).toEqual([10 + 2 * 500 + 1000]);
    expect(machine.interconnect.pending).toBe(3);
    expect(machine.cpu(0).time).toBe(10 + 2 * 500);
  });

  it('knows no CPU that is not there', () => {
    const machine = new Machine({ cpus: 1 });
    expect(() => machine.interconnect.sendInterrupt(0, 1, nothing, 'x')).toThrow('no cpu 1');
  });
});
