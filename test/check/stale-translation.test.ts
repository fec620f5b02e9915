/** What a forgotten flush leaves behind in the paging-structure caches, and how the report names it. */
import { expect, it } from 'vitest';
import { describeStale, staleTranslations } from '../../src/check/stale-translation.ts';
import { PROT_READ, PROT_WRITE } from '../../src/kernel/mm/mman.ts';
import { sysMunmap } from '../../src/kernel/mm/munmap.ts';
import { runScenario } from '../../src/userland/run-scenario.ts';
import { defineScenario } from '../../src/userland/scenario.ts';
import { noStaleTranslation } from '../../src/userland/world-view.ts';
import { addressOf, mmOf, ProcessWorld } from '../kernel/mm/process-world.ts';
import { architecture, architectureName } from '../support/architecture.ts';

const SIZE = 0x1000n;
/** A page below the same pmd table, in another pte table. */
const NEIGHBOUR = 1024;

const unmapsItsOnlyPage = defineScenario({
  title: 'munmap frees the page tables of the only page',
  retention: 'adversarial',
  programs: {
    *owner(u) {
      const at = yield* u.must(u.mmap({ address: 0x10_0000_0000n, fixed: true, bytes: SIZE, prot: 'rw' }));
      yield* u.must(u.store(at, 1n));
      yield* u.must(u.munmap(at, SIZE));
    },
  },
  finally: { 'nothing is stale': noStaleTranslation },
});

it('a munmap that frees tables leaves no upper entry behind', () => {
  expect(runScenario(unmapsItsOnlyPage, { architecture }).outcome).toEqual({ kind: 'finished' });
});

it('names the left-out flush of a munmap that freed tables, for the translation and for each cached upper entry', () => {
  const broken = { ...unmapsItsOnlyPage, omitTlbFlushes: ['flush_tlb_range' as const] };
  const { outcome } = runScenario(broken, { architecture });
  const text = outcome.kind === 'assertion failed' ? outcome.text : outcome.kind;
  const lines = text.split('; ');
  expect(lines.filter((line) => line.startsWith('cpu 0, L1 DTLB: '))).toHaveLength(1);
  expect(lines).toContainEqual(
    expect.stringMatching(
      /^cpu 0, (PDE|level 2 walk) cache: 0x[0-9a-f]+ of .* still leads to a pte table in frame 0x[0-9a-f]+, which was taken away$/,
    ),
  );
  expect(lines).toContainEqual(
    expect.stringMatching(/^cpu 0, (PDPTE|level 1 walk) cache: .* still leads to a pmd table/),
  );
  const missing = lines.filter((line) => line.startsWith('missing: '));
  expect(missing.length).toBeGreaterThanOrEqual(3);
  for (const line of missing) {
    expect(line).toMatch(
      /^missing: (INVLPG|TLBI VAE1IS) .* by flush_tlb_range\(.*, freed_tables\) of owner on cpu 0, which was left out$/,
    );
  }
});

/**
 * Two tasks of one address space; the one on CPU 1 has gone and the CPU is lazy there while the other unmaps a page that
 * is alone in its pte table.
 */
function unmapBesideLazyCpu(losesFreedTables: boolean): string[] {
  const world = new ProcessWorld({ cpus: 2 });
  const owner = world.process('owner', 0);
  const thread = world.thread(owner, 'thread', 1);
  world.map(owner, 0, 1, PROT_READ | PROT_WRITE);
  world.map(owner, NEIGHBOUR, 1, PROT_READ | PROT_WRITE);
  world.store(owner, NEIGHBOUR, 1);
  world.store(owner, 0, 1);
  world.store(thread, 0, 2);
  const { arch } = world.kernel;
  world.run(thread, arch.switchMm(1, null));
  if (losesFreedTables) {
    const flush = arch.flushTlbRange.bind(arch);
    arch.flushTlbRange = (cpu, context, start, end, shift) => flush(cpu, context, start, end, shift, false);
  }
  expect(world.run(owner, sysMunmap(owner, addressOf(0), SIZE))).toBe(0);
  expect(mmOf(owner).pgtablesBytes).toBe(3 * 4096);
  return staleTranslations(world.kernel, architecture.createTlbView(arch)).flatMap(describeStale);
}

it('a flush of freed tables reaches a lazy CPU', () => {
  expect(unmapBesideLazyCpu(false)).toEqual([]);
});

it('finds the lazy CPU that a flush without freed_tables does not reach', () => {
  const lines = unmapBesideLazyCpu(true);
  // x86-64: INVLPG of the own CPU drops upper entries whatever was asked for. arm64: VALE1IS spares them everywhere.
  const at = lines.findIndex((line) => line.startsWith('cpu 1, '));
  expect(at).toBe({ x86_64: 0, arm64: 2 }[architectureName]);
  expect(lines[at]).toMatch(/^cpu 1, (PDE|level 2 walk) cache: .* still leads to a pte table in frame/);
  expect(lines[at + 1]).toMatch(
    /^missing: (INVLPG|TLBI VAE1IS) .* on cpu 1; no flush with freed_tables was asked for$/,
  );
});

const forks = defineScenario({
  title: 'a store, fork, a store',
  programs: {
    *parent(u) {
      const at = yield* u.must(u.mmap({ bytes: SIZE, prot: 'rw' }));
      yield* u.must(u.store(at, 1n));
      const child = yield* u.must(
        u.fork(function* (t) {
          yield* t.must(t.load(at));
        }, 'child'),
      );
      yield* u.must(u.wait(child));
      yield* u.must(u.store(at, 2n));
    },
  },
  always: { 'nothing is stale': noStaleTranslation },
});

const writesOverTheZeroPage = defineScenario({
  title: 'the zero page that one thread has read, and another stores to',
  cpus: 2,
  placement: { writer: 0, reader: 1 },
  programs: {
    *writer(u, share) {
      const at = yield* u.must(u.mmap({ bytes: SIZE, prot: 'rw' }));
      const reader = yield* u.must(
        u.cloneVm(function* (t, shared) {
          yield* t.must(t.load(at));
          shared.set('read', true);
          yield* shared.wait('written');
        }, 'reader'),
      );
      yield* share.wait('read');
      yield* u.must(u.store(at, 1n));
      share.set('written', true);
      yield* u.must(u.wait(reader));
    },
  },
  always: { 'nothing is stale': noStaleTranslation },
});

const flushed = [
  ['fork', forks, 'flush_tlb_mm', 'allows writing, the page table does not'],
  ['a write fault on the zero page', writesOverTheZeroPage, 'flush_tlb_page', 'the page table maps frame'],
] as const;

it.each(flushed)('at no point during %s is anything stale: its flush is to come', (_, scenario) => {
  for (const seed of [1, 2, 3]) {
    const { outcome } = runScenario(scenario, { architecture, policy: 'random', seed });
    expect(outcome).toEqual({ kind: 'finished' });
  }
  expect(runScenario(scenario, { architecture }).outcome).toEqual({ kind: 'finished' });
});

it.each(flushed)('after %s without its flush something is', (_, scenario, operation, difference) => {
  const { outcome } = runScenario({ ...scenario, omitTlbFlushes: [operation] }, { architecture });
  const text = outcome.kind === 'assertion failed' ? outcome.text : outcome.kind;
  expect(text).toContain(difference);
  expect(text).toMatch(new RegExp(`by ${operation}\\(.*, which was left out`));
});
