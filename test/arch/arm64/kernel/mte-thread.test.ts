/**
 * Tag checking as a task's own: the control word, what a CPU makes of it, and what goes along when tasks are switched.
 * @see Linux arch/arm64/kernel/mte.c, `set_mte_ctrl`, `mte_update_sctlr_user`, `mte_thread_switch`
 */
import { describe, expect, it } from 'vitest';
import {
  Arm64ThreadState,
  getControl,
  setControl,
  TagCheckFault,
  tagCheckFault,
} from '../../../../src/arch/arm64/kernel/thread-state.ts';
import { type TagCheckedCpu, ThreadSwitch } from '../../../../src/arch/arm64/kernel/thread-switch.ts';
import { Arm64State } from '../../../../src/arch/arm64/state.ts';
import { GCR_EL1, RGSR_EL1, SCTLR_EL1 } from '../../../../src/arch/arm64/system-registers.ts';
import type { TagCheckMode } from '../../../../src/arch/thread-state.ts';
import { fromHalves } from '../../../../src/base/u64.ts';

const MTE3 = { mte: true, asymm: true };
const MTE2 = { mte: true, asymm: false };
const NO_MTE = { mte: false, asymm: false };

/** PR_TAGGED_ADDR_ENABLE, PR_MTE_TCF_SYNC, PR_MTE_TCF_ASYNC. */
const ENABLE = 1n;
const SYNC = 2n;
const ASYNC = 4n;

describe('PR_SET_TAGGED_ADDR_CTRL', () => {
  it.each([
    ['nothing', 0n, MTE3, true],
    ['every bit there is', 0x7_ffffn, MTE3, true],
    ['PR_MTE_STORE_ONLY, which the CPU has not', 0x8_0000n, MTE3, false],
    ['an unknown bit', 1n << 40n, MTE3, false],
    ['the ABI without MTE', ENABLE, NO_MTE, true],
    ['a mode without MTE', ENABLE | SYNC, NO_MTE, false],
    ['tags without MTE', 8n, NO_MTE, false],
  ] as const)('%s', (_name, control, features, accepted) => {
    const thread = new Arm64ThreadState('t');
    setControl(thread, ENABLE, features);
    expect(setControl(thread, control, features)).toBe(accepted);
    expect(getControl(thread, features)).toBe(accepted ? control : ENABLE);
  });

  it('of a new task says that nothing is allowed', () => {
    const thread = new Arm64ThreadState('t');
    expect(getControl(thread, MTE3)).toBe(0n);
    expect(thread.exclude).toBe(0xffff);
  });
});

describe('what a CPU does on a failed check', () => {
  const { Ignored, Synchronous, Asynchronous, Asymmetric } = TagCheckFault;
  it.each<[bigint, TagCheckMode, typeof MTE3, TagCheckFault]>([
    [0n, 'sync', MTE3, Ignored],
    [SYNC, 'async', MTE3, Synchronous],
    [SYNC, 'asymm', MTE3, Synchronous],
    [SYNC, 'sync', MTE3, Synchronous],
    [ASYNC, 'async', MTE3, Asynchronous],
    [ASYNC, 'sync', MTE3, Asynchronous],
    [ASYNC, 'asymm', MTE3, Asynchronous],
    [SYNC | ASYNC, 'async', MTE3, Asynchronous],
    [SYNC | ASYNC, 'sync', MTE3, Synchronous],
    [SYNC | ASYNC, 'asymm', MTE3, Asymmetric],
    // Without asymmetric mode the CPU cannot prefer it; what is left is asked for in this order.
    [SYNC | ASYNC, 'async', MTE2, Asynchronous],
    [SYNC | ASYNC, 'sync', MTE2, Synchronous],
  ])('asked for %s, preferred %s, features %o: TCF0 %i', (control, preferred, features, expected) => {
    const thread = new Arm64ThreadState('t');
    setControl(thread, control, features);
    expect(tagCheckFault(thread, preferred)).toBe(expected);
  });
});

