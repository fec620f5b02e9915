/**
 * The shared variables as one process sees them: while it waits for one, a fatal signal or its debugger's stop reaches
 * it, as they would reach a process that sleeps in a system call.
 */
import type { Task } from '../base/task.ts';
import { type ProcessContext, returnToUser } from './calls/process-context.ts';
import { mistakeOf } from './mistake.ts';
import { Share, type SharedValue } from './share.ts';

export class ProcessShare extends Share {
  readonly #shared: Share;
  readonly #context: ProcessContext;

  constructor(shared: Share, context: ProcessContext) {
    super();
    this.#shared = shared;
    this.#context = context;
  }

  override set(name: string, value: SharedValue): void {
    this.#shared.set(name, value);
  }

  override get(name: string): SharedValue | undefined {
    return this.#shared.get(name);
  }

  override entries(): [string, SharedValue][] {
    return this.#shared.entries();
  }

  override wait(name: string, until: (value: SharedValue) => boolean = () => true): Task<SharedValue> {
    return this.#context.made('share.wait', this.#wait(name, until));
  }

  override waitWord(name: string): Task<bigint> {
    return this.#context.madeAround('share.waitWord', super.waitWord(name));
  }

  *#wait(name: string, until: (value: SharedValue) => boolean): Task<SharedValue> {
    const { task } = this.#context;
    const interrupted = (): boolean => task.fatalSignalPending() || task.ptraceTrapPending;
    for (;;) {
      yield this.#shared.waitPoint(name, (value) => this.#test(name, value, until), interrupted);
      if (!interrupted()) return this.#shared.get(name) as SharedValue;
      yield* returnToUser(this.#context);
      if (this.#context.dead) yield task.startPoint;
    }
  }

  /** The program's own test runs inside the run loop: what it throws is told apart here. */
  #test(name: string, value: SharedValue, until: (value: SharedValue) => boolean): boolean {
    try {
      return until(value);
    } catch (error) {
      throw mistakeOf(`program "${this.#context.task.name}", waiting for "${name}",`, error, undefined);
    }
  }
}
