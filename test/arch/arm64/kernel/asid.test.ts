/** ASIDs and their generations. @see shared spec of mm, "arm64 ASIDs"; Linux arch/arm64/mm/context.c */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arm64MmContext, AsidAllocator } from '../../../../src/arch/arm64/kernel/asid.ts';
import { atomically, type Task } from '../../../../src/base/task.ts';

/** Runs a task that nobody makes wait. */
function finish(task: Task<void>): void {
  for (;;) {
    const { done, value } = task.next();
    if (done === true) return;
    if (value.ready?.() === false) throw new Error(`waits at ${value.operation}`);
  }
}

class Cpus {
  readonly asids: AsidAllocator;
  /** What each CPU's TLB would say: the mm whose entries each ASID tags. */
  readonly tlbs: Map<number, string>[];
  readonly flushes: number[] = [];
  readonly running: (Arm64MmContext | null)[];
  readonly count: number;

  constructor(cpus: number, bits: number, pairs = false) {
    this.asids = new AsidAllocator({ cpus, bits, pairs });
    this.tlbs = Array.from({ length: cpus }, () => new Map());
    this.running = Array.from({ length: cpus }, () => null);
    this.count = cpus;
  }

  mm(name: string): Arm64MmContext {
    return new Arm64MmContext(name, 0, this.count);
  }

  flush(cpu: number): () => Task<void> {
    const { tlbs, flushes } = this;
    return () =>
      atomically(() => {
        flushes.push(cpu);
        tlbs[cpu]?.clear();
      });
  }

  /** Switches a CPU and lets it fill its TLB. */
  run(cpu: number, mm: Arm64MmContext): number {
    finish(this.asids.activate(cpu, mm, this.flush(cpu)));
    this.running[cpu] = mm;
    const asid = this.asids.asidOf(mm);
    this.touch(cpu, mm);
    return asid;
  }

  /** What the CPU runs fills its TLB: nothing of another mm may be there under its ASID. */
  touch(cpu: number, mm: Arm64MmContext): void {
    const asid = this.asids.asidOf(mm);
    const tlb = this.tlbs[cpu] as Map<number, string>;
    expect(tlb.get(asid) ?? mm.name).toBe(mm.name);
    tlb.set(asid, mm.name);
  }
}

describe('the ASID of an mm', () => {
  it('counts from 1, as 0 is the kernel without a process; an mm keeps its own', () => {
    const cpus = new Cpus(1, 8);
    const [a, b] = [cpus.mm('a'), cpus.mm('b')];
    expect(cpus.asids.asidOf(a)).toBe(0);
    expect([cpus.run(0, a), cpus.run(0, b), cpus.run(0, a)]).toEqual([1, 2, 1]);
    expect(a.id).toBe(256 + 1);
  });

  it('is the same on every CPU', () => {
    const cpus = new Cpus(2, 8);
    const a = cpus.mm('a');
    expect([cpus.run(0, a), cpus.run(1, a)]).toEqual([1, 1]);
  });

  it('is even where page-table isolation needs the odd one for user mode', () => {
    const cpus = new Cpus(1, 3, true);
    const found = ['a', 'b', 'c'].map((name) => cpus.run(0, cpus.mm(name)));
    expect(found).toEqual([2, 4, 6]);
    cpus.run(0, cpus.mm('d'));
    expect(cpus.asids.generation).toBe(16);
  });

  it('needs more numbers than CPUs', () => {
    expect(() => new AsidAllocator({ cpus: 3, bits: 2 })).toThrow(RangeError);
    expect(() => new AsidAllocator({ cpus: 2, bits: 2 })).not.toThrow();
    expect(() => new AsidAllocator({ cpus: 2, bits: 2, pairs: true })).toThrow(RangeError);
  });
});

