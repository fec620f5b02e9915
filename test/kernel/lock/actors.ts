/**
 * Drives an rwsem by short words, without a scheduler: each word is run until it is done or asleep, and whoever was
 * handed the lock wakes up at once. `aR` takes for reading, `aW` for writing, `aRk` and `aWk` killably, `aT` and `aU`
 * try to (read, write), `aD` downgrades, `a-` releases, `aK` kills.
 */
import { PointKind, type SchedPoint, type Task } from '../../../src/base/task.ts';
import { RwSemaphore } from '../../../src/kernel/lock/rwsem.ts';
import { SchedTask } from '../../../src/sched/task.ts';

class Actor extends SchedTask {
  killed = false;
  asleep: { readonly path: Task<unknown>; readonly point: SchedPoint } | null = null;

  override fatalSignalPending(): boolean {
    return this.killed;
  }
}

export class RwsemActors {
  readonly sem = new RwSemaphore('sem');
  /** What was returned, for words that return something. */
  readonly results: string[] = [];
  readonly #actors = new Map<string, Actor>();

  play(words: string): void {
    for (const word of words.split(' ').filter((part) => part !== '')) this.#word(word);
  }

  /** `W(a)`, `R(a b)` or `-`; then the queue from its head: `< Rb Wc`. */
  picture(): string {
    const holders = this.sem.holders();
    const names = holders.map(({ name }) => name).join(' ');
    const held = holders.length === 0 ? '-' : `${holders[0]?.mode === 'write' ? 'W' : 'R'}(${names})`;
    const queue = this.sem.waiters().map(({ name, mode }) => `${mode === 'write' ? 'W' : 'R'}${name}`);
    return queue.length === 0 ? held : `${held} < ${queue.join(' ')}`;
  }

  isAsleep(name: string): boolean {
    return this.#actor(name).asleep !== null;
  }

  #word(word: string): void {
    const match = /^([a-z]\d*)(Rk|Wk|R|W|T|U|D|-|K)$/.exec(word);
    if (match === null) throw new Error(`no such word: ${word}`);
    const actor = this.#actor(match[1] as string);
    if (match[2] === 'K') actor.killed = true;
    else this.#run(actor, this.#path(actor, match[2] as string));
    this.#wakeReady();
  }

  #path(actor: Actor, what: string): Task<unknown> {
    const { sem } = this;
    switch (what) {
      case 'R':
        return sem.downRead(actor);
      case 'W':
        return sem.downWrite(actor);
      case 'Rk':
        return sem.downReadKillable(actor);
      case 'Wk':
        return sem.downWriteKillable(actor);
      case 'T':
        return sem.downReadTrylock(actor);
      case 'U':
        return sem.downWriteTrylock(actor);
      case 'D':
        return sem.downgradeWrite(actor);
      default:
        return sem.isWrittenBy(actor) ? sem.upWrite(actor) : sem.upRead(actor);
    }
  }

  #run(actor: Actor, path: Task<unknown>): void {
    for (;;) {
      const { done, value } = path.next();
      if (done) {
        actor.asleep = null;
        if (value !== undefined) this.results.push(`${actor.name} ${value}`);
        return;
      }
      if (value.kind === PointKind.Wait && value.ready?.() === false) {
        actor.asleep = { path, point: value };
        return;
      }
    }
  }

  #wakeReady(): void {
    for (let woken = true; woken; ) {
      woken = false;
      for (const actor of this.#actors.values()) {
        if (actor.asleep?.point.ready?.() !== true) continue;
        this.#run(actor, actor.asleep.path);
        woken = true;
      }
    }
  }

  #actor(name: string): Actor {
    let actor = this.#actors.get(name);
    if (actor === undefined) {
      actor = new Actor(this.#actors.size, name, 0);
      this.#actors.set(name, actor);
    }
    return actor;
  }
}
