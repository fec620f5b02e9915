/**
 * What generic kernel code asks of an architecture's part of the kernel: which address space a CPU runs in, flushing
 * TLBs, what a fault was, which protection a mapping gets. There is one instance per machine, as it holds the CPUs'
 * TLB bookkeeping. How a flush reaches other CPUs (interrupts, broadcast) is the architecture's business.
 */
import { SharedObject, type Task } from '../base/task.ts';
import type { ContiguousEntries } from './contiguous-entries.ts';
import type { InstructionProbes } from './instruction-probes.ts';
import type { Mmu } from './mmu.ts';
import type { PagingFormat } from './paging-format.ts';
import type { TagInstructions } from './tag-instructions.ts';
import type { MemoryTags, TaggedAddressControl, ThreadState } from './thread-state.ts';

/** The architecture's part of an mm (`mm->context` and `mm_cpumask`). Each architecture extends it. */
export class MmContext extends SharedObject {
  /** Frame of the root table. */
  readonly rootFrame: number;
  /** `mm_cpumask`: the CPUs whose TLB may hold something of this mm, one bit each, low word first. */
  readonly cpuMask: Int32Array;

  constructor(name: string, rootFrame: number, cpuCount: number) {
    super(name);
    this.rootFrame = rootFrame;
    this.cpuMask = new Int32Array(Math.ceil(cpuCount / 32));
  }

  hasCpu(cpu: number): boolean {
    return ((this.cpuMask[cpu >> 5] as number) & (1 << (cpu & 31))) !== 0;
  }
}

/** Both halves of a VMA's flag word, or of bits to put into it. */
export interface VmFlagBits {
  /** Bits 31:0. */
  readonly flags: number;
  /** Bits 63:32, moved down. */
  readonly flagsHigh: number;
}

/** How the exception came to the kernel. */
export const EntryKind = {
  /** A page fault: look for the VMA. */
  PageFault: 0,
  /**
   * An exception that is a signal in user mode whatever the VMAs say (x86 #GP and #SS, an external abort, a tag check
   * fault, alignment); in a copy of the kernel's it ends the copy. The address is as the handler gives it to
   * `force_sig_fault`, tag bits included (arm64 tag check fault: bits 63:60 as in a canonical address).
   */
  Signal: 1,
} as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** One exception, decoded: filled by `KernelArch.faultInfo`. A reused object of the caller. */
export class PageFaultInfo {
  kind: EntryKind = EntryKind.PageFault;
  /** The faulting address as the hardware reports it, tag bits included. */
  addressHi = 0;
  addressLo = 0;
  /** Its page number with tag bits removed (`untagged_addr`). */
  page = 0;
  write = false;
  instruction = false;
  user = false;
  /** A translation was there and forbade the access. */
  protection = false;
  /** Refused by a protection key. */
  protectionKey = false;
  shadowStack = false;
  /** The address lies outside what user space can ever map: SEGV_MAPERR without looking. */
  beyondUser = false;
  /** A reserved bit was set in an entry: our page tables are broken. */
  corrupt = false;
  /** Which rights were in force when the fault happened, for `pkeyPermits` (x86 PKRU, arm64 POR_EL0). */
  keyRights = 0;
  /** The signal and code of `EntryKind.Signal`. */
  signal = 0;
  code = 0;
}

/** Answer of `accessError`: allowed, or the si_code to send. */
export const AccessVerdict = {
  Allowed: 0,
  /** SEGV_ACCERR. */
  Denied: 1,
  /** SEGV_PKUERR. */
  DeniedByKey: 2,
} as const;
export type AccessVerdict = (typeof AccessVerdict)[keyof typeof AccessVerdict];

/** The rights of the running thread as its instructions read and write them (x86 RDPKRU and WRPKRU). */
export interface KeyRightsRegister {
  read(cpu: number): number;
  write(cpu: number, rights: number): void;
}

