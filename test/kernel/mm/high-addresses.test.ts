/**
 * Addresses above the usual window (47 bits on x86-64, 48 on arm64) are given out only to who asks for one there.
 * @see Linux Documentation/arch/x86/x86_64/5level-paging.rst; arch/arm64/include/asm/processor.h, `arch_get_mmap_base`
 */
import { describe, expect, it } from 'vitest';
import { errnoName } from '../../../src/kernel/errno.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ } from '../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../src/kernel/mm/mmap.ts';
import type { TaskStruct } from '../../../src/kernel/task-struct.ts';
import { ProcessWorld } from './process-world.ts';

interface Machine {
  readonly window: bigint;
  /** Where mmap puts two pages: an address, or an errno. */
  readonly mmap: (hint: bigint, flags?: number, pages?: bigint) => bigint | string;
}

function machine(levels: 4 | 5): Machine {
  const world = new ProcessWorld({ levels });
  const task: TaskStruct = world.process();
  const window = BigInt(world.kernel.arch.mapWindowPages) << 12n;
  return {
    window,
    mmap(hint, flags = 0, pages = 2n) {
      const all = MAP_PRIVATE | MAP_ANONYMOUS | flags;
      const result = world.run(task, sysMmap(task, hint, pages << 12n, PROT_READ, all, null, 0n));
      return result < 0n ? errnoName(Number(result)) : result;
    },
  };
}

describe('with the larger user space', () => {
  it('a mapping without a wish lies below the window', () => {
    const { window, mmap } = machine(5);
    expect(mmap(0n)).toBeLessThan(window);
  });

  it('a hint above the window is taken, and when it is not free the place is above it as well', () => {
    const { window, mmap } = machine(5);
    const hint = window + 0x10_0000_0000n;
    expect(mmap(hint)).toBe(hint);
    expect(mmap(hint)).toBeGreaterThan(window);
  });

  it('a hint below the window that would reach over it is not', () => {
    const { window, mmap } = machine(5);
    expect(mmap(window - 0x1000n)).toBeLessThan(window - 0x1000n);
  });

  it('MAP_FIXED puts a mapping anywhere', () => {
    const { window, mmap } = machine(5);
    expect(mmap(window - 0x1000n, MAP_FIXED)).toBe(window - 0x1000n);
  });

  it('what does not fit below the window fails, unless it asks for more', () => {
    const { window, mmap } = machine(5);
    const pages = (window >> 12n) + 1n;
    const noreserve = 0x4000;
    expect(mmap(0n, noreserve, pages)).toBe('ENOMEM');
    expect(mmap(window + 0x1000n, noreserve, pages)).toBeGreaterThan(window);
  });
});

describe('with the smaller one', () => {
  it('a hint above the window is as good as none', () => {
    const { window, mmap } = machine(4);
    expect(mmap(window + 0x10_0000_0000n)).toBeLessThan(window);
    expect(mmap(window + 0x10_0000_0000n, MAP_FIXED)).toBe('ENOMEM');
  });
});
