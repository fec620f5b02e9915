/** Speculative fills of the CPUs' MMUs, from the root table in CR3. Left out: fills of the instruction TLB alone. */
import type { SpeculativeFills } from '../../speculative-fills.ts';
import type { X86Mmu } from '../mmu.ts';

/** CR3 bits 51:32 that are address. */
const ROOT_HIGH = 0xf_ffff;

export class X86SpeculativeFills implements SpeculativeFills {
  readonly #mmus: readonly X86Mmu[];

  constructor(mmus: readonly X86Mmu[]) {
    this.#mmus = mmus;
  }

  rootFrame(cpu: number): number {
    const { cr3Hi, cr3Lo } = this.#mmu(cpu).state;
    return (cr3Hi & ROOT_HIGH) * 0x10_0000 + (cr3Lo >>> 12);
  }

  fill(cpu: number, page: number): boolean {
    return this.#mmu(cpu).speculativeFill(
      Math.floor(page / 0x10_0000) | 0,
      ((page % 0x10_0000) * 0x1000) | 0,
    );
  }

  #mmu(cpu: number): X86Mmu {
    const mmu = this.#mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    return mmu;
  }
}
