/** The kernel thread khugepaged beside programs. */
import { describe, expect, it } from 'vitest';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import { architecture } from '../support/architecture.ts';

const HUGE = 2 ** 21;

/** A program that fills 2 MiB page by page, then asks for huge pages, then goes on reading for a while. */
const scenario = (khugepaged: boolean) =>
  defineScenario({
    title: 'small pages become a huge one',
    cpus: 2,
    khugepaged,
    programs: {
      *writer(u, share) {
        const start = yield* u.must(
          u.mmap({ address: 0x1000_0000_0000n, bytes: 2 * HUGE, prot: 'rw', fixed: true }),
        );
        for (let page = 0; page < 512; page++) yield* u.must(u.store(start + BigInt(page * 4096), page + 1));
        yield* u.must(u.madvise(start, HUGE, 'HUGEPAGE'));
        share.set('start', start);
        for (let i = 0; i < 3000; i++) yield* u.must(u.madvise(start + BigInt(HUGE), 4096, 'DONTNEED'));
        for (let page = 0; page < 512; page += 73) {
          const value = yield* u.must(u.load(start + BigInt(page * 4096)));
          yield* u.check(value === BigInt(page + 1), `page ${page} reads ${value}`);
        }
      },
    },
    finally: {
      'a huge page, or not': (world) => {
        const page = world.process('writer')?.pageAt(0x1000_0000_0000n);
        return page?.pageBytes === (khugepaged ? HUGE : 4096);
      },
    },
  });

describe('khugepaged', () => {
  it.each([true, false])('makes a huge page of small ones where it runs: %s', (khugepaged) => {
    const result = runScenario(scenario(khugepaged), { architecture });
    expect(result.outcome).toEqual({ kind: 'finished' });
  });

  it.each([1, 2, 3, 4, 5])('keeps what programs see under any schedule (seed %i)', (seed) => {
    const result = runScenario({ ...scenario(true), finally: {} }, { architecture, policy: 'random', seed });
    expect(result.outcome).toEqual({ kind: 'finished' });
  });
});