describe('a new generation', () => {
  it('begins when all are taken: what runs keeps its number, the CPU flushes at its next switch and not before', () => {
    const cpus = new Cpus(2, 2);
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => cpus.mm(name)) as [
      Arm64MmContext,
      Arm64MmContext,
      Arm64MmContext,
      Arm64MmContext,
    ];
    expect([cpus.run(0, a), cpus.run(1, b), cpus.run(0, c)]).toEqual([1, 2, 3]);
    expect(cpus.flushes).toEqual([]);
    // No fourth number: 2 and 3 are running and reserved, so the new one is 1.
    expect(cpus.run(0, d)).toBe(1);
    expect(cpus.asids.generation).toBe(8);
    expect(cpus.flushes).toEqual([0]);
    expect(cpus.asids.isCurrent(b.id)).toBe(false);
    cpus.touch(1, b);
    expect(cpus.run(1, b)).toBe(2);
    expect(cpus.asids.isCurrent(b.id)).toBe(true);
    expect(cpus.flushes).toEqual([0, 1]);
  });

  it('gives an mm its old number again when nobody has it', () => {
    const cpus = new Cpus(1, 2);
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => cpus.mm(name)) as Arm64MmContext[];
    for (const mm of [a, b, c, d]) cpus.run(0, mm as Arm64MmContext);
    // d has 1; 3 was reserved by c.
    expect(cpus.run(0, b as Arm64MmContext)).toBe(2);
    expect(cpus.asids.generation).toBe(8);
  });

  it('gives an mm its old number again though lower ones are free', () => {
    const cpus = new Cpus(1, 3);
    const mms = Array.from({ length: 7 }, (_, index) => cpus.mm(`mm ${index + 1}`));
    for (const mm of mms) cpus.run(0, mm);
    expect(cpus.run(0, cpus.mm('new'))).toBe(1);
    expect(cpus.run(0, mms[4] as Arm64MmContext)).toBe(5);
  });

  it('tells every CPU that an mm runs on its new id: one number through the next generation too', () => {
    const cpus = new Cpus(3, 3);
    const a = cpus.mm('a');
    /** CPU 2 runs one mm after the other until a generation begins. */
    const rollOver = (): void => {
      const { generation } = cpus.asids;
      for (let count = 0; cpus.asids.generation === generation; count++)
        cpus.run(2, cpus.mm(`other ${count}`));
    };
    expect([cpus.run(0, a), cpus.run(1, a)]).toEqual([1, 1]);
    rollOver();
    expect(cpus.run(0, a)).toBe(1);
    cpus.run(0, cpus.mm('b'));
    rollOver();
    // CPU 1 has run it all the time.
    cpus.touch(1, a);
    expect([cpus.run(0, a), cpus.run(1, a)]).toEqual([1, 1]);
  });
});

describe('generations, one after the other', () => {
  it('lets a number that has stayed reserved through two generations be found again', () => {
    const cpus = new Cpus(2, 2);
    const b = cpus.mm('b');
    cpus.run(1, b);
    const first = cpus.asids.asidOf(b);
    for (let round = 0; round < 12; round++) cpus.run(0, cpus.mm(`other ${round}`));
    cpus.touch(1, b);
    expect(cpus.asids.generation).toBeGreaterThan(8);
    expect(cpus.run(1, b)).toBe(first);
  });

  it('leaves no CPU with two mms under one number, whatever runs where', () => {
    const step = fc.record({ cpu: fc.nat({ max: 2 }), mm: fc.nat({ max: 9 }), switches: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) => {
        const cpus = new Cpus(3, 3);
        const mms = Array.from({ length: 10 }, (_, index) => cpus.mm(`mm ${index}`));
        for (const { cpu, mm, switches } of steps) {
          const running = cpus.running[cpu] ?? null;
          if (switches || running === null) cpus.run(cpu, mms[mm] as Arm64MmContext);
          else cpus.touch(cpu, running);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('a switch that a new generation overtakes', () => {
  it('takes the slow path when its active ASID is taken away just before it is replaced', () => {
    const cpus = new Cpus(2, 2);
    const [a, b] = [cpus.mm('a'), cpus.mm('b')];
    cpus.run(0, a);
    cpus.run(0, b);
    const switching = cpus.asids.activate(0, a, cpus.flush(0));
    // Reads of the id, of the active ASID and of the generation; stands before the exchange.
    for (let point = 0; point < 4; point++) expect(switching.next().done).toBe(false);
    // The last free number, and a new generation: what CPU 0 runs, b, is reserved.
    cpus.run(1, cpus.mm('c'));
    cpus.run(1, cpus.mm('d'));
    expect(cpus.asids.generation).toBe(8);
    finish(switching);
    expect(cpus.flushes).toEqual([1, 0]);
    expect(cpus.asids.isCurrent(a.id)).toBe(true);
    cpus.touch(0, a);
  });
});