/**
 * Protection keys as the generic kernel sees them: numbers that an address space hands out, that mark its mappings, and
 * whose rights each thread sets for itself. What a program gets that asks a processor without keys differs.
 * @see Linux arch/x86/include/asm/pkeys.h; arch/arm64/include/asm/pkeys.h
 */
export interface ProtectionKeys {
  /** Bits that pkey_alloc accepts as the rights of a new key (`PKEY_ACCESS_MASK`). */
  readonly accessMask: number;
  /** Null on a processor without keys: the instructions do not exist there. */
  readonly register: KeyRightsRegister | null;
  /**
   * A free key of the address space, with these PKEY_DISABLE_ rights for the thread on `cpu`; a negative errno when
   * there is none.
   */
  allocate(cpu: number, context: MmContext, rights: number): number;
  /** False: the address space has no such key. Its mappings keep their mark. @see `mm_pkey_free` */
  free(context: MmContext, key: number): boolean;
  /** May a program name the key? The one of execute-only memory is not a program's. @see `mm_pkey_is_allocated` */
  isAllocated(context: MmContext, key: number): boolean;
  /**
   * The key of a new mapping: one whose data nobody may read for memory that is to be executed only, else 0.
   * @param executeOnly its PROT_ bits are PROT_EXEC and nothing else
   */
  keyOfNewMapping(cpu: number, context: MmContext, executeOnly: boolean): number;
  /**
   * The key that mprotect gives a VMA.
   * @param key what pkey_mprotect names; -1 for plain mprotect
   * @see `arch_override_mprotect_pkey`
   */
  keyForMprotect(cpu: number, context: MmContext, vma: VmFlagBits, executeOnly: boolean, key: number): number;
  /** The bits of a VMA's flag word that stand for the key (`calc_vm_prot_bits`). */
  vmFlagsOf(key: number): VmFlagBits;
  /** May the running thread read, or write, memory whose entry has this key? Asked without a VMA by gup-fast. */
  permits(cpu: number, key: number, write: boolean): boolean;
  /** fork: the child's address space has the parent's keys. @see `arch_dup_pkeys` */
  duplicate(from: MmContext, to: MmContext): void;
}

export interface KernelArch {
  readonly name: string;
  readonly format: PagingFormat;
  /** Runs of leaves that TLBs may hold as one; null where the kernel makes none. */
  readonly contiguousEntries: ContiguousEntries | null;
  /** Breakpoints, and instructions that the kernel must tell apart. */
  readonly probes: InstructionProbes;
  /** First page number beyond user space (`TASK_SIZE / PAGE_SIZE`). */
  readonly taskSizePages: number;
  /**
   * First page number beyond where mappings go that ask for no address (`DEFAULT_MAP_WINDOW / PAGE_SIZE`): as far as
   * with the smallest user space, since programs may use the bits above for themselves.
   */
  readonly mapWindowPages: number;
  /** First page number beyond the highest place for a stack (`STACK_TOP_MAX / PAGE_SIZE`). */
  readonly stackTopMaxPages: number;
  /** The MMU of each CPU. */
  readonly mmus: readonly Mmu[];

  /** A new, unused context around an allocated, zeroed root table. */
  createMmContext(name: string, rootFrame: number): MmContext;
  /** Removes the context for good; no CPU may have it loaded. */
  destroyMmContext(context: MmContext): void;

