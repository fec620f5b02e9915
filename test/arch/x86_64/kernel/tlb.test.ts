/** PCIDs per CPU and flushes by interrupt. @see Linux arch/x86/mm/tlb.c */
import { beforeEach, describe, expect, it } from 'vitest';
import { switchMmIrqsOff } from '../../../../src/arch/x86_64/kernel/switch-mm.ts';
import { flushTlbFunc, TLB_SINGLE_PAGE_FLUSH_CEILING } from '../../../../src/arch/x86_64/kernel/tlb-flush.ts';
import type { X86MmContext } from '../../../../src/arch/x86_64/kernel/tlb-state.ts';
import { X86KernelArch } from '../../../../src/arch/x86_64/kernel/x86-kernel-arch.ts';
import type { SchedPoint, Task } from '../../../../src/base/task.ts';
import type { Interrupt } from '../../../../src/hardware/cpu.ts';
import { Machine } from '../../../../src/hardware/machine.ts';
import { PhysicalMemory } from '../../../../src/hardware/physical-memory.ts';

/** What one CPU was told to do to its TLB. */
type Done = `invlpg ${number}` | `cr3 ${number}${' keep' | ''}`;

let arch: X86KernelArch;
let done: Done[][];

beforeEach(() => {
  const memory = new PhysicalMemory();
  memory.addRegion(0n, 0x40_0000n);
  arch = new X86KernelArch({ machine: new Machine({ cpus: 3, memory }), initRootFrame: 1 });
  done = arch.cpus.map(() => []);
  arch.cpus.forEach(({ port }, cpu) => {
    const log = done[cpu] as Done[];
    const { loadCr3, invlpg } = port;
    port.loadCr3 = (root, pcid, lam, noflush) => {
      log.push(`cr3 ${pcid}${noflush ? ' keep' : ''}`);
      loadCr3.call(port, root, pcid, lam, noflush);
    };
    port.invlpg = (page) => {
      log.push(`invlpg ${page}`);
      invlpg.call(port, page);
    };
  });
});

/** Runs to the end; whenever it has to wait, the other CPUs take their interrupts. */
function finish(task: Task<void>): void {
  for (let step = task.next(); step.done !== true; step = task.next()) {
    while (step.value.ready?.() === false) takeInterrupts();
  }
}

/** Up to just before the point of this operation. */
function until(task: Task<void>, operation: string, times = 1): void {
  for (let left = times; left > 0; ) {
    const step = task.next();
    if (step.done === true) throw new Error(`ended before ${operation}`);
    if ((step.value as SchedPoint).operation === operation) left--;
  }
}

const pending = (cpu: number): Interrupt[] => arch.machine.cpu(cpu).pendingInterrupts;

function takeInterrupts(): void {
  for (const { pendingInterrupts } of arch.machine.cpus) {
    for (const { handler } of pendingInterrupts.splice(0)) finish(handler());
  }
}

const mm = (name: string): X86MmContext => arch.createMmContext(name, 2);
const switchTo = (cpu: number, next: X86MmContext | null): void => finish(arch.switchMm(cpu, next));
const flush = (cpu: number, context: X86MmContext, pages = 1, freedTables = false): void =>
  finish(arch.flushTlbRange(cpu, context, 100, 100 + pages, 12, freedTables));

describe('choosing a PCID', () => {
  it('gives six address spaces numbers of their own; the seventh takes one over', () => {
    const mms = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map(mm);
    for (const next of mms) switchTo(0, next);
    // Slot 0 belongs to init_mm at first; PCID = slot + 1. Round robin from slot 1.
    expect(done[0]).toEqual(['cr3 2', 'cr3 3', 'cr3 4', 'cr3 5', 'cr3 6', 'cr3 1', 'cr3 2']);
  });

  it('keeps what the TLB holds of an mm that nobody flushed meanwhile', () => {
    const [a, b] = [mm('a'), mm('b')];
    for (const next of [a, b, a]) switchTo(0, next);
    expect(done[0]).toEqual(['cr3 2', 'cr3 3', 'cr3 2 keep']);
  });

  it('flushes when the mm was flushed elsewhere, without having been interrupted', () => {
    const [a, b] = [mm('a'), mm('b')];
    switchTo(0, a);
    switchTo(1, a);
    switchTo(0, b);
    flush(1, a);
    expect(done[0]).toEqual(['cr3 2', 'cr3 3']);
    switchTo(0, a);
    expect(done[0]).toEqual(['cr3 2', 'cr3 3', 'cr3 2']);
  });

  it('does nothing when the mm is loaded already', () => {
    const a = mm('a');
    switchTo(0, a);
    switchTo(0, a);
    expect(done[0]).toEqual(['cr3 2']);
  });
});

