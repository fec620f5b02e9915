/**
 * In which order a switch of address spaces writes TTBR0_EL1 and TTBR1_EL1, and what a CPU may walk in between.
 * @see Linux arch/arm64/mm/context.c, `check_and_switch_context`, `cpu_do_switch_mm`
 */
import { describe, expect, it } from 'vitest';
import { Arm64KernelArch } from '../../../../src/arch/arm64/kernel/arm64-kernel-arch.ts';
import { Arm64SpeculativeFills } from '../../../../src/arch/arm64/kernel/speculative-fills.ts';
import type { MmContext } from '../../../../src/arch/kernel-arch.ts';
import { architectureNamed } from '../../../../src/arch/registry.ts';
import { Machine } from '../../../../src/hardware/machine.ts';
import { runScenario } from '../../../../src/userland/run-scenario.ts';
import { defineScenario } from '../../../../src/userland/scenario.ts';
import { noStaleTranslation } from '../../../../src/userland/world-view.ts';

const INIT = 0x10;

function setUp(): {
  readonly arch: Arm64KernelArch;
  readonly loaded: () => string;
  readonly fills: Arm64SpeculativeFills;
} {
  const machine = new Machine({ cpus: 1 });
  const arch = new Arm64KernelArch({ machine, initRootFrame: INIT });
  const fills = new Arm64SpeculativeFills(arch.mmus);
  const state = (arch.mmus[0] as (typeof arch.mmus)[number]).state;
  const loaded = (): string => `root 0x${fills.rootFrame(0).toString(16)}, ASID ${state.ttbr1Hi >>> 16}`;
  return { arch, loaded, fills };
}

/** What is loaded at each point where something else may happen, and at the end; without repetitions. */
function seen({ arch, loaded }: ReturnType<typeof setUp>, next: MmContext): string[] {
  const states: string[] = [];
  const add = (): void => {
    if (states.at(-1) !== loaded()) states.push(loaded());
  };
  for (const _ of arch.switchMm(0, next)) add();
  add();
  return states;
}

describe('a switch of address spaces', () => {
  it('goes over the empty table, with the old ASID and then with the new one', () => {
    const world = setUp();
    const [a, b] = [world.arch.createMmContext('a', 0x20), world.arch.createMmContext('b', 0x30)];
    expect(seen(world, a)).toEqual(['root 0x10, ASID 0', 'root 0x10, ASID 1', 'root 0x20, ASID 1']);
    expect(seen(world, b)).toEqual(['root 0x10, ASID 1', 'root 0x10, ASID 2', 'root 0x30, ASID 2']);
  });

  it('to the kernel’s own leaves the empty table', () => {
    const world = setUp();
    const a = world.arch.createMmContext('a', 0x20);
    seen(world, a);
    seen(world, world.arch.initMm);
    expect(world.fills.rootFrame(0)).toBe(INIT);
  });
});

it.each([
  ['0x1234', 0x1234],
  ['0xfffffffff', 0xf_ffff_ffff],
  // Bits 51:48 of the address are in TTBR0_EL1[5:2].
  ['0x1000000001', 0x10_0000_0001],
  ['0xa512345678', 0xa5_1234_5678],
])('fills walk from the table in TTBR0_EL1, all of its address: frame %s', (_, frame) => {
  const { arch, fills } = setUp();
  for (const _point of arch.switchMm(0, arch.createMmContext('wide', frame)));
  expect(fills.rootFrame(0)).toBe(frame);
});

const AT = 0x1000_0000n;
const ROUNDS = 6;

/** Two programs on one CPU, with their own memory at the same address. */
const sameAddress = defineScenario({
  title: 'two address spaces on a CPU',
  cpus: 1,
  programs: Object.fromEntries(
    ['a', 'b'].map((name, index) => [
      name,
      function* (u) {
        const page = { address: AT, fixed: true, bytes: 0x1000n, prot: 'rw', populate: true } as const;
        yield* u.must(u.mmap(page));
        yield* u.must(u.store(AT, BigInt(index + 1)));
        for (let round = 0; round < ROUNDS; round++) {
          yield* u.compute(1);
          yield* u.check(
            (yield* u.must(u.load(AT))) === BigInt(index + 1),
            `${name} sees the other's memory`,
          );
        }
      },
    ]),
  ),
  finally: { 'nothing is stale': noStaleTranslation },
});

it('speculation at any point of a switch shows neither the memory of the other', () => {
  const architecture = architectureNamed('arm64');
  for (let seed = 1; seed <= 40; seed++) {
    const config = {
      architecture,
      policy: 'random',
      seed,
      speculation: true,
      retention: 'adversarial',
    } as const;
    expect({ seed, ...runScenario(sameAddress, config).outcome }).toEqual({ seed, kind: 'finished' });
  }
});
