/**
 * Speculative fills of the CPUs' MMUs, from the root table in TTBR0_EL1: user space.
 * Left out: fills of the instruction TLB alone, the kernel's half, fills while TCR_EL1.EPD0 = 1.
 */
import type { SpeculativeFills } from '../../speculative-fills.ts';
import type { Arm64Mmu } from '../mmu.ts';

/** TTBR0_EL1[47:32] as part of the high half; [5:2] hold bits 51:48 of tables with 52-bit addresses, else 0. */
const BASE_HIGH = 0xffff;
const WIDE_SHIFT = 2;
const WIDE_MASK = 0xf;

export class Arm64SpeculativeFills implements SpeculativeFills {
  readonly #mmus: readonly Arm64Mmu[];

  constructor(mmus: readonly Arm64Mmu[]) {
    this.#mmus = mmus;
  }

  rootFrame(cpu: number): number {
    const { ttbr0Hi, ttbr0Lo } = this.#mmu(cpu).state;
    const wide = (ttbr0Lo >>> WIDE_SHIFT) & WIDE_MASK;
    return wide * 2 ** 36 + (ttbr0Hi & BASE_HIGH) * 2 ** 20 + (ttbr0Lo >>> 12);
  }

  fill(cpu: number, page: number): boolean {
    return this.#mmu(cpu).speculativeFill(
      Math.floor(page / 0x10_0000) | 0,
      ((page % 0x10_0000) * 0x1000) | 0,
    );
  }

  #mmu(cpu: number): Arm64Mmu {
    const mmu = this.#mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    return mmu;
  }
}
