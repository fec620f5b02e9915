import { describe, expect, it } from 'vitest';
import { EventCollector, EventRing, EventSink, type MachineEvent } from '../../src/hardware/event-sink.ts';

const note = (time: number): MachineEvent => ({ kind: 'note', time, cpu: 0, text: `at ${time}` });

describe('event sinks', () => {
  it('are off unless they keep something', () => {
    expect([new EventSink(), new EventCollector(), new EventRing(1)].map(({ enabled }) => enabled)).toEqual([
      false,
      true,
      true,
    ]);
  });

  it('collect everything, or only some kinds', () => {
    const all = new EventCollector();
    const starts = new EventCollector(['task-start']);
    const start: MachineEvent = { kind: 'task-start', time: 1, cpu: 0, task: 'a' };
    for (const sink of [all, starts]) for (const event of [note(0), start]) sink.emit(event);
    expect(all.events).toEqual([note(0), start]);
    expect(starts.events).toEqual([start]);
    expect(all.ofKind('task-start').map(({ task }) => task)).toEqual(['a']);
  });

  it.each([
    [0, [], 0],
    [2, [0, 1], 0],
    [3, [0, 1, 2], 0],
    [7, [4, 5, 6], 4],
  ])('keep the last three of %d events in a ring', (count, times, dropped) => {
    const ring = new EventRing(3);
    for (let time = 0; time < count; time++) ring.emit(note(time));
    expect(ring.events().map(({ time }) => time)).toEqual(times);
    expect(ring.dropped).toBe(dropped);
  });

  it.each([[0], [1.5], [-1]])('cannot be a ring of %d', (capacity) => {
    expect(() => new EventRing(capacity)).toThrow(RangeError);
  });
});
