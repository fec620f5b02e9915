/** examples/mte/lib/bugs.ts: only a tag check finds a bug. */
import { expect, it } from 'vitest';
import type { TaggingAllocator } from '../../examples/mte/lib/allocator.ts';
import { HEAP_BUGS, STACK_BUGS } from '../../examples/mte/lib/bugs.ts';
import type { TaggedStack } from '../../examples/mte/lib/tagged-stack.ts';
import { architectureNamed } from '../../src/arch/registry.ts';
import { atomically, type Task } from '../../src/base/task.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import type { User } from '../../src/userland/user.ts';

/** Every bug, on memory at `at`; what each trial says. */
function trials(at: (u: User) => Task<bigint>): readonly boolean[] {
  const found: boolean[] = [];
  const program = function* (u: User): Task<void> {
    const address = yield* at(u);
    const heap = {
      slotBytes: 32,
      allocate: (): Task<bigint> => atomically(() => address),
      free: (pointer: bigint) => u.attempt(u.store(pointer, 0)),
    } as unknown as TaggingAllocator;
    const stack = {
      enter: (): Task<readonly bigint[]> => atomically(() => [address, address, address]),
      *leave(): Task<void> {},
    } as unknown as TaggedStack;
    for (const { trial } of HEAP_BUGS) found.push(yield* trial(u, heap));
    for (const { trial } of STACK_BUGS) found.push(yield* trial(u, stack));
  };
  const scenario = defineScenario({ title: 'bugs', programs: { program } });
  const { outcome } = runScenario(scenario, { architecture: architectureNamed('arm64') });
  expect(outcome).toEqual({ kind: 'finished' });
  return found;
}

const every = (value: boolean): readonly boolean[] => [...HEAP_BUGS, ...STACK_BUGS].map(() => value);

it('a store that ends in another signal has found nothing', () => {
  // An address that nobody has mapped.
  const hole = (): Task<bigint> => atomically(() => 0x5000_0000n);
  expect(trials(hole)).toEqual(every(false));
});

it('one that a tag check stops has', () => {
  const wrong = function* (u: User): Task<bigint> {
    yield* u.must(u.setTaggedAddressControl({ mode: 'sync', tags: 0xfffe }));
    return (yield* u.must(u.mmap({ bytes: 4096, prot: 'rwm' }))) + (3n << 56n);
  };
  expect(trials(wrong)).toEqual(every(true));
});
