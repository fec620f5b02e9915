/**
 * Numbers that user space passes to system calls and that only some architectures know: the generic kernel hands them to
 * the architecture without looking, programs and tests name them.
 * @see Linux arch/arm64/include/uapi/asm/mman.h; include/uapi/linux/prctl.h; include/uapi/linux/elf.h
 */

/** mmap and mprotect: branch target identification (arm64). */
export const PROT_BTI = 0x10;
/** mmap and mprotect: memory tagging (arm64). */
export const PROT_MTE = 0x20;

/** Bits of the word of prctl(PR_SET_TAGGED_ADDR_CTRL). System calls take tagged pointers to data: */
export const PR_TAGGED_ADDR_ENABLE = 1 << 0;
/** The modes of tag checks that the task accepts: */
export const PR_MTE_TCF_SYNC = 1 << 1;
export const PR_MTE_TCF_ASYNC = 1 << 2;
/** The tags that IRG may give, one bit each from here on. */
export const PR_MTE_TAG_SHIFT = 3;

/** The register set of ptrace with that word. */
export const NT_ARM_TAGGED_ADDR_CTRL = 0x409;