describe('lazy mode', () => {
  it('coming back to the same mm costs nothing, unless it was flushed', () => {
    const a = mm('a');
    for (const next of [a, null, a]) switchTo(0, next);
    expect(done[0]).toEqual(['cr3 2']);
    switchTo(1, a);
    switchTo(0, null);
    flush(1, a);
    expect(done[0]).toEqual(['cr3 2']);
    switchTo(0, a);
    expect(done[0]).toEqual(['cr3 2', 'cr3 2']);
  });

  it('a flush that frees tables makes a lazy CPU leave the mm for init_mm', () => {
    const a = mm('a');
    switchTo(0, a);
    switchTo(1, a);
    switchTo(0, null);
    flush(1, a, 1, true);
    expect([arch.cpus[0]?.state.loadedMm.name, done[0]]).toEqual(['init_mm', ['cr3 2', 'cr3 1 keep']]);
  });
});

describe('flush_tlb_mm_range', () => {
  it(`invalidates up to ${TLB_SINGLE_PAGE_FLUSH_CEILING} pages one by one, more all at once`, () => {
    const a = mm('a');
    switchTo(0, a);
    flush(0, a, TLB_SINGLE_PAGE_FLUSH_CEILING);
    expect(done[0]?.slice(1)).toEqual(Array.from({ length: 33 }, (_, n) => `invlpg ${100 + n}`));
    flush(0, a, TLB_SINGLE_PAGE_FLUSH_CEILING + 1);
    expect(done[0]?.at(-1)).toBe('cr3 2');
  });

  it('counts entries, not pages: two entries of 2 MiB are two invalidations', () => {
    const a = mm('a');
    switchTo(0, a);
    finish(arch.flushTlbRange(0, a, 0, 2 * 512, 21, false));
    expect(done[0]?.slice(1)).toEqual(['invlpg 0', 'invlpg 512']);
  });

  it.each([
    { name: 'has the mm loaded', on: 'a', freed: false, interrupted: true },
    { name: 'runs lazily on it', on: 'lazy', freed: false, interrupted: false },
    { name: 'runs lazily on it, tables freed', on: 'lazy', freed: true, interrupted: true },
    { name: 'has another mm loaded by now', on: 'b', freed: false, interrupted: false },
    { name: 'has another mm loaded, tables freed', on: 'b', freed: true, interrupted: true },
    { name: 'never ran it', on: 'never', freed: true, interrupted: false },
  ])('a CPU that $name: interrupted $interrupted', ({ on, freed, interrupted }) => {
    const [a, b] = [mm('a'), mm('b')];
    switchTo(0, a);
    if (on !== 'never') switchTo(1, a);
    if (on === 'lazy') switchTo(1, null);
    if (on === 'b') switchTo(1, b);
    const flushing = arch.flushTlbRange(0, a, 100, 101, 12, freed);
    for (let step = flushing.next(); step.done !== true && step.value.ready === null; )
      step = flushing.next();
    expect(pending(1).length).toBe(interrupted ? 1 : 0);
  });

  it('interrupts a CPU that is just switching to the mm and has read the generation already', () => {
    const a = mm('a');
    switchTo(0, a);
    const switching = arch.switchMm(1, a);
    // The own bit, the generation; then the step that makes the new mm visible as loaded.
    until(switching, 'read tlb_gen');
    until(switching, 'loaded_mm');
    const flushing = arch.flushTlbRange(0, a, 100, 101, 12, false);
    until(flushing, 'csd_lock_wait');
    expect(pending(1).length).toBe(1);
    expect(arch.machine.cpu(1).interruptsDisabled).toBe(1);
    finish(switching);
    takeInterrupts();
    finish(flushing);
    expect(done[1]?.at(-1)).toBe('invlpg 100');
    expect(arch.cpus[1]?.state.generations[1]).toBe(a.tlbGeneration);
  });

  it('waits until every CPU is done', () => {
    const a = mm('a');
    for (const cpu of [0, 1, 2]) switchTo(cpu, a);
    const flushing = arch.flushTlbRange(0, a, 100, 101, 12, false);
    let wait: SchedPoint | null = null;
    while (wait?.ready == null) wait = flushing.next().value as SchedPoint;
    expect(wait.ready()).toBe(false);
    finish((pending(1).shift() as Interrupt).handler());
    expect(wait.ready()).toBe(false);
    finish((pending(2).shift() as Interrupt).handler());
    expect(wait.ready()).toBe(true);
    expect([done[1]?.at(-1), done[2]?.at(-1)]).toEqual(['invlpg 100', 'invlpg 100']);
  });
});

