/**
 * Linux's x86-64 code behind the `KernelArch` seam: CPUs set up as the kernel sets them up, and the parts of this folder
 * put together.
 * Left out: page-table isolation, the kernel's own mappings (a kernel address has no translation).
 */
import type { Task } from '../../../base/task.ts';
import type { Machine } from '../../../hardware/machine.ts';
import type { Retention, TlbProfile } from '../../../hardware/retention.ts';
import type {
  AccessVerdict,
  KernelArch,
  KeyRightsRegister,
  MmContext,
  PageFaultInfo,
  ProtectionKeys,
  VmFlagBits,
} from '../../kernel-arch.ts';
import type { ThreadState } from '../../thread-state.ts';
import { type CpuFeatures, INTEL_BROADWELL } from '../features.ts';
import { flushForCr3, invlpg } from '../invalidation.ts';
import { X86Mmu } from '../mmu.ts';
import { CR4 } from '../registers.ts';
import { accessError, decodeFault, pkruAllows } from './fault-entry.ts';
import { instructionProbes } from './instruction-probes.ts';
import { X86PagingFormat } from './paging-format.ts';
import { NO_X86_KEYS, X86ProtectionKeys } from './protection-keys.ts';
import {
  NO_VM_FLAGS,
  noncached,
  PROTECTION_MASK,
  pageProtection,
  VMH_PKEY_MASK,
  VMH_SHADOW_STACK,
  vmaPkey,
  vmFlagLetters,
  writableFlags,
} from './protection-map.ts';
import { enterLazyTlb, switchMm, type X86KernelCpu } from './switch-mm.ts';
import { INIT_PKRU, X86ThreadState } from './thread-state.ts';
import { flushTlbMmRange, type X86KernelCpus } from './tlb-flush.ts';
import { CpuTlbState, X86MmContext, type X86TlbPort } from './tlb-state.ts';

export interface X86KernelArchOptions {
  readonly machine: Machine;
  /** A zeroed frame: the root table of init_mm. */
  readonly initRootFrame: number;
  /** Default: Intel, 46 address bits, 4 levels, no protection keys. */
  readonly features?: CpuFeatures;
  /** Default 4; 5 needs `features.la57`. */
  readonly levels?: 4 | 5;
  readonly retention?: Retention;
  readonly tlbProfile?: TlbProfile;
  /** CONFIG_X86_INTEL_MEMORY_PROTECTION_KEYS on a CPU that has them. Default: as the CPU. */
  readonly protectionKeys?: boolean;
  /** CONFIG_X86_USER_SHADOW_STACK on a CPU that has them. Default: as the CPU. */
  readonly shadowStacks?: boolean;
  /** Default: as the CPU; `nopcid` on the command line turns them off. */
  readonly pcid?: boolean;
}

/** PROT_READ, PROT_WRITE, PROT_EXEC and PROT_SEM, the generic ones. */
const KNOWN_PROT = 0xf;
/** Below 2 GiB; not below 4 GiB. @see Linux arch/x86/include/uapi/asm/mman.h */
const MAP_32BIT = 0x40;
const MAP_ABOVE4G = 0x80;

const bit = (name: (typeof CR4.names)[number]): number => CR4.half(name).lo;
const PAE = bit('PAE');
const PGE = bit('PGE');
const PCIDE = bit('PCIDE');
const SMEP = bit('SMEP');
const SMAP = bit('SMAP');
const PKE = bit('PKE');
const CET = bit('CET');
const LA57 = bit('LA57');

/** What the kernel sets in CR4 on a CPU with these features. */
function kernelCr4(features: CpuFeatures, options: X86KernelArchOptions): number {
  return (
    PAE |
    (features.pge ? PGE : 0) |
    (usesPcid(features, options) ? PCIDE : 0) |
    (features.smep ? SMEP : 0) |
    (features.smap ? SMAP : 0) |
    (usesKeys(features, options) ? PKE : 0) |
    (features.cetSs || features.cetIbt ? CET : 0) |
    (options.levels === 5 ? LA57 : 0)
  );
}

const usesPcid = (features: CpuFeatures, options: X86KernelArchOptions): boolean =>
  features.pcid && features.pge && options.pcid !== false;
const usesKeys = (features: CpuFeatures, options: X86KernelArchOptions): boolean =>
  features.pku && options.protectionKeys !== false;
const usesShadowStacks = (features: CpuFeatures, options: X86KernelArchOptions): boolean =>
  features.cetSs && options.shadowStacks !== false;

/** The instructions that the TLB bookkeeping uses, on one CPU's MMU. */
class MmuPort implements X86TlbPort {
  readonly #mmu: X86Mmu;

  constructor(mmu: X86Mmu) {
    this.#mmu = mmu;
  }

