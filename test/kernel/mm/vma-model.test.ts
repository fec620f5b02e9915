/**
 * Random mmap, munmap and mprotect calls against a model that knows, page by page, which rights and which VM_ACCOUNT a
 * page has, and nothing of VMAs: which VMAs there must be follows from which neighbouring pages are alike.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ENOMEM } from '../../../src/kernel/errno.ts';
import { PROT_EXEC, PROT_READ, PROT_WRITE } from '../../../src/kernel/mm/mman.ts';
import { sysMprotect } from '../../../src/kernel/mm/mprotect.ts';
import { sysMunmap } from '../../../src/kernel/mm/munmap.ts';
import {
  VM_ACCESS_FLAGS,
  VM_ACCOUNT,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYWRITE,
  VM_WRITE,
} from '../../../src/kernel/mm/vma-flags.ts';
import { finish, map, type VmaWorld, vmaWorld } from './support.ts';

const PAGE = 0x1_0000_0000;
const SPACE = 40;
const MAY = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;

/** Flags by page; 0 for unmapped (a mapped page has VM_MAY bits at least). */
type Model = number[];

/** PROT_READ, WRITE and EXEC have the values of VM_READ, WRITE and EXEC. Nothing is written to: VM_ACCOUNT follows VM_WRITE. */
const flagsOf = (prot: number): number => MAY | prot | ((prot & PROT_WRITE) !== 0 ? VM_ACCOUNT : 0);

interface Call {
  readonly kind: 'map' | 'unmap' | 'protect';
  readonly at: number;
  readonly pages: number;
  readonly prot: number;
}

const anyCall: fc.Arbitrary<Call> = fc.record({
  kind: fc.constantFrom('map', 'map', 'unmap', 'protect', 'protect'),
  at: fc.nat(SPACE - 1),
  pages: fc.integer({ min: 1, max: 12 }),
  prot: fc.constantFrom(0, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC),
});

/** The call on the model; what mprotect should return. */
function callModel(model: Model, { kind, at, pages, prot }: Call): number {
  for (let page = at; page < at + pages; page++) {
    if (kind === 'protect' && model[page] === 0) return -ENOMEM;
    model[page] = kind === 'unmap' ? 0 : flagsOf(prot);
  }
  return 0;
}

function callKernel(world: VmaWorld, { kind, at, pages, prot }: Call): number {
  const address = BigInt(PAGE + at) << 12n;
  const length = BigInt(pages) << 12n;
  if (kind === 'unmap') return finish(sysMunmap(world.task, address, length));
  if (kind === 'protect') return finish(sysMprotect(world.task, address, length, prot));
  return map(world, PAGE + at, pages, prot) === address ? 0 : -1;
}

/** The VMAs that the model asks for: one per run of pages that are alike, as nothing has an anon_vma. */
function expectedVmas(model: Model): [number, number, number][] {
  const vmas: [number, number, number][] = [];
  model.forEach((flags, page) => {
    const last = vmas.at(-1);
    if (flags === 0) return;
    if (last !== undefined && last[1] === page && last[2] === flags) last[1] = page + 1;
    else vmas.push([page, page + 1, flags]);
  });
  return vmas;
}

function checkCounters({ mm, kernel }: VmaWorld, model: Model): void {
  const mapped = model.filter((flags) => flags !== 0);
  expect(mm.totalVm).toBe(mapped.length);
  expect(mm.dataVm).toBe(mapped.filter((flags) => (flags & VM_WRITE) !== 0).length);
  expect(kernel.committedPages).toBe(mapped.filter((flags) => (flags & VM_ACCOUNT) !== 0).length);
  expect(mm.execVm).toBe(
    mapped.filter((flags) => (flags & VM_ACCESS_FLAGS) === (PROT_READ | PROT_EXEC)).length,
  );
}

describe('any sequence of mmap, munmap and mprotect', () => {
  it('leaves VMAs in order, apart, merged wherever they are alike, with the flags of each page', () => {
    const run = fc.property(fc.array(anyCall, { maxLength: 40 }), (calls) => {
      const world = vmaWorld();
      const model: Model = new Array<number>(SPACE + 12).fill(0);
      for (const call of calls) {
        expect(callKernel(world, call)).toBe(callModel(model, call));
        const got = [...world.mm.vmas].map(({ start, end, flags }) => [start - PAGE, end - PAGE, flags]);
        expect(got).toEqual(expectedVmas(model));
        expect(world.mm.mapCount).toBe(got.length);
        expect([...world.mm.vmas].every((vma) => !vma.detached && vma.pgoff === vma.start)).toBe(true);
        checkCounters(world, model);
      }
    });
    fc.assert(run, { numRuns: 150 });
  });
});
