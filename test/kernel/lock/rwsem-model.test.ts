import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RwsemActors } from './actors.ts';

/** The rules in their shortest form: after anything happens, whoever may come in comes in. */
class Model {
  writer: string | null = null;
  readers: string[] = [];
  readonly killed = new Set<string>();
  queue: { readonly name: string; readonly write: boolean }[] = [];

  arrive(name: string, write: boolean): void {
    this.queue.push({ name, write });
    // Somebody who finds a queue waits, even if it could come in.
    if (this.queue.length === 1) this.settle();
  }

  leave(name: string): void {
    if (this.writer === name) this.writer = null;
    else this.readers.splice(this.readers.lastIndexOf(name), 1);
    this.settle();
  }

  downgrade(name: string): void {
    this.writer = null;
    this.readers.push(name);
    this.settle();
  }

  kill(name: string): void {
    this.killed.add(name);
    this.queue = this.queue.filter((waiter) => waiter.name !== name);
    this.settle();
  }

  settle(): void {
    const head = this.queue[0];
    if (this.writer !== null || head === undefined) return;
    if (!head.write) {
      for (const { name, write } of this.queue) if (!write) this.readers.push(name);
      this.queue = this.queue.filter(({ write }) => write);
    } else if (this.readers.length === 0) {
      this.queue.shift();
      this.writer = head.name;
    }
  }

  picture(): string {
    const free = this.readers.length === 0 ? '-' : `R(${this.readers.join(' ')})`;
    const held = this.writer === null ? free : `W(${this.writer})`;
    const queue = this.queue.map(({ name, write }) => `${write ? 'W' : 'R'}${name}`);
    return queue.length === 0 ? held : `${held} < ${queue.join(' ')}`;
  }
}

/** Plays one random act, if the actor is in a state to do it; says whether it did. */
function act(actors: RwsemActors, model: Model, name: string, act: number): boolean {
  if (model.killed.has(name)) return false;
  const waits = model.queue.some((waiter) => waiter.name === name);
  if (waits) {
    if (act !== 0) return false;
    actors.play(`${name}K`);
    model.kill(name);
    return true;
  }
  if (model.writer === name && act % 2 === 0) {
    actors.play(`${name}D`);
    model.downgrade(name);
  } else if (model.writer === name || model.readers.includes(name)) {
    actors.play(`${name}-`);
    model.leave(name);
  } else {
    actors.play(`${name}${act % 2 === 0 ? 'Rk' : 'Wk'}`);
    model.arrive(name, act % 2 === 1);
  }
  return true;
}

const acts = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), fc.nat(5)), { maxLength: 60 });

describe('an rwsem against a model of its rules', () => {
  it('has the same holders and the same queue after every act', () => {
    fc.assert(
      fc.property(acts, (list) => {
        const actors = new RwsemActors();
        const model = new Model();
        for (const [name, number] of list) {
          if (act(actors, model, name, number)) expect(actors.picture()).toBe(model.picture());
        }
      }),
      { numRuns: 500 },
    );
  });

  it('loses nobody: when all holders leave in turn, everybody has had the lock', () => {
    fc.assert(
      fc.property(acts, (list) => {
        const actors = new RwsemActors();
        const model = new Model();
        for (const [name, number] of list) if (number !== 0) act(actors, model, name, number);
        for (let round = 0; actors.sem.isLocked(); round++) {
          expect(round).toBeLessThan(100);
          actors.play(`${actors.sem.holders()[0]?.name}-`);
        }
        expect(actors.picture()).toBe('-');
        for (const name of 'abcdef') expect(actors.isAsleep(name)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });
});
