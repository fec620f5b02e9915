/**
 * Where the parts of a new address space go, without randomisation: mmap_base below a gap for the stack, and the heap
 * above the program.
 * Left out: randomisation, the legacy bottom-up layout, the 32-bit one, loading a program: its image is addresses only.
 * @see Linux arch/x86/mm/mmap.c and mm/util.c, `mmap_base`; fs/binfmt_elf.c, `load_elf_binary`
 */
import type { KernelArch } from '../../arch/kernel-arch.ts';
import type { MmStruct } from './mm.ts';
import { limitPages, type Rlimit } from './rlimit.ts';

/** The gap is at least 128 MiB, in pages. */
const SMALLEST_GAP_PAGES = (128 << 20) / 4096;

/**
 * Page after the highest one that top-down placement uses: what the stack may grow to and its guard gap stay free, at
 * least 128 MiB and at most 5/6 of the window, also when the stack has no limit.
 */
export function mmapBasePage(
  { mapWindowPages }: Pick<KernelArch, 'mapWindowPages'>,
  stack: Rlimit,
  stackGuardGapPages: number,
): number {
  const gap = limitPages(stack) + stackGuardGapPages;
  const largest = Math.floor(mapWindowPages / 6) * 5;
  return mapWindowPages - Math.min(Math.max(gap, SMALLEST_GAP_PAGES), largest);
}

/** Where the linker puts a program that does not say otherwise: one page of code, one of data; then the heap. */
const PROGRAM_START = 0x40_0000n;
const PROGRAM_DATA = 0x40_1000n;
const PROGRAM_END = 0x40_2000n;

/** The addresses that exec of a small program at 0x400000 leaves. Nothing is mapped there; the heap is empty. */
export function setProgramLayout(mm: MmStruct): void {
  mm.startCode = PROGRAM_START;
  mm.endCode = PROGRAM_DATA;
  mm.startData = PROGRAM_DATA;
  mm.endData = PROGRAM_END;
  mm.startBrk = PROGRAM_END;
  mm.brk = PROGRAM_END;
}
