/** A reader under a design that is interrupted once, at every point there is, by a thread of the target that runs as far as it can. */
import type { Task } from '../../../../src/base/task.ts';
import type { DesignName } from '../../../../src/kernel/remote/design-names.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { TaskState } from '../../../../src/sched/task.ts';
import type { ProcessWorldOptions } from '../../mm/process-world.ts';
import { Director } from '../../support/director.ts';
import { DesignWorld, firstBytes } from './support.ts';

export class TurnsWorld extends DesignWorld {
  readonly director: Director;
  readonly writer: TaskStruct;

  constructor(design: DesignName, options: ProcessWorldOptions = {}) {
    const director = new Director();
    super(design, { cpus: 3, policy: director.policy, ...options });
    this.director = director;
    director.loop = this.system.loop;
    this.writer = this.thread(this.target, 'writer', 2);
  }
}

export interface Turn {
  readonly design: DesignName;
  readonly setup: (world: TurnsWorld) => void;
  /** Pages to read. */
  readonly pages: number;
  readonly gupFlags?: number;
  readonly writer: (world: TurnsWorld) => Task<unknown>;
}

/**
 * What the reads gave, each different answer once, sorted: bytes moved and the first byte of each page, or `deadlock`; and what
 * was left behind by any that came to an end.
 */
export function everyTurn({ design, setup, pages, gupFlags = 0, writer }: Turn): {
  readonly answers: readonly string[];
  readonly left: readonly string[];
} {
  const answers = new Set<string>();
  const left = new Set<string>();
  for (let steps = 0, ended = false; !ended; steps++) {
    const world = new TurnsWorld(design);
    setup(world);
    const { director, reader } = world;
    const buffer = new Uint8Array(pages * 4096);
    director.start(reader, world.transfer(0, buffer, gupFlags));
    director.start(world.writer, writer(world));
    for (let i = 0; i < steps && reader.state === TaskState.Live; i++) director.step(reader);
    ended = reader.state === TaskState.Idle;
    director.runOn(world.writer);
    try {
      director.finishAll(reader, world.writer);
    } catch {
      answers.add('deadlock');
      continue;
    }
    const moved = reader.result as number;
    answers.add([moved, ...firstBytes(buffer, moved)].join(' '));
    for (const one of world.leftovers()) left.add(one);
  }
  return { answers: [...answers].sort(), left: [...left] };
}
