/** PROT_MTE and PROT_BTI. @see Linux arch/arm64/include/asm/mman.h */

import { describe, expect, it } from 'vitest';
import {
  calcVmFlagBits,
  calcVmProtBits,
  protectionMask,
  VM_ARM64_BTI,
  VMH_MTE,
  VMH_MTE_ALLOWED,
  validateFlags,
  validateProt,
  vmFlagsClear,
} from '../../../../src/arch/arm64/kernel/mman.ts';
import { MteTags } from '../../../../src/arch/arm64/kernel/mte.ts';
import { pageProtection } from '../../../../src/arch/arm64/kernel/protection-map.ts';
import { ThreadSwitch } from '../../../../src/arch/arm64/kernel/thread-switch.ts';
import { EntryFlag } from '../../../../src/arch/paging-format.ts';
import { architectureNamed } from '../../../../src/arch/registry.ts';
import { PROT_BTI, PROT_MTE } from '../../../../src/arch/user-abi.ts';
import { TagMemory } from '../../../../src/hardware/tag-memory.ts';
import { PROT_EXEC, PROT_READ, PROT_SEM, PROT_WRITE } from '../../../../src/kernel/mm/mman.ts';
import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from '../../../../src/kernel/mm/vma-flags.ts';
import { createSystem } from '../../../../src/userland/system.ts';

const BOTH = { bti: true, mte: true };
const NEITHER = { bti: false, mte: false };
const RWX = PROT_READ | PROT_WRITE | PROT_EXEC;

describe('arch_validate_prot', () => {
  it.each([
    ['rwx and PROT_SEM', RWX | PROT_SEM, true, true],
    ['PROT_BTI', PROT_READ | PROT_BTI, true, false],
    ['PROT_MTE', PROT_READ | PROT_MTE, true, false],
    ['an unknown bit', 0x40, false, false],
  ] as const)('%s', (_name, prot, withBoth, without) => {
    expect([validateProt(prot, BOTH), validateProt(prot, NEITHER)]).toEqual([withBoth, without]);
  });
});

describe('arch_calc_vm_prot_bits', () => {
  it.each([
    ['rw', PROT_READ | PROT_WRITE, 0, 0],
    ['MTE', PROT_READ | PROT_MTE, 0, VMH_MTE],
    ['BTI', PROT_READ | PROT_BTI, VM_ARM64_BTI, 0],
    ['both', PROT_BTI | PROT_MTE, VM_ARM64_BTI, VMH_MTE],
  ] as const)('%s', (_name, prot, flags, flagsHigh) => {
    expect(calcVmProtBits(prot, BOTH)).toEqual({ flags, flagsHigh });
    expect(calcVmProtBits(prot, NEITHER)).toEqual({ flags: 0, flagsHigh: 0 });
  });
});

describe('PROT_BTI by CPU model', () => {
  it.each([
    ['arm64-complete', true],
    ['arm64-recorded', true],
    ['qemu-7.2-max', true],
    ['qemu-10.0-max', true],
    ['neoverse-v2', true],
    ['neoverse-n1', false],
    ['cortex-a72', false],
  ] as const)('%s has FEAT_BTI: %s', (model, bti) => {
    const architecture = architectureNamed('arm64');
    const system = createSystem({ architecture, cpus: 1, memoryBytes: 0x40_0000, cpuModel: model });
    const { arch } = system.kernel;
    expect(arch.validateProt(PROT_READ | PROT_BTI)).toBe(bti);
    expect(arch.calcVmProtBits(PROT_READ | PROT_BTI).flags).toBe(bti ? VM_ARM64_BTI : 0);
  });
});

describe('tags', () => {
  it('are for memory that is RAM for certain', () => {
    expect(calcVmFlagBits(true, BOTH).flagsHigh).toBe(VMH_MTE_ALLOWED);
    expect(calcVmFlagBits(false, BOTH).flagsHigh).toBe(0);
    expect(validateFlags(VMH_MTE | VMH_MTE_ALLOWED, BOTH)).toBe(true);
    expect(validateFlags(VMH_MTE, BOTH)).toBe(false);
    expect(validateFlags(0, BOTH)).toBe(true);
    expect(validateFlags(VMH_MTE, NEITHER)).toBe(true);
  });

  it('stay when mprotect does not mention them; a guard for branches does not', () => {
    expect(vmFlagsClear).toEqual({ flags: VM_ARM64_BTI, flagsHigh: 0 });
  });
});

describe('__sync_cache_and_tags', () => {
  const tags = new MteTags(new TagMemory(), new ThreadSwitch([], { mte: true, asymm: true }));
  const protection = (flags: number, high: number): number => pageProtection(flags, high, { epan: true });
  it.each([
    ['a readable page', VM_READ, VMH_MTE, true],
    ['a writable shared page', VM_READ | VM_WRITE | VM_SHARED, VMH_MTE, true],
    ['a page without PROT_MTE', VM_READ | VM_WRITE, 0, false],
    ['PROT_NONE: nobody reaches the tags', 0, VMH_MTE, false],
    ['execute only: nobody reaches the tags', VM_EXEC, VMH_MTE, false],
  ] as const)('%s', (_name, flags, high, expected) => {
    expect(tags.exposesTags(protection(flags, high))).toBe(expected);
    // The zero page has no tags to set up.
    expect(tags.exposesTags(protection(flags, high) | EntryFlag.Special)).toBe(false);
  });

  it('sees a page change its memory type, as mprotect may do', () => {
    const plain = protection(VM_READ, 0);
    const tagged = protection(VM_READ, VMH_MTE);
    expect((plain & ~protectionMask) | (tagged & protectionMask)).toBe(tagged);
  });
});

describe('tags of a frame', () => {
  it.each([0x100, 0xf_ffff, 0x100_0000, 0xf_ffff_ffff])(
    'are addressed by frame and granule: frame 0x%i',
    (frame) => {
      const memory = new TagMemory();
      const tags = new MteTags(memory, new ThreadSwitch([], { mte: true, asymm: true }));
      tags.writeTag(frame, 255, 9);
      tags.writeTag(frame, 1, 3);
      expect([tags.readTag(frame, 255), tags.readTag(frame, 1), tags.readTag(frame, 0)]).toEqual([9, 3, 0]);
      tags.copyFrame(frame, 0x55);
      tags.clearFrame(frame);
      expect([tags.readTag(frame, 255), tags.readTag(0x55, 255)]).toEqual([0, 9]);
    },
  );
});