  /**
   * Makes CPU `cpu` run in `next`; null is a kernel thread, which keeps what is loaded without using it (lazy TLB).
   * The scheduler calls it before the first step of a task of another mm. Interrupts are off inside.
   */
  switchMm(cpu: number, next: MmContext | null): Task<void>;
  /**
   * When it returns, no CPU's TLB holds what the ptes of [startPage, endPage) allowed before.
   * @param strideShift log2 of the bytes one entry maps: 12 for ptes, 21 for x86 pmds
   * @param freedTables page-table pages of the range are about to be freed: paging-structure caches count too
   * @param mixedLevels larger entries of the range were changed as well: nothing may be said about their level
   */
  flushTlbRange(
    cpu: number,
    context: MmContext,
    startPage: number,
    endPage: number,
    strideShift: number,
    freedTables: boolean,
    mixedLevels?: boolean,
  ): Task<void>;
  /** One page (`flush_tlb_page`). */
  flushTlbPage(cpu: number, context: MmContext, page: number): Task<void>;
  /** Everything of the mm (`flush_tlb_mm`). */
  flushTlbMm(cpu: number, context: MmContext): Task<void>;
  /** A fault that found nothing to do: the own CPU's stale entry goes (`flush_tlb_fix_spurious_fault`), if it must. */
  flushSpuriousFault(cpu: number, context: MmContext, page: number): Task<void>;

  /**
   * The last part of `ptep_set_access_flags`, for a pte that a fault has made young, dirty or writable: the stale entries
   * of other CPUs go where the processor does not look at the table again by itself before it refuses an access.
   * @param dirty the fault was a write
   */
  flushAccessFlags(cpu: number, context: MmContext, page: number, dirty: boolean): Task<void>;

  /**
   * `vm_get_page_prot`: `EntryFlag` bits (with `Present`, and Young where Linux's protections have it) of a fresh leaf
   * of a VMA with these flags. A private writable VMA gives a leaf without `Write`.
   */
  pageProtection(vmFlags: number, vmFlagsHigh: number): number;
  /** `pgprot_noncached` of a protection: memory of a device as drivers map it, where nothing is executed on arm64. */
  noncached(protection: number): number;
  /** Flags that `pte_mkwrite(pte, vma)` sets: `Write`, or `ShadowStack` for a shadow-stack VMA. */
  writableFlags(vmFlags: number, vmFlagsHigh: number): number;
  /**
   * Would a store to a leaf with these flags that is not dirty need a fault first? False where the hardware sets Dirty.
   */
  readonly hardwareDirty: boolean;
  /** New mappings of file pages around a fault are installed old (`arch_wants_old_prefaulted_pte`). */
  readonly wantsOldPrefaultedPte: boolean;
  /**
   * Does `ptep_clear_flush_young` flush? Without, a page that is used through a translation the TLB has seems unused
   * until that goes; it costs a bad choice of reclaim, nothing else.
   */
  readonly flushesAgedPte: boolean;

  /** VM_SHADOW_STACK in the high half of a VMA's flag word; 0 where there are no shadow stacks. */
  readonly vmShadowStackHigh: number;
  /**
   * VM_FLAGS_CLEAR: flags of the architecture that mprotect takes from `prot` alone, so that a call without them drops
   * them (BTI). VM_MTE is not among them.
   */
  readonly vmFlagsClear: VmFlagBits;
  /** What the architecture adds to VM_DATA_DEFAULT_FLAGS, for brk and stacks (VM_MTE_ALLOWED). */
  readonly dataDefaultFlags: VmFlagBits;
  /**
   * The architecture's flags in /proc/pid/smaps, as masks and two letters, in the order of their bits. Empty letters: a
   * flag that is not shown. A low flag here takes the place of the generic kernel's name for it.
   */
  readonly vmFlagLetters: readonly (readonly [bits: VmFlagBits, letters: string])[];
  /** `EntryFlag` bits that `pte_modify` takes from the new protection. Everything else stays as it is. */
  readonly protectionMask: number;
  /**
   * `arch_validate_prot`: does mprotect accept these PROT_ bits? PROT_GROWSDOWN and PROT_GROWSUP are taken off before.
   * mmap does not ask: it ignores what it does not know.
   */
  validateProt(prot: number): boolean;
  /** `arch_calc_vm_prot_bits`: what PROT_ bits of the architecture stand for (PROT_MTE, PROT_BTI). */
  calcVmProtBits(prot: number): VmFlagBits;
  /**
   * MAP_ flags of the architecture that MAP_SHARED_VALIDATE accepts, among LEGACY_MAP_MASK (x86: MAP_32BIT and
   * MAP_ABOVE4G). 0 where there are none.
   */
  readonly legacyMapFlags: number;
  /**
   * `arch_calc_vm_flag_bits` of a new mapping.
   * @param memoryBacked MAP_ANONYMOUS, MAP_HUGETLB, or a file of shmem or hugetlbfs: memory that can have tags
   */
  calcVmFlagBits(memoryBacked: boolean): VmFlagBits;
  readonly protectionKeys: ProtectionKeys;
  /** `arch_validate_flags`: may a VMA have these flags together? Else mmap and mprotect give EINVAL. */
  validateFlags(vmFlags: number, vmFlagsHigh: number): boolean;