describe('a flush while another CPU switches to the mm', () => {
  /** Steps of the switch made before the flush begins; the last one is after its end. */
  const STEPS = 8;

  it.each(Array.from({ length: STEPS }, (_, step) => step))(
    'is not missed when it comes after %i steps: the CPU is in the mask, or reads the new generation',
    (before) => {
      const a = mm('a');
      switchTo(0, a);
      const switching = arch.switchMm(1, a);
      for (let step = 0; step < before; step++) switching.next();
      const flushing = arch.flushTlbRange(0, a, 100, 101, 12, false);
      for (let step = flushing.next(); step.done !== true && step.value.ready?.() !== false; )
        step = flushing.next();
      finish(switching);
      takeInterrupts();
      finish(flushing);
      const { state } = arch.cpus[1] as (typeof arch.cpus)[number];
      expect(state.loadedMm).toBe(a);
      expect(state.generations[state.loadedAsid]).toBe(a.tlbGeneration);
    },
  );
});

describe('the generation rules of flush_tlb_func', () => {
  function request(context: X86MmContext, newGeneration: number, all = false) {
    const range = { startPage: 5, endPage: 7, stridePages: 1, freedTables: false };
    return { mm: context, newGeneration, all, initiatingCpu: 1, trimCpuMask: false, ...range };
  }

  it.each([
    // local, mm and requested generation
    {
      name: 'one behind, and nobody else flushed: just the pages',
      local: 1,
      of: 2,
      asked: 2,
      want: ['invlpg 5', 'invlpg 6'],
    },
    { name: 'two behind: everything', local: 1, of: 3, asked: 3, want: ['cr3 2'] },
    {
      name: 'one behind, but a later flush is on its way: everything',
      local: 1,
      of: 3,
      asked: 2,
      want: ['cr3 2'],
    },
    { name: 'the later flush was done already: nothing', local: 3, of: 3, asked: 2, want: [] },
    { name: 'whole mm: everything', local: 1, of: 2, asked: 2, all: true, want: ['cr3 2'] },
  ])('$name', ({ local, of, asked, all = false, want }) => {
    const a = mm('a');
    switchTo(0, a);
    const own = arch.cpus[0] as (typeof arch.cpus)[number];
    own.state.generations[1] = local;
    a.tlbGeneration = of;
    finish(flushTlbFunc(own, request(a, asked, all)));
    expect(done[0]?.slice(1)).toEqual(want);
    expect(own.state.generations[1]).toBe(of);
  });

  it('another mm is loaded: the CPU takes itself out of the mask', () => {
    const [a, b] = [mm('a'), mm('b')];
    switchTo(0, a);
    switchTo(0, b);
    expect(a.hasCpu(0)).toBe(true);
    finish(flushTlbFunc(arch.cpus[0] as (typeof arch.cpus)[number], request(a, 2)));
    expect([a.hasCpu(0), b.hasCpu(0)]).toEqual([false, true]);
  });

  it('without PCIDs every switch flushes and CR3 has no number', () => {
    const memory = new PhysicalMemory();
    memory.addRegion(0n, 0x40_0000n);
    const machine = new Machine({ cpus: 1, memory });
    const plain = new X86KernelArch({ machine, initRootFrame: 1, pcid: false });
    const [kernelCpu] = plain.cpus;
    const loads: string[] = [];
    if (kernelCpu === undefined) throw new Error('no cpu');
    kernelCpu.port.loadCr3 = (_root, pcid, _lam, noflush) => loads.push(`${pcid} ${noflush}`);
    const contexts = ['a', 'b'].map((name) => plain.createMmContext(name, 2));
    for (const next of [...contexts, ...contexts]) finish(switchMmIrqsOff(kernelCpu, next));
    expect(loads).toEqual(['0 false', '0 false', '0 false', '0 false']);
  });
});
