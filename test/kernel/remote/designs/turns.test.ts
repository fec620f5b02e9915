/**
 * One reader and one writer, the writer at every point of the reader: what was proposed gives only answers that mmap_lock could
 * give, and what is wrong on purpose gives the wrong answer it is known for.
 */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../../../src/base/task.ts';
import { MADV_DONTNEED } from '../../../../src/kernel/mm/madvise/advice.ts';
import { sysMadvise } from '../../../../src/kernel/mm/madvise/madvise.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_NONE } from '../../../../src/kernel/mm/mman.ts';
import { sysMmap } from '../../../../src/kernel/mm/mmap.ts';
import { sysMprotect } from '../../../../src/kernel/mm/mprotect.ts';
import { userStore } from '../../../../src/userland/calls/access.ts';
import { addressOf } from '../../mm/process-world.ts';
import { RW } from './support.ts';
import { everyTurn, type Turn, type TurnsWorld } from './turns.ts';

const bytes = (pages: number): bigint => BigInt(pages) << 12n;

/** Pages 0 and 1 in VMAs of their own, holding 1 and 2. */
function twoVmas(world: TurnsWorld): void {
  world.map(world.target, 0, 1, RW);
  world.map(world.target, 1, 1, RW);
  world.fill(0, 2);
  expect(world.run(world.target, sysMprotect(world.target, addressOf(1), bytes(1), 1))).toBe(0);
}

/** New mappings for page 0, holding 8, then for page 1, holding 9. */
function* replaceBoth({ writer }: TurnsWorld): Task<void> {
  for (const page of [0, 1]) {
    const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
    yield* sysMmap(writer, addressOf(page), bytes(1), RW, flags, null, 0n);
    yield* userStore(writer, addressOf(page), Uint8Array.of(8 + page));
  }
}

function oneVma(pages: number): Turn['setup'] {
  return (world) => {
    world.map(world.target, 0, pages, RW);
    world.fill(0, pages);
  };
}

/** mprotect(PROT_NONE); after it has returned the last page holds 9, which nobody may read. */
function forbid(pages: number): Turn['writer'] {
  return (world) => {
    const { frame } = world.pte(world.target, pages - 1);
    return (function* (): Task<void> {
      yield* sysMprotect(world.writer, addressOf(0), bytes(pages), PROT_NONE);
      world.system.machine.memory.writeBytes(frame, 0, Uint8Array.of(9));
    })();
  };
}

/** Gives page 0 back; its frame becomes page 4, which holds 9. */
function* discardAndReuse({ writer }: TurnsWorld): Task<void> {
  yield* sysMadvise(writer, addressOf(0), bytes(1), MADV_DONTNEED);
  yield* userStore(writer, addressOf(4), Uint8Array.of(9));
}

const proposed = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6'] as const;

describe('a read over two VMAs that are replaced one after the other', () => {
  const tear: Omit<Turn, 'design'> = { setup: twoVmas, pages: 2, writer: replaceBoth };

  it.each(['v0', 'v2', 'v3', 'v4', 'v5', 'v6'] as const)('shows one layout under %s', (design) => {
    const { answers, left } = everyTurn({ design, ...tear });
    expect(answers).not.toContain('8192 1 9');
    expect(answers).toContain('8192 1 2');
    expect(left).toEqual([]);
  });

  it('shows pages that were never there together under v1', () => {
    const { answers, left } = everyTurn({ design: 'v1', ...tear });
    expect(answers).toContain('8192 1 9');
    expect(left).toEqual([]);
  });
});

describe('a read of memory that becomes PROT_NONE', () => {
  it.each(proposed)('is done before, or short, under %s', (design) => {
    const { answers, left } = everyTurn({ design, setup: oneVma(2), pages: 2, writer: forbid(2) });
    for (const answer of answers) expect(['8192 1 2', '4096 1', '0']).toContain(answer);
    expect(answers).toContain('8192 1 2');
    expect(left).toEqual([]);
  });

  it('shows what nobody may read when no lock keeps the VMA (n1)', () => {
    const { answers } = everyTurn({ design: 'n1', setup: oneVma(1), pages: 1, writer: forbid(1) });
    expect(answers).toContain('4096 9');
  });

  it('shows what nobody may read when the pointer is kept and the lock is not (n2)', () => {
    const { answers } = everyTurn({ design: 'n2', setup: oneVma(2), pages: 2, writer: forbid(2) });
    expect(answers).toContain('8192 1 9');
  });
});

describe('a read of a page that is given back and becomes another', () => {
  const turn: Omit<Turn, 'design'> = { setup: oneVma(8), pages: 1, writer: discardAndReuse };
  const untouched: Turn['setup'] = (world) => {
    world.map(world.target, 0, 8, RW);
    world.fill(0, 1);
  };

  it.each(proposed)('shows the page or zeros under %s', (design) => {
    const { answers, left } = everyTurn({ design, ...turn, setup: untouched });
    expect(answers).toEqual(['4096 0', '4096 1']);
    expect(left).toEqual([]);
  });

  it('shows the other page when the walk takes no lock and does not look again (n3)', () => {
    const { answers } = everyTurn({ design: 'n3', ...turn, setup: untouched });
    expect(answers).toContain('4096 9');
  });
});

describe('a read of an absent page while a writer wants the VMA', () => {
  const untouched: Turn['setup'] = (world) => world.map(world.target, 0, 2, RW);
  const writer = (world: TurnsWorld): Task<unknown> => sysMprotect(world.writer, addressOf(0), bytes(2), 1);

  it.each(proposed)('comes to its end under %s, in an order of locks that cannot deadlock', (design) => {
    const { answers, left } = everyTurn({ design, setup: untouched, pages: 1, writer });
    expect(answers).toEqual(['4096 0']);
    expect(left).toEqual([]);
  });

  it('waits for ever when mmap_lock is taken inside (n4), and lockdep tells also when it does not', () => {
    const { answers, left } = everyTurn({ design: 'n4', setup: untouched, pages: 1, writer });
    expect(answers).toContain('deadlock');
    expect(left.join()).toContain('while it holds the lock of vma');
  });
});