  /** The state of a new task: of its own after exec (null), or a copy of its parent's by fork (`copy_thread`). */
  createThread(name: string, parent: ThreadState | null): ThreadState;
  /**
   * `__switch_to`: CPU `cpu` runs `next` from now on. What belongs to the task before is kept first: the switch has
   * come by an interrupt or a system call, so `enterFromUserMode` is part of it.
   */
  switchThread(cpu: number, next: ThreadState): void;
  /** The task on `cpu` has entered the kernel: what its instructions left behind is looked at. */
  enterFromUserMode(cpu: number): void;
  /** It goes back: what the kernel's own accesses left behind is forgotten. */
  exitToUserMode(cpu: number): void;
  /** The tagged-address ABI; null where there is none and prctl gives EINVAL. */
  readonly taggedAddressControl: TaggedAddressControl | null;
  /** Memory tags, and what user space may do with them; null on a machine without. */
  readonly memoryTags: MemoryTags | null;
  /** The tag instructions of each CPU, for programs; null where the processor has none. */
  readonly tagInstructions: readonly TagInstructions[] | null;
  /**
   * `arch_untagged_si_addr`: the address of a signal as a handler sees it that did not ask for tag bits
   * (SA_EXPOSE_TAGBITS).
   */
  untaggedSignalAddress(address: bigint, signal: number, code: number): bigint;

  /** `untagged_addr` of an address of the running process, as a byte address. */
  untaggedAddress(cpu: number, address: bigint): bigint;
  /** `untagged_addr_remote`: of an address of another process' mm. */
  untaggedAddressRemote(context: MmContext, address: bigint): bigint;

  /**
   * The address that `access_ok` compares with the end of user space. The access itself is made with the address as
   * given: what it makes of tag bits is the hardware's business.
   */
  accessOkAddress(cpu: number, address: bigint): bigint;
  /** `Access` bits of the kernel's copies to and from user memory: 0, or Unprivileged where they are LDTR and STTR. */
  readonly userCopyAccess: number;

  /**
   * The kernel is about to touch user memory with the process' own addresses (`user_access_begin`: STAC on x86; tag
   * checks are on, whatever the program's TCO).
   */
  beginUserAccess(cpu: number): void;
  /** And is through with it, or has faulted (`user_access_end`: CLAC). */
  endUserAccess(cpu: number): void;

  /** Decodes the fault that `mmus[cpu]` just reported; CR2 / FAR_EL1 and the error code are pure functions of it. */
  faultInfo(cpu: number, out: PageFaultInfo): void;
  /** `access_error`: does a VMA with these flags forbid the faulting access? Looked at before `handle_mm_fault`. */
  accessError(info: PageFaultInfo, vmFlags: number, vmFlagsHigh: number): AccessVerdict;
  /**
   * `arch_vma_access_permitted`: may the running task (or, with `foreign`, anybody through it) touch a VMA with this
   * protection key?
   */
  vmaAccessPermitted(
    cpu: number,
    vmFlags: number,
    vmFlagsHigh: number,
    write: boolean,
    instruction: boolean,
    foreign: boolean,
  ): boolean;
}
