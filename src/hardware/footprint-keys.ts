/** What steps touch of the hardware, as keys of footprints: the bytes of a frame, and what a CPU has cached. */
import { hashText, numberKey } from '../base/footprint.ts';

const Space = { FrameData: 1, Tlb: 2 } as const;

/** The bytes of a frame, entries of page tables among them. */
export const frameDataKey = (frame: number): number => numberKey(Space.FrameData, frame);

/** Translations that a CPU has cached. */
export const tlbKey = (cpu: number): number => numberKey(Space.Tlb, cpu);

/**
 * Which CPUs have interrupts disabled, as grace periods of RCU look at it: CPUs that change it do not mind each other, so
 * that they read the key, and whoever asks about all of them writes it.
 */
export const INTERRUPTS_OFF = hashText('rcu');
