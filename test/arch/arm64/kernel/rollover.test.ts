/**
 * A machine with so few ASIDs that new generations begin all the time, under TLBs that keep whatever they may: no process
 * sees another one's memory, and no CPU trusts an entry that its page tables no longer grant.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ARM64 } from '../../../../src/arch/arm64/kernel/architecture.ts';
import { Arm64KernelArch } from '../../../../src/arch/arm64/kernel/arm64-kernel-arch.ts';
import type { Task } from '../../../../src/base/task.ts';
import { staleTranslations } from '../../../../src/check/stale-translation.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { rootCredentials } from '../../../../src/kernel/process/credentials.ts';
import type { TaskStruct } from '../../../../src/kernel/task-struct.ts';
import { RandomPolicy } from '../../../../src/sched/policy/random.ts';
import { userLoad, userStore } from '../../../../src/userland/calls/access.ts';
import { createSystem, type System } from '../../../../src/userland/system.ts';

const CPUS = 2;
/** 7 ASIDs for 12 processes. */
const ASID_BITS = 3;
const PROCESSES = 12;
/** The same in all of them. */
const ADDRESS = 0x1000_0000_0000n;

function systemWithFewAsids(seed: number): System {
  const architecture: typeof ARM64 = {
    ...ARM64,
    createKernelArch: ({ machine, initRootFrame }) =>
      new Arm64KernelArch({ machine, initRootFrame, retention: 'adversarial', asidBits: ASID_BITS }),
  };
  return createSystem({
    architecture,
    cpus: CPUS,
    memoryBytes: 0x100_0000,
    retention: 'adversarial',
    policy: new RandomPolicy(seed),
  });
}

/** Maps a page and writes to it and reads it again, again and again; the scheduler changes processes in between. */
function* program(task: TaskStruct, own: number, wrong: string[]): Task<void> {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  yield* sysMmap(task, ADDRESS, 0x1000n, PROT_READ | PROT_WRITE, flags, null, 0n);
  for (let round = 0; round < 6; round++) {
    const value = own * 16 + round;
    const refused = yield* userStore(task, ADDRESS, Uint8Array.of(value));
    if (refused !== null) wrong.push(`${task.name}: store gives signal ${refused.signal}`);
    yield task.startPoint;
    const seen = new Uint8Array(1);
    yield* userLoad(task, ADDRESS, seen);
    if (seen[0] !== value) wrong.push(`${task.name} sees ${seen[0]}, wrote ${value}`);
  }
}

describe('new generations of ASIDs', () => {
  it('keep the processes of two CPUs apart, on every schedule', () => {
    let generations = 0;
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const { kernel, loop, tlbView, createProcess } = systemWithFewAsids(seed);
        const wrong: string[] = [];
        for (let index = 0; index < PROCESSES; index++) {
          const task = createProcess(`process ${index}`, index % CPUS, rootCredentials());
          loop.start(task, program(task, index, wrong));
        }
        expect(loop.run().kind).toBe('finished');
        expect(wrong).toEqual([]);
        expect(staleTranslations(kernel, tlbView)).toEqual([]);
        const { asids } = kernel.arch as Arm64KernelArch;
        generations = Math.max(generations, asids.generation / 2 ** ASID_BITS);
      }),
      { numRuns: 15 },
    );
    expect(generations).toBeGreaterThan(3);
  });
});