  loadCr3(rootFrame: number, pcid: number, lamBits: bigint, noflush: boolean): void {
    const { state } = this.#mmu;
    state.cr3Lo = ((rootFrame % 0x10_0000) * 0x1000) | 0 | pcid;
    state.cr3Hi = Math.floor(rootFrame / 0x10_0000) | Number(lamBits >> 32n);
    this.#mmu.updateControls();
    flushForCr3(this.#mmu, noflush);
  }

  invlpg(page: number): void {
    invlpg(this.#mmu, Math.floor(page / 0x10_0000) | 0, ((page % 0x10_0000) * 0x1000) | 0);
  }
}

export class X86KernelArch implements KernelArch, X86KernelCpus {
  readonly name = 'x86_64';
  readonly format: X86PagingFormat;
  readonly contiguousEntries = null;
  readonly probes = instructionProbes;
  readonly taskSizePages: number;
  readonly mapWindowPages = 2 ** 35 - 1;
  readonly stackTopMaxPages: number;
  readonly mmus: readonly X86Mmu[];
  readonly machine: Machine;
  readonly cpus: readonly X86KernelCpu[];
  readonly initMm: X86MmContext;
  readonly hardwareDirty = true;
  readonly wantsOldPrefaultedPte = false;
  readonly flushesAgedPte = false;
  readonly vmShadowStackHigh = VMH_SHADOW_STACK;
  /** ARCH_VM_PKEY_FLAGS: the key is found anew for each change. */
  readonly vmFlagsClear = { flags: 0, flagsHigh: VMH_PKEY_MASK };
  readonly dataDefaultFlags = NO_VM_FLAGS;
  readonly legacyMapFlags = MAP_32BIT | MAP_ABOVE4G;
  readonly vmFlagLetters = vmFlagLetters;
  readonly protectionMask = PROTECTION_MASK;
  readonly taggedAddressControl = null;
  readonly memoryTags = null;
  readonly tagInstructions = null;
  readonly userCopyAccess = 0;
  readonly protectionKeys: ProtectionKeys;
  readonly #keys: boolean;
  /** The task that each CPU runs, as far as it has rights of its own. */
  readonly #running: (X86ThreadState | undefined)[] = [];
  #lastContextId = 0;

  /** @throws RangeError when 5 levels are asked for and the CPU has 4 */
  constructor(options: X86KernelArchOptions) {
    const { machine, features = INTEL_BROADWELL, levels = 4 } = options;
    if (levels === 5 && !features.la57) throw new RangeError('5-level paging on a CPU without LA57');
    this.machine = machine;
    this.format = new X86PagingFormat({ levels, shadowStacks: usesShadowStacks(features, options) });
    // TASK_SIZE_MAX: the last page below the non-canonical hole is not user space.
    this.taskSizePages = 2 ** (levels === 5 ? 44 : 35) - 1;
    this.stackTopMaxPages = this.taskSizePages;
    this.#keys = usesKeys(features, options);
    this.protectionKeys = this.#keys ? new X86ProtectionKeys(this.#pkru()) : NO_X86_KEYS;
    this.initMm = new X86MmContext('init_mm', options.initRootFrame, machine.cpus.length, 0);
    const hasPcid = usesPcid(features, options);
    const { retention = 'profile', tlbProfile } = options;
    this.mmus = machine.cpus.map(() => {
      const mmuOptions =
        tlbProfile === undefined ? { features, retention } : { features, retention, profile: tlbProfile };
      const make = (): X86Mmu => new X86Mmu(machine.memory, mmuOptions);
      return machine.parts.take('x86_64 mmu', make, (mmu) => mmu.renew());
    });
    this.cpus = machine.cpus.map((cpu, id) => {
      const mmu = this.mmus[id] as X86Mmu;
      const port = new MmuPort(mmu);
      mmu.state.cr4 = kernelCr4(features, options);
      mmu.state.pkru = this.#keys ? INIT_PKRU : 0;
      port.loadCr3(options.initRootFrame, hasPcid ? 1 : 0, 0n, false);
      return { cpu, state: new CpuTlbState(id, this.initMm), port, hasPcid, initMm: this.initMm };
    });
  }

  createMmContext(name: string, rootFrame: number): X86MmContext {
    this.#lastContextId++;
    return new X86MmContext(`context ${name}`, rootFrame, this.machine.cpus.length, this.#lastContextId);
  }

  /** @throws Error when a CPU still has it loaded */
  destroyMmContext(context: MmContext): void {
    for (const { state } of this.cpus) {
      if (state.loadedMm === context) throw new Error(`${context.name} is loaded on cpu ${state.cpu}`);
    }
  }

  switchMm(cpu: number, next: MmContext | null): Task<void> {
    const own = this.#cpu(cpu);
    return next === null ? enterLazyTlb(own) : switchMm(own, next as X86MmContext);
  }

  flushTlbRange(
    cpu: number,
    context: MmContext,
    startPage: number,
    endPage: number,
    strideShift: number,
    freedTables: boolean,
  ): Task<void> {
    const stride = 2 ** (strideShift - this.format.pageShift);
    return flushTlbMmRange(this, cpu, context as X86MmContext, startPage, endPage, stride, freedTables);
  }

  flushTlbPage(cpu: number, context: MmContext, page: number): Task<void> {
    return flushTlbMmRange(this, cpu, context as X86MmContext, page, page + 1, 1, false);
  }

  flushTlbMm(cpu: number, context: MmContext): Task<void> {
    return flushTlbMmRange(this, cpu, context as X86MmContext, 0, Number.POSITIVE_INFINITY, 1, true);
  }

  /** Nothing: the page fault itself has dropped the entry that caused it. */
  *flushSpuriousFault(_cpu: number, _context: MmContext, _page: number): Task<void> {}

  /** Nothing: the processor walks again before it raises a page fault. @see arch/x86/mm/pgtable.c */
  *flushAccessFlags(_cpu: number, _context: MmContext, _page: number, _dirty: boolean): Task<void> {}

  pageProtection(vmFlags: number, vmFlagsHigh: number): number {
    return pageProtection(vmFlags, vmFlagsHigh);
  }

  noncached(protection: number): number {
    return noncached(protection);
  }

  writableFlags(_vmFlags: number, vmFlagsHigh: number): number {
    return writableFlags(vmFlagsHigh);
  }

  /** @see include/linux/mman.h, `arch_validate_prot` */
  validateProt(prot: number): boolean {
    return (prot & ~KNOWN_PROT) === 0;
  }

  /** PROT_ bits have no meaning of their own here; a key comes with pkey_mprotect. */
  calcVmProtBits(_prot: number): VmFlagBits {
    return NO_VM_FLAGS;
  }

  calcVmFlagBits(_memoryBacked: boolean): VmFlagBits {
    return NO_VM_FLAGS;
  }

  validateFlags(_vmFlags: number, _vmFlagsHigh: number): boolean {
    return true;
  }

  /** A fork's child has the rights that its parent has at that moment. */
  createThread(name: string, parent: ThreadState | null): ThreadState {
    if (!(parent instanceof X86ThreadState)) return new X86ThreadState(name, INIT_PKRU);
    const cpu = this.#running.indexOf(parent);
    return new X86ThreadState(name, cpu < 0 ? parent.pkru : this.#mmu(cpu).state.pkru);
  }

  /** @see arch/x86/kernel/process_64.c, `x86_pkru_load`; FS and GS bases are not modelled */
  switchThread(cpu: number, next: ThreadState): void {
    if (!this.#keys || !(next instanceof X86ThreadState)) return;
    const { register } = this.protectionKeys;
    const previous = this.#running[cpu];
    if (register === null || previous === next) return;
    if (previous !== undefined) previous.pkru = register.read(cpu);
    this.#running[cpu] = next;
    register.write(cpu, next.pkru);
  }

  #pkru(): KeyRightsRegister {
    return {
      read: (cpu) => this.#mmu(cpu).state.pkru,
      write: (cpu, rights) => {
        const mmu = this.#mmu(cpu);
        mmu.state.pkru = rights | 0;
        mmu.updateControls();
      },
    };
  }

  enterFromUserMode(_cpu: number): void {}

  exitToUserMode(_cpu: number): void {}

  untaggedSignalAddress(address: bigint, _signal: number, _code: number): bigint {
    return address;
  }

  accessOkAddress(cpu: number, address: bigint): bigint {
    return this.untaggedAddress(cpu, address);
  }

  untaggedAddress(cpu: number, address: bigint): bigint {
    return untag(this.#cpu(cpu).state.loadedMm, address);
  }

  untaggedAddressRemote(context: MmContext, address: bigint): bigint {
    return untag(context as X86MmContext, address);
  }

  beginUserAccess(cpu: number): void {
    this.#mmu(cpu).setAlignmentCheck(true);
  }

  endUserAccess(cpu: number): void {
    this.#mmu(cpu).setAlignmentCheck(false);
  }

  faultInfo(cpu: number, out: PageFaultInfo): void {
    const { fault, state } = this.#mmu(cpu);
    decodeFault(fault, this.taskSizePages, this.#keys ? state.pkru : 0, out);
  }

  accessError(info: PageFaultInfo, vmFlags: number, vmFlagsHigh: number): AccessVerdict {
    return accessError(info, vmFlags, vmFlagsHigh);
  }

  vmaAccessPermitted(
    cpu: number,
    _vmFlags: number,
    vmFlagsHigh: number,
    write: boolean,
    instruction: boolean,
    foreign: boolean,
  ): boolean {
    if (!this.#keys || instruction || foreign) return true;
    return pkruAllows(this.#mmu(cpu).state.pkru, vmaPkey(vmFlagsHigh), write);
  }

  #cpu(cpu: number): X86KernelCpu {
    const own = this.cpus[cpu];
    if (own === undefined) throw new Error(`no cpu ${cpu}`);
    return own;
  }

  #mmu(cpu: number): X86Mmu {
    const mmu = this.mmus[cpu];
    if (mmu === undefined) throw new Error(`no cpu ${cpu}`);
    return mmu;
  }
}

/** Tag bits go, unless it is a kernel address: bit 63 stays and the mask spares it. */
function untag(context: X86MmContext, address: bigint): bigint {
  const sign = BigInt.asIntN(64, address) >> 63n;
  return BigInt.asUintN(64, address & (context.untagMask | sign));
}