class FakeCpu implements TagCheckedCpu {
  readonly state = new Arm64State();
  updates = 0;

  updateControls(): void {
    this.updates++;
  }

  setTco(on: boolean): void {
    this.state.tco = on;
  }

  get tcf0(): number {
    return Number(SCTLR_EL1.get(fromHalves(this.state.sctlrHi, this.state.sctlrLo), 'TCF0'));
  }

  get exclude(): number {
    return Number(GCR_EL1.get(fromHalves(this.state.gcrHi, this.state.gcrLo), 'Exclude'));
  }
}

function machine(cpus = 1): { readonly cpus: readonly FakeCpu[]; readonly threads: ThreadSwitch } {
  const made = Array.from({ length: cpus }, () => new FakeCpu());
  return { cpus: made, threads: new ThreadSwitch(made, MTE3) };
}

describe('a CPU with MTE', () => {
  it('lets EL0 and EL1 have tags, and IRG use a generator of its own that does not stand still', () => {
    const { cpus } = machine(2);
    for (const { state } of cpus) {
      const sctlr = fromHalves(state.sctlrHi, state.sctlrLo);
      expect([SCTLR_EL1.has(sctlr, 'ATA'), SCTLR_EL1.has(sctlr, 'ATA0')]).toEqual([true, true]);
      expect(GCR_EL1.has(fromHalves(state.gcrHi, state.gcrLo), 'RRND')).toBe(true);
      expect(RGSR_EL1.get(fromHalves(state.rgsrHi, state.rgsrLo), 'SEED')).not.toBe(0n);
    }
  });
});

describe('switching tasks', () => {
  it('brings the mode and the tags of the next one', () => {
    const { cpus, threads } = machine();
    const [cpu] = cpus as [FakeCpu];
    const a = threads.create('a', null);
    const b = threads.create('b', null);
    threads.set(a, ENABLE | SYNC | (0xfffen << 3n));
    threads.set(b, ENABLE | ASYNC | (0x0002n << 3n));
    threads.switchTo(0, a);
    expect([cpu.tcf0, cpu.exclude]).toEqual([1, 0x0001]);
    threads.switchTo(0, b);
    expect([cpu.tcf0, cpu.exclude]).toEqual([2, 0xfffd]);
    threads.set(b, ENABLE);
    expect([cpu.tcf0, cpu.exclude]).toEqual([0, 0xffff]);
  });

  it('keeps TCO of each', () => {
    const { cpus, threads } = machine();
    const [cpu] = cpus as [FakeCpu];
    const a = threads.create('a', null);
    const b = threads.create('b', null);
    threads.switchTo(0, a);
    threads.setTagCheckOverride(0, true);
    threads.switchTo(0, b);
    expect(cpu.state.tco).toBe(false);
    const child = threads.create('child of a', a);
    threads.switchTo(0, a);
    expect(cpu.state.tco).toBe(true);
    expect(child.tco).toBe(true);
  });

  it('makes a failed check known to the task whose access it was', () => {
    const { cpus, threads } = machine();
    const [cpu] = cpus as [FakeCpu];
    const a = threads.create('a', null);
    const b = threads.create('b', null);
    threads.set(a, ENABLE | ASYNC);
    threads.set(b, ENABLE | ASYNC);
    threads.switchTo(0, a);
    cpu.state.tfsre0 = 1;
    threads.switchTo(0, b);
    expect(cpu.state.tfsre0).toBe(0);
    expect(threads.takeAsynchronousFault(b)).toBe(false);
    expect(threads.takeAsynchronousFault(a)).toBe(true);
    expect(threads.takeAsynchronousFault(a)).toBe(false);
  });

  it('takes the preference of the CPU at the next switch, not before', () => {
    const { cpus, threads } = machine();
    const [cpu] = cpus as [FakeCpu];
    const a = threads.create('a', null);
    const b = threads.create('b', null);
    threads.set(a, ENABLE | SYNC | ASYNC);
    threads.switchTo(0, a);
    expect(threads.setPreferred(0, 'sync')).toBe(true);
    expect(cpu.tcf0).toBe(TagCheckFault.Asynchronous);
    threads.switchTo(0, b);
    threads.switchTo(0, a);
    expect(cpu.tcf0).toBe(TagCheckFault.Synchronous);
  });

  it('knows no asymmetric mode on a CPU without', () => {
    const threads = new ThreadSwitch([new FakeCpu()], MTE2);
    expect(threads.setPreferred(0, 'asymm')).toBe(false);
    expect(threads.preferred(0)).toBe('async');
  });
});

describe('fork', () => {
  it('copies everything but a fault that waits', () => {
    const { threads } = machine();
    const parent = threads.create('parent', null);
    threads.set(parent, ENABLE | ASYNC | (0x00f0n << 3n));
    parent.asynchronousFault = true;
    const child = threads.create('child', parent);
    expect(threads.get(child)).toBe(threads.get(parent));
    expect(threads.takeAsynchronousFault(child)).toBe(false);
  });
});

function inMode(control: bigint): {
  readonly cpu: FakeCpu;
  readonly threads: ThreadSwitch;
  readonly task: Arm64ThreadState;
} {
  const { cpus, threads } = machine();
  const task = threads.create('task', null);
  threads.set(task, control);
  threads.switchTo(0, task);
  return { cpu: cpus[0] as FakeCpu, threads, task };
}

describe('the kernel', () => {
  it('takes a failed check over when it is entered, and forgets those of its own copies', () => {
    const { cpu, threads, task } = inMode(ENABLE | ASYNC);
    cpu.state.tfsre0 = 1;
    threads.enter(0);
    expect(cpu.state.tfsre0).toBe(0);
    cpu.state.tfsre0 = 1;
    threads.exit(0);
    expect(cpu.state.tfsre0).toBe(0);
    expect(threads.takeAsynchronousFault(task)).toBe(true);
    threads.enter(0);
    expect(threads.takeAsynchronousFault(task)).toBe(false);
  });

  it('does not take what a copy of its own left behind for the program when it is preempted', () => {
    const { cpu, threads, task } = inMode(ENABLE | ASYNC);
    threads.enter(0);
    cpu.state.tfsre0 = 1;
    threads.switchTo(0, threads.create('other', null));
    expect(threads.takeAsynchronousFault(task)).toBe(false);
  });

  it('ignores the upper half of TFSRE0_EL1, which no program address sets', () => {
    const { cpu, threads, task } = inMode(ENABLE | ASYNC);
    cpu.state.tfsre0 = 2;
    threads.enter(0);
    expect(threads.takeAsynchronousFault(task)).toBe(false);
  });

  it.each([
    ['none', 0n, true],
    ['sync', SYNC, false],
    ['async', ASYNC, true],
  ] as const)('copies with TCO as mode %s wants it, whatever the program has set', (_mode, bits, tco) => {
    for (const own of [false, true]) {
      const { cpu, threads } = inMode(ENABLE | bits);
      threads.setTagCheckOverride(0, own);
      threads.beginUserAccess(0);
      expect(cpu.state.tco).toBe(tco);
      threads.endUserAccess(0);
      expect(cpu.state.tco).toBe(own);
    }
  });

  it('checks its copies in asymmetric mode', () => {
    const { cpu, threads, task } = inMode(ENABLE | SYNC | ASYNC);
    threads.setPreferred(0, 'asymm');
    threads.switchTo(0, task);
    threads.beginUserAccess(0);
    expect([cpu.tcf0, cpu.state.tco]).toEqual([TagCheckFault.Asymmetric, false]);
  });

  it('takes tagged pointers of tasks that asked for it, and of kernel threads', () => {
    const { threads, task } = inMode(0n);
    expect(threads.ignoresTags(0)).toBe(false);
    threads.set(task, ENABLE);
    expect(threads.ignoresTags(0)).toBe(true);
    expect(new ThreadSwitch([new FakeCpu()], MTE3).ignoresTags(0)).toBe(true);
  });
});
